"""Binary codes: their forms (signs, packed bits) and what a set of them looks like.

A relaxed code ``h`` is a float row; its *code* has -1/+1 entries, +1 where ``h >= 0`` (so 0 is +1); its *packed* form
is uint8 ``[n, ceil(bits / 8)]``, most significant bit first as ``np.packbits``, unused low bits of the last byte zero.
Works with NumPy alone; torch tensors are taken too, and what comes back is of the same kind on the same device.
"""

from fasthash.codes._forms import MAX_BITS, binarize, check_bits, check_packed, pack, packed_width, unpack
from fasthash.codes._stats import CodeStats, describe, opposed_bits

__all__ = [
    "MAX_BITS", "CodeStats", "binarize", "check_bits", "check_packed", "describe", "opposed_bits",
    "pack", "packed_width", "unpack",
]  # fmt: skip
