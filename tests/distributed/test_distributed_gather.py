"""gather_rows on 2 and 3 ranks: rank order, any shape and dtype, gradients to the owner, errors on every rank."""

import re

import numpy as np
import pytest
import rank_work
import torch

from fasthash import distributed
from fasthash.ops import PackedLabels, pack_labels

COUNTS = {
    2: [(4, 4), (3, 5), (0, 4), (7, 0), (1, 0), (0, 0)],
    3: [(2, 2, 2), (1, 0, 5), (0, 0, 3), (4, 1, 2), (0, 0, 0)],
}
DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
    torch.uint8, torch.bool,
]  # fmt: skip


@pytest.mark.parametrize("trailing", [(), (3,), (2, 3), (2, 0), (1, 2, 1, 3)], ids=str)
def test_rows_come_in_rank_order(ranks, trailing):
    for counts in COUNTS[ranks.world]:
        x = torch.randn(sum(counts), *trailing)
        for sizes_known in (False, True):
            for got in ranks(rank_work.gather, x, counts, sizes_known):
                np.testing.assert_array_equal(got, x.numpy())


@pytest.mark.parametrize("dtype", [d for d in DTYPES if d != torch.bfloat16], ids=str)
def test_every_dtype_is_kept_to_the_bit(ranks, dtype):
    counts = COUNTS[ranks.world][1]
    x = (100 * torch.randn(sum(counts), 3)).to(dtype)
    for got in ranks(rank_work.gather, x, counts):
        assert got.dtype == x.numpy().dtype
        np.testing.assert_array_equal(got, x.numpy())


def test_packed_labels(ranks):
    counts = COUNTS[ranks.world][1]
    labels = pack_labels(torch.rand(sum(counts), 130) < 0.2)
    for sizes_known in (False, True):
        for words, classes in ranks(rank_work.gather, labels, counts, sizes_known):
            np.testing.assert_array_equal(words, labels.words.numpy())
            assert classes == 130


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("reduce_all", [False, True], ids=["reduce-scatter", "all-reduce"])
def test_gradient_is_summed_over_ranks_and_goes_to_the_owner(ranks, dtype, reduce_all):
    for counts in COUNTS[ranks.world]:
        x = torch.randn(sum(counts), 2, 3).to(dtype)
        weights = torch.randn(ranks.world, *x.shape).to(dtype)
        want = (2 * x.double() * weights.double().sum(0)).split(list(counts))
        got = ranks(rank_work.gather_gradient, x, counts, weights, reduce_all)
        precision = torch.finfo(dtype).eps  # each rank's own gradient is rounded to the dtype before it is sent
        for mine, expected in zip(got, want, strict=True):
            np.testing.assert_allclose(mine, expected.numpy(), rtol=4 * precision, atol=8 * precision)


def test_no_graph_without_gradients(ranks):
    assert ranks(rank_work.gather_without_gradient) == [False] * ranks.world


KINDS = {
    "width": (("torch.ones(2, 3)", "torch.ones(2, 4)"), r"float32 \[n, 3\] on rank 0 and float32 \[n, 4\] on rank 1"),
    "dimensions": (("torch.ones(2, 3)", "torch.ones(2)"), r"float32 \[n, 3\] on rank 0 and float32 \[n\] on rank 1"),
    "dtype": (("torch.ones(2, 3)", "torch.ones(2, 3).half()"), r"\[n, 3\] on rank 0 and float16 \[n, 3\] on rank 1"),
    "gradient": (
        ("torch.ones(2, 3)", "torch.ones(2, 3, requires_grad=True)"),
        r"float32 \[n, 3\] on rank 0 and float32 \[n, 3\] with gradient on rank 1",
    ),
    "classes": (("packed(3)", "packed(4)"), "labels of 3 classes .* on rank 0 and labels of 4 classes"),
    "labels": (("packed(3)", "packed(3).words"), "labels of 3 classes .* on rank 0 and int64"),
}  # fmt: skip


@pytest.mark.parametrize("what", KINDS)
def test_a_difference_is_told_on_every_rank(ranks, what):
    kinds, message = KINDS[what]
    errors = ranks.errors(rank_work.gather_kinds, kinds)
    for error in errors:
        assert error.startswith("ValueError: gather_rows: every rank must give rows of one kind, got ")
        assert "\n" not in error
        assert re.search(message, error)
    assert len(set(errors)) == 1


@pytest.mark.parametrize(
    ("bad", "own"),
    [
        ("'text'", "TypeError: gather_rows: x must be a torch tensor or PackedLabels, got str"),
        ("torch.tensor(1.0)", "ValueError: gather_rows: x must have rows of real numbers or booleans and at most 9"),
        ("torch.ones(1, dtype=torch.complex64)", "ValueError: gather_rows: x must have rows of real numbers"),
        ("torch.ones(2, device='meta')", "ValueError: gather_rows: x must be on a device of the process group's"),
    ],
)
def test_what_cannot_be_sent_is_told_on_every_rank(ranks, bad, own):
    good, *others = ranks.errors(rank_work.gather_kinds, ("torch.ones(2)", bad))
    assert good == "ValueError: gather_rows: rank 1 gave no tensor that can be sent; its own error says more"
    assert all(error.startswith(own) for error in others)


def test_known_sizes_that_are_wrong(ranks):
    for rows in ([2], [2] * ranks.world + [1], [3] * ranks.world, [-1] * ranks.world):
        for rank, error in enumerate(ranks.errors(rank_work.gather_kinds, ("torch.ones(2)",), rows)):
            want = f"rows must be {ranks.world} numbers, 2 that of rank {rank}, got {rows}"
            assert error == f"ValueError: gather_rows: {want}"


def test_alone_it_is_what_it_was():
    x = torch.ones(2, 3, requires_grad=True)
    assert distributed.gather_rows(x) is x
    labels = pack_labels(torch.ones(2, 3))
    gathered = distributed.gather_rows(labels)
    assert isinstance(gathered, PackedLabels)
    assert gathered.words is labels.words
    with pytest.raises(TypeError, match="gather_rows: x must be a torch tensor or PackedLabels, got list"):
        distributed.gather_rows([1.0])
