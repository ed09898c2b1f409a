import pytest
import torch

from fasthash.losses import HashCentres, hash_centres


def distances(codes):
    return (codes.shape[1] - codes @ codes.T) / 2


@pytest.mark.parametrize(("classes", "bits"), [(1, 1), (10, 16), (16, 16), (32, 16), (80, 64), (128, 128), (24, 512)])
def test_hadamard_rows_are_half_of_the_bits_apart(classes, bits):
    codes = hash_centres(classes, bits)
    assert codes.shape == (classes, bits)
    assert torch.equal(codes.abs(), torch.ones_like(codes))
    apart = distances(codes)
    for i in range(classes):
        for j in range(i):
            assert float(apart[i, j]) == (bits if i - j == bits else bits / 2)


@pytest.mark.parametrize(("classes", "bits"), [(33, 16), (10, 24), (58, 48), (3, 7)])
def test_other_sizes_are_balanced_rows_of_the_best_draw(classes, bits):
    torch.manual_seed(0)
    codes = hash_centres(classes, bits)
    assert torch.equal((codes < 0).sum(dim=1), torch.full((classes,), bits // 2))
    torch.manual_seed(0)
    apart = distances(codes) + bits * torch.eye(classes)
    draws = []
    for _ in range(20):
        row = torch.where(torch.rand(classes, bits).argsort(dim=1) < bits // 2, -1.0, 1.0)
        draws.append(float((distances(row) + bits * torch.eye(classes)).min()))
    assert float(apart.min()) == max(draws)
    assert max(draws) > min(draws) or bits == 7


def test_rows_of_labels():
    torch.manual_seed(1)
    centres = HashCentres(5, 16)
    one = torch.eye(5)
    assert torch.equal(centres(one), centres.centres)
    labels = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 0, 0, 0]], dtype=torch.uint8)
    codes = centres(labels)
    assert torch.equal(codes[0], centres.centres[:3].sum(dim=0).sign())  # an odd number has no ties
    total = centres.centres[:2].sum(dim=0)
    assert int((total == 0).sum()) == 8
    assert torch.equal(codes[1], torch.where(total == 0, centres.ties, total.sign()))
    assert torch.equal(codes[1], codes[2])
    assert not codes[3].any()
    assert set(centres.ties.tolist()) == {-1.0, 1.0}
    assert set(centres.state_dict()) == {"centres", "ties"}


def test_bad_input():
    with pytest.raises(ValueError, match="^hash_centres: classes must be a positive integer, got 0"):
        hash_centres(0, 16)
    with pytest.raises(ValueError, match="^hash_centres: bits must be a positive integer, got 2.5"):
        hash_centres(3, 2.5)
    with pytest.raises(ValueError, match=r"^HashCentres: labels must be \[m, 5\], got "):
        HashCentres(5, 16)(torch.zeros(2, 4))
