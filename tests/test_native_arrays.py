"""Arrays that the native engine cannot read are refused in one line."""

import numpy as np
import pytest
import torch

from fasthash._native import to_numpy
from fasthash.search import knn


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (np.ma.masked_array([1, 2], [True, False]), "an array without a mask, got a NumPy masked array"),
        (torch.eye(2).to_sparse(), "a dense tensor, got layout torch.sparse_coo"),
        (torch.empty(2, device="meta"), "a tensor with data, got one on the meta device"),
        ([1, 2], "a NumPy array or torch tensor, got list"),
    ],
)
def test_no_plain_arrays(x, said):
    with pytest.raises(TypeError) as refused:
        to_numpy(x, "knn", "queries")
    assert str(refused.value) == f"knn: queries must be {said}"


def test_a_search_refuses_them_by_name():
    codes = np.zeros((3, 8), np.uint8)
    with pytest.raises(TypeError, match=r"^knn: database must be an array without a mask, got a NumPy masked array$"):
        knn(codes, np.ma.masked_array(codes), 1)


def test_plain_arrays_are_not_copied():
    x = np.arange(3)
    assert to_numpy(x, "knn", "queries") is x
    tensor = torch.arange(3)
    assert to_numpy(tensor, "knn", "queries").ctypes.data == tensor.data_ptr()
    assert to_numpy(tensor.bfloat16(), "knn", "queries").tolist() == [0, 1, 2]
