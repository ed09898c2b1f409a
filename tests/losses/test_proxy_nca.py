import math

import pytest
import torch

from fasthash import losses


def batch(m=7, classes=5, bits=9, dtype=torch.float64):
    g = torch.Generator().manual_seed(0)
    h = torch.randn(m, bits, generator=g).to(dtype)
    labels = torch.rand(m, classes, generator=g) < 0.4
    labels[0], labels[1] = torch.tensor([1, 0, 1, 1, 0]), 0
    return h, labels


def by_hand(h, proxies, labels, margin):
    total = 0.0
    for row, has in zip(h.tolist(), labels.tolist(), strict=True):
        length = math.sqrt(sum(a * a for a in row))
        distances = []
        for proxy, own in zip(proxies.tolist(), has, strict=True):
            size = math.sqrt(sum(a * a for a in proxy))
            squared = sum((a / length - b / size) ** 2 for a, b in zip(row, proxy, strict=True))
            distances.append(squared + margin * own)
        below = math.log(sum(math.exp(-d) for d in distances))
        total += sum(d + below for d, own in zip(distances, has, strict=True) if own)
    return total / len(h)


@pytest.mark.parametrize("margin", [0.0, 1.0, 2.5])
def test_is_the_formula(margin):
    h, labels = batch()
    loss = losses.ProxyNCA(5, 9, margin=margin).double()
    got = loss(h, labels)
    assert float(got.detach()) == pytest.approx(by_hand(h, loss.proxies, labels, margin), rel=1e-12)
    assert torch.autograd.gradcheck(loss, (h.requires_grad_(), labels))
    assert float(loss(h.float(), labels.int()).detach()) == pytest.approx(float(got.detach()), rel=1e-5)


def test_rows_without_labels_and_rows_of_zeros():
    h, labels = batch()
    loss = losses.ProxyNCA(5, 9).double()
    assert float(loss(h[1:2], labels[1:2]).detach()) == 0
    zero = torch.zeros(1, 9, dtype=torch.float64, requires_grad=True)
    value = loss(zero, torch.tensor([[1, 0, 0, 0, 0]]))
    value.backward()
    assert float(value.detach()) == pytest.approx(math.log(1 + 4 * math.e))
    assert not zero.grad.any()


def test_proxies_at_the_start():
    torch.manual_seed(0)
    loss = losses.ProxyNCA(60, 128)
    assert float(loss.proxies.detach().std()) == pytest.approx(1 / 8, rel=0.03)
    assert repr(loss) == "ProxyNCA(classes=60, bits=128, margin=1.0)"


@pytest.mark.parametrize(
    ("classes", "bits", "margin", "message"),
    [
        (0, 8, 1.0, "ProxyNCA: classes must be a positive integer, got 0"),
        (4, True, 1.0, "ProxyNCA: bits must be a positive integer, got True"),
        (4, 8, float("inf"), "ProxyNCA: margin must be a finite number"),
    ],
)
def test_bad_settings(classes, bits, margin, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        losses.ProxyNCA(classes, bits, margin=margin)


def test_bad_input():
    loss = losses.ProxyNCA(5, 9)
    h, labels = batch(dtype=torch.float32)
    with pytest.raises(ValueError, match=r"^ProxyNCA: h must be \[n, 9\] like proxies, got \[7, 8\]"):
        loss(h[:, :8], labels)
    with pytest.raises(ValueError, match=r"^ProxyNCA: labels must be \[m, 5\] with m = 7 on cpu, got "):
        loss(h, labels[:6])
