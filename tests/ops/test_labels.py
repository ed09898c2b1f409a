import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fasthash.ops import PackedLabels, pack_labels


def classes_of(packed):
    rows = packed.words.numpy().view(np.uint64)
    return [{64 * w + k for w in range(len(row)) for k in range(64) if int(row[w]) >> k & 1} for row in rows]


@given(st.integers(1, 200), st.data())
def test_words_hold_the_sets(classes, data):
    sets = data.draw(st.lists(st.sets(st.integers(0, classes - 1)), min_size=1, max_size=5))
    labels = torch.zeros(len(sets), classes)
    for row, chosen in enumerate(sets):
        labels[row, list(chosen)] = 1
    packed = pack_labels(labels)
    assert packed.words.shape == (len(sets), -(-classes // 64))
    assert packed.words.dtype == torch.int64
    assert classes_of(packed) == sets


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float16, torch.bfloat16, torch.float64])
def test_every_dtype(dtype):
    labels = torch.rand(20, 100) < 0.3
    assert torch.equal(pack_labels(labels.to(dtype)).words, pack_labels(labels).words)


def test_all_classes_of_four_words():
    assert torch.equal(pack_labels(torch.ones(2, 256)).words, torch.full((2, 4), -1))


def test_autocast_changes_nothing():
    labels = torch.rand(20, 100) < 0.3
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(pack_labels(labels).words, pack_labels(labels.clone()).words)
    assert classes_of(pack_labels(labels)) == [set(np.flatnonzero(row)) for row in labels.numpy()]


def test_rows_and_devices():
    packed = pack_labels(torch.eye(5))
    part = packed[torch.tensor([3, 1])]
    assert isinstance(part, PackedLabels)
    assert classes_of(part) == [{3}, {1}]
    assert len(packed[1:4]) == 3
    assert packed.to("meta").words.device.type == "meta"


def test_no_rows():
    assert pack_labels(torch.zeros(0, 65)).words.shape == (0, 2)  # a rank without rows packs its labels too


@pytest.mark.parametrize("labels", [torch.zeros(3), torch.zeros(3, 0), torch.zeros(2, 2, 2)])
def test_bad_shapes(labels):
    with pytest.raises(
        ValueError, match=r"^pack_labels: labels must be multi-hot \[n, c\] with c >= 1, got float32 \["
    ):
        pack_labels(labels)


def test_lists_are_refused():
    with pytest.raises(TypeError, match=r"^pack_labels: labels must be a torch tensor, got list"):
        pack_labels([[1, 0]])


@pytest.mark.parametrize(
    ("words", "got"),
    [
        (torch.zeros(4, 2), r"float32 \[4, 2\]"),  # read as 64-bit words it would end too early
        (torch.zeros(4, 1, dtype=torch.int64), r"int64 \[4, 1\]"),
        (torch.zeros(2, dtype=torch.int64), r"int64 \[2\]"),  # one row: a vector would be class ids
    ],
)
def test_words_that_no_kernel_could_read(words, got):
    with pytest.raises(ValueError, match=rf"^PackedLabels: words must be int64 \[n, 2\] for 70 classes, got {got}"):
        PackedLabels(words, 70)


def test_one_row_is_a_slice():
    packed = pack_labels(torch.eye(5))
    assert classes_of(packed[3:4]) == [{3}]
    with pytest.raises(ValueError, match=r"^PackedLabels: words must be int64 \[n, 1\] for 5 classes, got int64 \[1\]"):
        packed[3]
