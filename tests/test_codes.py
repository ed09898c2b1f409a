"""The forms of codes against NumPy's own packing and hand-worked values."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fasthash import codes


def test_zero_is_plus_one_and_bit_one():
    h = np.array([[0.0, -0.0, -1e-30, 2.0]])
    assert codes.binarize(h).tolist() == [[1, 1, -1, 1]]
    assert codes.pack(h).tolist() == [[0b11010000]]


def test_most_significant_bit_first_and_zero_padding():
    assert codes.pack(np.array([[-1.0] * 8 + [1.0]])).tolist() == [[0, 0b10000000]]


@given(hnp.arrays(np.bool_, st.tuples(st.integers(1, 6), st.integers(1, 200))))
def test_pack_unpack_round_trip_equals_numpy(ones):
    packed = codes.pack(ones)
    assert np.array_equal(packed, np.packbits(ones, axis=1))
    assert np.array_equal(codes.unpack(packed, ones.shape[1]), np.where(ones, 1, -1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_torch_in_torch_out(dtype):
    h = torch.tensor([[1.0, -2.0, 0.5]], dtype=dtype)
    packed = codes.pack(h)
    assert isinstance(packed, torch.Tensor)
    assert packed.dtype == torch.uint8
    assert packed.tolist() == [[0b10100000]]
    assert codes.unpack(packed, 3).tolist() == [[1, -1, 1]]
    assert codes.binarize(h).tolist() == [[1, -1, 1]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: codes.pack(np.zeros(3)), "h must be [n, bits], got shape (3,)"),
        (lambda: codes.pack(np.zeros((2, 4097))), "bits must be a whole number from 1 to 4096, got 4097"),
        (lambda: codes.pack(np.zeros((2, 0))), "bits must be a whole number"),
        (lambda: codes.pack(np.array([[0.0, np.nan]])), "h has NaN in row 0"),
        (lambda: codes.binarize(np.array([[np.nan]])), "h has NaN in row 0"),
        (lambda: codes.pack(np.array([[0, 1]])), "integer h must hold -1 and +1 only"),
        (lambda: codes.pack(np.array([["a"]])), "h must be float, bool or -1/+1 integers"),
        (lambda: codes.binarize(np.array([[True]])), "h must be float or -1/+1 integers, got bool"),
        (lambda: codes.unpack(np.zeros((2, 3), np.uint8), 16), "packed must be [n, 2] for 16 bits, got shape (2, 3)"),
        (lambda: codes.unpack(np.zeros((2, 2), np.int8), 16), "packed must be packed uint8, got int8"),
        (lambda: codes.unpack(np.full((2, 1), 255, np.uint8), 5), "packed row 0 has a non-zero padding bit"),
        (lambda: codes.unpack(np.zeros((2, 2), np.uint8), 0), "bits must be a whole number from 1 to 4096, got 0"),
        (lambda: codes.describe(np.zeros((0, 2), np.uint8), 16), "at least one row"),
    ],
)
def test_bad_input_is_one_clear_line(call, message):
    with pytest.raises(ValueError) as error:
        call()
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_not_an_array():
    with pytest.raises(TypeError, match="h must be a NumPy array or torch tensor, got list"):
        codes.pack([[1.0]])
