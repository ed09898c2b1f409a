"""What a set of codes looks like: balance, correlation of the bits, distances between codes, and signs of collapse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash.codes._forms import check_packed

Floats = NDArray[np.float64]

_CELLS = 1 << 22  # unpacked bits looked at together: 16 MiB as float32, and sums that float32 holds exactly
_PRODUCTS = 1 << 32  # multiplications spent on correlations: a million codes of 64 bits, in a fraction of a second
_PAIRED = 1448  # codes compared with one another: about a million pairs
_ENOUGH = 16  # items from which on a bit is hardly ever dead, or like another one, by chance
_FEW = 8  # items below which bits are opposite on two sides by chance
OPPOSED = 0.9  # difference in the share of ones from which a bit is opposite on two sides
REPEATS = 0.999  # a correlation beyond this, of either sign: the two bits say the same


@dataclass(frozen=True)
class CodeStats:
    """What a set of codes looks like; a collapsed model shows here.

    A bit with one value only is dead: it takes no part in the correlations.
    """

    n: int
    bits: int
    balance: Floats  # [bits], share of ones of each bit; 0.5 is ideal, 0 or 1 a dead bit
    distinct: int  # number of different codes
    entropy: float  # bits of information per code, estimated from the codes' frequencies; at most log2(n)
    dead_bits: int  # bits with one value only
    commonest: float  # share of the codes that equal the commonest one
    correlation: float  # mean of |Pearson correlation| over the pairs of bits that are not dead; 0 without a pair
    largest_correlation: float  # the largest of them
    repeated_bits: int  # bits that repeat an earlier one or its opposite: |correlation| above REPEATS
    correlated_rows: int  # codes that the correlations and mean distance are of: n, or a sample of very many
    distance: float  # mean distance of two of the codes; bits / 2 where all bits are balanced; 0 for a single code
    distance_spread: float  # standard deviation of that distance over all pairs
    distances: NDArray[np.int64]  # [bits + 1] pairs of codes at each distance, of a sample of the codes where n > 1448

    @property
    def signs(self) -> tuple[str, ...]:
        """The signs of a collapse, each in words; empty for healthy codes."""
        found = []
        alive = self.bits - self.dead_bits
        if self.n >= _ENOUGH and self.dead_bits * 2 >= self.bits:
            found.append(f"{self.dead_bits} of {self.bits} bits are dead")
        if self.n >= _ENOUGH and self.repeated_bits and self.repeated_bits * 2 >= alive:
            found.append(f"{self.repeated_bits} of {alive} living bits repeat another one")
        if self.n > 1 and self.distinct <= max(1, self.n // 1000):
            found.append(f"{_number(self.distinct, 'distinct code')} for {self.n:,} items")
        elif self.n >= _ENOUGH and self.commonest >= 0.5:
            found.append(f"{self.commonest:.0%} of the items have the same code")
        return tuple(found)

    @property
    def collapsed(self) -> bool:
        """Whether there is any sign of it: half of the bits or more carry nothing new, or hardly any codes differ."""
        return bool(self.signs)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able: every field, and the signs of collapse."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        arrays = {name: value.tolist() for name, value in values.items() if isinstance(value, np.ndarray)}
        return values | arrays | {"collapsed": self.collapsed, "signs": list(self.signs)}

    def __str__(self) -> str:
        state = f"COLLAPSED ({'; '.join(self.signs)}): " if self.signs else ""
        return (
            f"{state}{self.n:,} codes of {self.bits} bits: {self.distinct:,} distinct, "
            f"entropy {self.entropy:.2f} bits, balance {self.balance.min():.2f} to {self.balance.max():.2f}, "
            f"{self.dead_bits} dead bit{'' if self.dead_bits == 1 else 's'}, "
            f"correlation of bits {self.correlation:.2f} on average and {self.largest_correlation:.2f} at most, "
            f"distance of two codes {self.distance:.1f} ± {self.distance_spread:.1f}"
        )


def describe(packed: Any, bits: int) -> CodeStats:
    """Balance and correlation of the bits, distinct codes, entropy, distances between the codes, signs of collapse.

    Balance, distinct codes and entropy are of all rows. Correlations, and mean and spread of the distance, are exact as
    well up to a million codes of 64 bits (a quarter of that at 128), and of that many drawn rows beyond; mean and
    spread follow from the correlations without a look at any pair. The number of pairs at each distance is of all pairs
    up to 1,448 codes, of 1,448 drawn rows beyond. The draw is always the same.

    Args:
        packed: uint8 [n, ceil(bits / 8)], n >= 1; NumPy or torch.
        bits: code length.
    Raises:
        ValueError: wrong shape or dtype, a non-zero padding bit, or no row.
    Memory: 16 MiB and bits^2 numbers beyond the distinct codes, whatever n is.
    """
    rows = check_packed(packed, bits, "describe", "packed")
    if len(rows) == 0:
        raise ValueError("describe: packed must have at least one row, got an empty array")
    seen = _drawn(rows, max(_PAIRED, _PRODUCTS // bits**2))
    together = _together(seen, bits)
    ones = together.diagonal() if len(seen) == len(rows) else _ones(rows, bits)
    frequency = _frequency(rows)
    share = frequency / len(rows)
    dead = (ones == 0) | (ones == len(rows))
    mean, largest, repeated = _correlations(together, len(seen), ~dead)
    distance, spread = _distance(together, len(seen))
    return CodeStats(
        n=len(rows),
        bits=bits,
        balance=ones / len(rows),
        distinct=len(share),
        entropy=float(-(share * np.log2(share)).sum()) + 0.0,  # + 0.0: no negative zero
        dead_bits=int(dead.sum()),
        commonest=float(share.max()),
        correlation=mean,
        largest_correlation=largest,
        repeated_bits=repeated,
        correlated_rows=len(seen),
        distance=distance,
        distance_spread=spread,
        distances=_pairs(_drawn(rows, _PAIRED), bits),
    )


def opposed_bits(a: CodeStats, b: CodeStats) -> int:
    """How many bits are 1 in nearly all codes of one side and 0 in nearly all of the other: no item can bridge them.

    0 where a side has fewer than 8 codes, whose bits are often alike by chance.

    Raises:
        ValueError: the codes are of different length.
    """
    if a.bits != b.bits:
        raise ValueError(f"opposed_bits: b must be of {a.bits} bits like a, got {b.bits}")
    return int((np.abs(a.balance - b.balance) > OPPOSED).sum()) if min(a.n, b.n) >= _FEW else 0


def _drawn(rows: NDArray[np.uint8], limit: int) -> NDArray[np.uint8]:
    """All rows, or ``limit`` of them drawn without repeats, the same ones every time."""
    if len(rows) <= limit:
        return rows
    return rows[np.sort(np.random.default_rng(0).choice(len(rows), limit, replace=False, shuffle=False))]


def _chunks(rows: NDArray[np.uint8], bits: int) -> list[slice]:
    step = max(1, _CELLS // bits)
    return [slice(start, start + step) for start in range(0, len(rows), step)]


def _together(rows: NDArray[np.uint8], bits: int) -> Floats:
    """[bits, bits] in how many rows both bits are 1; on the diagonal, in how many each is."""
    found = np.zeros((bits, bits))
    for part in _chunks(rows, bits):
        ones = np.unpackbits(rows[part], axis=1, count=bits).astype(np.float32)
        found += ones.T @ ones
    return found


def _ones(rows: NDArray[np.uint8], bits: int) -> NDArray[np.int64]:
    found = np.zeros(bits, np.int64)
    for part in _chunks(rows, bits):
        found += np.unpackbits(rows[part], axis=1, count=bits).sum(axis=0, dtype=np.int64)
    return found


def _frequency(rows: NDArray[np.uint8]) -> NDArray[np.int64]:
    """How often each distinct code is there."""
    width = rows.shape[1]
    if width <= 8:  # whole words sort several times faster than strings of bytes
        words = np.zeros((len(rows), 8), np.uint8)
        words[:, :width] = rows
        return np.unique(words.view(np.uint64), return_counts=True)[1]
    keys = np.ascontiguousarray(rows).view(np.dtype((np.void, width))).ravel()
    return np.unique(keys, return_counts=True)[1]


def _correlations(together: Floats, n: int, alive: NDArray[np.bool_]) -> tuple[float, float, int]:
    """(mean, largest) of |correlation| over the pairs of living bits, and how many bits repeat an earlier one."""
    share = together / n
    ones = share.diagonal()
    alive = alive & (ones > 0) & (ones < 1)  # a bit may live in other rows than those drawn
    if alive.sum() < 2:
        return 0.0, 0.0, 0
    p = ones[alive]
    spread = np.sqrt(p * (1 - p))
    found = np.abs(share[np.ix_(alive, alive)] - np.outer(p, p)) / np.outer(spread, spread)
    below = np.tril(np.minimum(found, 1.0), -1)
    pairs = len(p) * (len(p) - 1) / 2
    return float(below.sum() / pairs), float(below.max()), int((below > REPEATS).any(axis=1).sum())


def _distance(together: Floats, n: int) -> tuple[float, float]:
    """Mean and standard deviation of the distance over all pairs of different rows.

    With codes s, t of -1 and +1, drawn independently, bit b differs as (1 - s_b t_b) / 2, so that the mean of s_b s_c
    over the rows is all that mean and variance need. Pairs of a row with itself have distance 0 and are taken out.
    """
    if n < 2:
        return 0.0, 0.0
    share = together / n
    ones = share.diagonal()
    signs = 2 * ones - 1
    product = 4 * share - 2 * ones[:, None] - 2 * ones[None, :] + 1
    without_itself = n / (n - 1)
    mean = float((1 - signs**2).sum() / 2) * without_itself
    square = float((1 - signs[:, None] ** 2 - signs[None, :] ** 2 + product**2).sum() / 4) * without_itself
    return mean, float(np.sqrt(max(square - mean**2, 0.0)))


def _pairs(rows: NDArray[np.uint8], bits: int) -> NDArray[np.int64]:
    """Pairs of different rows at each distance."""
    signs = np.unpackbits(rows, axis=1, count=bits).astype(np.float32) * 2 - 1
    distance = (bits - signs @ signs.T) / 2  # whole numbers below 2^24: exact in float32
    counts = np.bincount(distance.astype(np.int64).ravel(), minlength=bits + 1)
    counts[0] -= len(rows)  # each row with itself
    return counts // 2


def _number(n: int, what: str) -> str:
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"
