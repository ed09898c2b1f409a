"""Codes and labels in every form that people keep them in: the same bits come out, or one clear line."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fasthash.scoring import _forms
from fasthash.scoring._forms import to_codes, to_labels

ONES = np.random.default_rng(0).random((9, 24)) < 0.5
REAL = np.where(ONES, 0.3, -0.7)
REAL[ONES & (np.arange(24) == 5)] = 0.0  # sign(0) is +1

# form -> arrays that hold ONES in it
KEPT = {
    "packed": [np.packbits(ONES, axis=1)],
    "bits": [ONES, *(ONES.astype(t) for t in (np.uint8, np.int8, np.int64, np.float32, np.float64))],
    "signs": [np.where(ONES, 1, -1).astype(t) for t in (np.int8, np.int64, np.float16, np.float32, np.float64)],
    "real": [REAL.astype(t) for t in (np.float16, np.float32, np.float64)] + [np.where(ONES, 1e30, -np.inf)],
}
EVERY = [(form, values) for form, arrays in KEPT.items() for values in arrays]
IDS = [f"{form}-{values.dtype}" for form, values in EVERY]


@pytest.mark.parametrize(("form", "values"), EVERY, ids=IDS)
@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize("bits", [None, 24])
def test_the_same_bits_come_out_of_every_form(form, values, told, bits):
    found, length = to_codes({"query": values}, bits, form if told else None)
    assert length == 24
    assert found["query"].form == form
    assert (found["query"].packed == np.packbits(ONES, axis=1)).all()


@given(hnp.arrays(np.bool_, st.tuples(st.integers(1, 40), st.integers(1, 70))), st.integers(1, 200))
def test_any_length_and_any_size_of_chunk(ones, cells):
    before, _forms._CELLS = _forms._CELLS, cells
    try:
        for values in (ones, np.where(ones, 0.5, -2.0)):
            if values.dtype == bool or (values.min() < 0 <= values.max()):
                found, length = to_codes({"query": values})
                assert (length, found["query"].packed.tolist()) == (
                    ones.shape[1], np.packbits(ones, axis=1).tolist(),
                )  # fmt: skip
    finally:
        _forms._CELLS = before


def test_zeros_of_real_values_are_told():
    found, _ = to_codes({"query": REAL})
    zeros = int((REAL == 0).sum())
    assert zeros > 0
    assert found["query"].words == f"real values, of which sign(x) is taken, 0 as +1 ({zeros} values are 0)"
    trits, _ = to_codes({"query": np.sign(REAL).astype(np.int8)})
    assert (trits["query"].form, trits["query"].zeros) == ("real", zeros)
    assert (trits["query"].packed == np.packbits(ONES, axis=1)).all()


def test_uint8_of_0_and_1_is_a_bit_a_value_unless_the_length_says_packed():
    values = np.random.default_rng(0).integers(0, 2, (5, 64), dtype=np.uint8)
    found, length = to_codes({"query": values})
    assert (found["query"].form, length) == ("bits", 64)
    found, length = to_codes({"query": values}, bits=64)
    assert (found["query"].form, length) == ("bits", 64)
    found, length = to_codes({"query": values}, bits=512)
    assert (found["query"].form, length) == ("packed", 512)
    assert (found["query"].packed == values).all()
    found, length = to_codes({"query": values}, form="packed")
    assert (found["query"].form, length) == ("packed", 512)


def test_one_packed_file_makes_all_of_uint8_packed():
    database = np.random.default_rng(0).integers(0, 256, (50, 8), dtype=np.uint8)
    found, length = to_codes({"query": np.ones((1, 8), np.uint8), "database": database})
    assert (found["query"].form, length) == ("packed", 64)


def test_packed_codes_that_end_within_a_byte():
    ones = ONES[:, :12]
    packed = np.packbits(ones, axis=1)
    found, length = to_codes({"query": packed}, bits=12)
    assert (length, found["query"].packed.tolist()) == (12, packed.tolist())
    with pytest.raises(ValueError, match="evaluate: query row 0 has a non-zero padding bit after bit 12"):
        to_codes({"query": packed | 1}, bits=12)


def test_bytes_in_another_dtype_are_packed_when_told():
    packed = np.packbits(ONES, axis=1)
    found, length = to_codes({"query": packed.astype(np.int64)}, form="packed")
    assert (length, found["query"].packed.tolist()) == (24, packed.tolist())


def test_all_ones_agree_with_any_form():
    """A query set whose codes are all +1 is of 0 and 1 as well as of -1 and +1."""
    found, _ = to_codes({"query": np.ones((2, 24), np.int8), "database": np.where(ONES, 1, -1)})
    assert (found["query"].packed == 255).all()


BAD = [
    ({"query": np.zeros(5)}, {}, "query: codes must be [n, width], got shape (5,)"),
    ({"query": np.zeros((0, 5))}, {}, "query: codes must have at least one row and one column, got shape (0, 5)"),
    ({"query": np.zeros((5, 0))}, {}, "at least one row and one column"),
    ({"query": np.array([["a"]])}, {}, "query: codes must be numbers or booleans, got <U1"),
    ({"query": np.ones((2, 2), complex)}, {}, "codes must be numbers or booleans, got complex128"),
    ({"query": np.array([[1.0, -2.0], [np.nan, 1.0]])}, {}, "query: codes must be numbers, got NaN in row 1"),
    ({"query": np.array([[0.2, 0.9]])}, {}, "query: values from 0.2 to 0.9: every sign would be +1; save bits instead"),
    ({"query": np.array([[-0.2, -0.9]])}, {}, "every sign would be -1"),
    ({"query": np.array([[3, -4]])}, {}, "whole numbers must be 0 and 1, or -1 and +1, got values from -4 to 3"),
    ({"query": np.array([[3, 200]])}, {}, "name the form packed if these are bytes"),
    (
        {"query": np.array([[3, 400]])},
        {"form": "packed"},
        "must be whole numbers from 0 to 255, got int64 from 3 to 400",
    ),
    ({"query": REAL}, {"form": "packed"}, "packed codes must be whole numbers from 0 to 255, got float64"),
    ({"query": REAL}, {"form": "bits"}, "query: must hold 0 and 1, a bit a value, got values from -0.7 to 0.3"),
    ({"query": REAL}, {"form": "signs"}, "query: must hold -1 and +1, got values from -0.7 to 0.3"),
    ({"query": REAL}, {"form": "float"}, "form must be one of packed, bits, signs, real, got 'float'"),
    ({"query": REAL}, {"bits": 0}, "bits must be a whole number from 1 to 4096, got 0"),
    ({"query": REAL}, {"bits": 32}, "query: real values, of which sign(x) is taken, 0 as +1: must be 32 wide for 32 "),
    ({"query": np.packbits(ONES, axis=1)}, {"bits": 32}, "query: packed codes of 32 bits must be 4 wide, got 3"),
    ({"query": np.ones((2, 5000))}, {}, "codes must have 1 to 4096 bits, got 5000"),
    ({"query": np.full((2, 600), 7, np.uint8)}, {}, "bits must be a whole number from 1 to 4096, got 4800"),
    (
        {"query": REAL, "database": REAL[:, :8]},
        {},
        "codes must all be of one length, got query 24 bits, database 8 bits",
    ),
    (
        {"query": ONES.astype(int), "database": REAL},
        {},
        "codes must be of one form, but query holds 0 to 1 and database holds -0.7 to 0.3: name the form",
    ),
]


@pytest.mark.parametrize(("arrays", "options", "message"), BAD)
def test_bad_codes_are_one_clear_line(arrays, options, message):
    with pytest.raises(ValueError) as error:
        to_codes(arrays, **options)
    assert message in str(error.value)
    assert str(error.value).startswith("evaluate: ")
    assert "\n" not in str(error.value)


def test_an_explicit_form_lets_one_sided_values_through():
    found, _ = to_codes({"query": np.array([[0.2, 0.9]])}, form="real")
    assert found["query"].packed.tolist() == [[0b11000000]]


IDS_ = np.array([3, 0, 2, 2, 1])
HOT = np.eye(4, dtype=int)[IDS_]


@pytest.mark.parametrize(
    "values",
    [IDS_, IDS_.astype(np.uint8), IDS_.astype(float), IDS_[:, None].astype(float), IDS_[None].astype(float)],
    ids=["vector", "uint8", "floats", "column", "row"],
)
@pytest.mark.parametrize("form", [None, "ids"])
def test_class_ids(values, form):
    found = to_labels(values, 5, "query_labels", form)
    assert found.dtype == np.int64
    assert (found == IDS_).all()


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32])
@pytest.mark.parametrize("form", [None, "multi-hot"])
def test_multi_hot(dtype, form):
    found = to_labels(HOT.astype(dtype), 5, "query_labels", form)
    assert found.dtype == bool
    assert (found == HOT).all()


def test_a_column_of_0_and_1_is_class_ids_unless_told():
    column = np.array([[0], [1], [1]])
    assert to_labels(column, 3, "query_labels").tolist() == [0, 1, 1]
    assert to_labels(column, 3, "query_labels", "multi-hot").tolist() == [[False], [True], [True]]
    assert to_labels(np.array([True, False]), 2, "query_labels").tolist() == [1, 0]


BAD_LABELS = [
    (IDS_[:4], None, "query_labels must have 5 rows like the codes, got 4"),
    (HOT[:4], None, "query_labels must have 5 rows like the codes, got 4"),
    (HOT.T, None, "query_labels: must have 5 rows like the codes, got (4, 5): is it transposed?"),
    (np.array([0.5, 1, 2, 3, 4]), None, "class ids must be whole numbers, got 0.5 in row 0"),
    (np.array([0, np.nan, 2, 3, 4]), None, "class ids must be whole numbers, got nan in row 1"),
    (
        np.array([0, 1, 2.0**53, 3, 4]),
        None,
        "class ids must be whole numbers below 2**53, got 9007199254740992.0 in row",
    ),
    (np.array([0, 1, 2, np.inf, 4]), None, "class ids must be whole numbers below 2**53, got inf in row 3"),
    (np.array([0, 1, 2, 3, -4]), None, "must be class ids of 0 or more, got -4 in row 4"),
    (HOT * 2 - 1, None, "must be 0 or 1, got -1 in row 0"),
    (np.where(HOT, np.nan, 0.0), None, "must be 0 or 1, got nan"),
    (HOT, "ids", "query_labels: class ids must be [5], got shape (5, 4)"),
    (IDS_, "multi-hot", "query_labels: multi-hot labels must be [5, c], got shape (5,)"),
    (HOT, "onehot", "label form must be one of ids, multi-hot, got 'onehot'"),
    (HOT[None], None, "must be multi-hot [n, c] or class ids [n], got shape (1, 5, 4)"),
]


@pytest.mark.parametrize(("values", "form", "message"), BAD_LABELS)
def test_bad_labels_are_one_clear_line(values, form, message):
    with pytest.raises((ValueError, TypeError)) as error:
        to_labels(values, 5, "query_labels", form)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
