"""The schema of codes in Arrow and Parquet, and what a schema of others says about codes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fasthash.codes import check_bits, packed_width
from fasthash.features._packages import require
from fasthash.interop import _columns
from fasthash.interop._codes import Rows, width_to_bits
from fasthash.search.snapshot import check_ids

FORMAT = "fasthash.codes"
VERSION = 1
RULES = {"bit_order": "most significant first", "zero_rule": "h >= 0 is bit 1"}
# Keyword arguments of pyarrow's Parquet writers: codes do not compress, ascending ids do.
PARQUET_OPTIONS: Mapping[str, Any] = {"use_dictionary": False, "compression": {"id": "zstd", "code": "none"}}


def pyarrow(op: str, module: str = "pyarrow") -> Any:
    """The module; RuntimeError names the extra where it is missing."""
    return require(module, "pyarrow", "arrow", op)


def schema(bits: int, metadata: Mapping[str, str] | None = None) -> Any:
    """The ``pyarrow.Schema`` of codes of this length: ``id`` int64, ``code`` fixed_size_binary, and metadata.

    Args:
        bits: code length, 1 to 4096.
        metadata: more of your own, such as the checksum of a model.
    Raises:
        RuntimeError: pyarrow is not installed.
        ValueError: bits is something else; metadata has a name that codes have already.
    """
    pa = pyarrow("schema")
    width = packed_width(check_bits(bits, "schema"))
    own = {"format": FORMAT, "version": str(VERSION), "bits": str(bits), **RULES}
    if taken := sorted(set(own) & set(metadata or {})):
        raise ValueError(f"schema: metadata must not have {taken[0]!r}: codes have it already")
    fields = [pa.field("id", pa.int64(), False), pa.field("code", pa.binary(width), False)]
    return pa.schema(fields, {**own, **(metadata or {})})


def record_batch(ids: NDArray[np.int64], codes: NDArray[np.uint8], kind: Any) -> Any:
    """A ``pyarrow.RecordBatch`` over arrays, without a copy: they must not change afterwards.

    Args:
        ids: int64 [n].
        codes: uint8 [n, ceil(bits / 8)].
        kind: a ``schema``.
    Raises:
        RuntimeError: pyarrow is not installed.
        ValueError: other shapes or dtypes.
    """
    pa = pyarrow("record_batch")
    width = kind.field("code").type.byte_width
    if ids.dtype != np.int64 or codes.dtype != np.uint8 or ids.ndim != 1 or codes.shape != (len(ids), width):
        got = f"{ids.dtype} {ids.shape} and {codes.dtype} {codes.shape}"
        raise ValueError(f"record_batch: ids and codes must be int64 [n] and uint8 [n, {width}], got {got}")
    buffers = [None, pa.py_buffer(np.ascontiguousarray(codes))]
    column = pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(codes), buffers)
    return pa.RecordBatch.from_arrays([pa.array(ids), column], schema=kind)


class Layout(NamedTuple):
    """Where the ids and codes of a table are."""

    bits: int | None  # None: 8 x the bytes of the first row
    width: int | None
    id_column: str | None  # None: row i has id i
    column: str

    @property
    def names(self) -> list[str]:
        """The columns that are read."""
        return [self.column] if self.id_column is None else [self.id_column, self.column]

    def rows(self, batch: Any, first: int, op: str) -> Rows:
        """ids and codes of a record batch; ``first`` is its first row's number in the whole."""
        codes = _columns.codes_of(batch.column(batch.schema.get_field_index(self.column)), self.column, op, self.width)
        if self.id_column is None:
            return np.arange(first, first + len(codes), dtype=np.int64), codes
        ids = _columns.ids_of(batch.column(batch.schema.get_field_index(self.id_column)), self.id_column, op)
        return check_ids(ids, op), codes

    def seen(self, codes: NDArray[np.uint8], op: str) -> Layout:
        """With bits and width as in codes that were read, where the schema left them open."""
        bits = width_to_bits(codes.shape[1], self.bits, op)
        return self._replace(bits=bits, width=codes.shape[1])


def layout(kind: Any, bits: int | None, id_column: str | None, column: str, op: str, where: str = "") -> Layout:
    """What a schema says about codes; ``where`` names a file in errors.

    Raises:
        ValueError: a missing column, another type, metadata that contradict ``bits`` or the rules of this library.
    """
    bits = None if bits is None else check_bits(bits, op)
    for name in (column,) if id_column is None else (id_column, column):
        if kind.names.count(name) != 1:
            raise ValueError(f"{op}: {where or 'table'} must have one column {name!r}, it has {', '.join(kind.names)}")
    stated = stated_bits(kind.metadata or {}, op, where)
    if None not in (bits, stated) and bits != stated:
        raise ValueError(f"{op}: bits must be {stated}, as the metadata{where and f' of {where}'} say, got {bits}")
    known = stated if bits is None else bits
    width = _columns.width_of(kind.field(column).type, column, op)
    if width is not None:
        known = width_to_bits(width, known, op)
    return Layout(known, width if known is None else packed_width(known), id_column, column)


def stated_bits(metadata: Mapping[bytes, bytes], op: str, where: str) -> int | None:
    """bits of the metadata that ``schema`` writes; None where there are none."""
    said = {key.decode("utf-8", "replace"): value.decode("utf-8", "replace") for key, value in metadata.items()}
    if said.get("format") != FORMAT:
        return None
    name, of = where or "table", f" of {where}" if where else ""
    version, bits = said.get("version", ""), said.get("bits", "")
    if not (version.isdecimal() and bits.isdecimal()):
        raise ValueError(f"{op}: {name} has damaged metadata: version {version!r}, bits {bits!r}")
    if int(version) > VERSION:
        raise ValueError(f"{op}: the metadata{of} are of version {version}, this fasthash reads up to {VERSION}")
    for key, rule in RULES.items():
        if said.get(key) != rule:
            raise ValueError(f"{op}: {name} must have {key} {rule!r}, got {said.get(key)!r}")
    return check_bits(int(bits), op)
