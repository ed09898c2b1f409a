import numpy as np
import pytest
import torch

from fasthash import losses
from fasthash.ops import joint_semantics_loss, pack_labels, pairwise_nll


def test_pairwise_nll_is_the_operation():
    a, b = torch.randn(5, 8), torch.randn(7, 8)
    labels_a, labels_b = torch.rand(5, 3) < 0.5, torch.rand(7, 3) < 0.5
    loss = losses.PairwiseNLL(scale=0.7, reduction="mean")
    want = pairwise_nll(a, b, labels_a, labels_b, scale=0.7, reduction="mean")
    assert torch.equal(loss(a, b, labels_a, labels_b), want)
    assert torch.equal(loss(a, b, pack_labels(labels_a), pack_labels(labels_b)), want)
    sim = (labels_a.float() @ labels_b.float().T > 0).float()
    torch.testing.assert_close(loss(a, b, sim=sim), want)
    assert repr(loss) == "PairwiseNLL(scale=0.7, reduction='mean')"
    assert (losses.PairwiseNLL().scale, losses.PairwiseNLL().reduction) == (0.5, "sum")


def test_pairwise_nll_refuses_at_once():
    with pytest.raises(ValueError, match=r"^PairwiseNLL: reduction must be one of sum, mean, got 'max'"):
        losses.PairwiseNLL(reduction="max")
    with pytest.raises(ValueError, match=r"^PairwiseNLL: scale must be a finite number"):
        losses.PairwiseNLL(scale=float("nan"))


def test_quantization():
    h = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    code = torch.where(h.detach() >= 0, 1.0, -1.0).double()
    loss = losses.Quantization()(h, code)
    assert float(loss.detach()) == pytest.approx(
        sum((x - y) ** 2 for x, y in zip(h.flatten().tolist(), code.flatten().tolist(), strict=True))
    )
    loss.backward()
    torch.testing.assert_close(h.grad, 2 * (h.detach() - code))
    with pytest.raises(ValueError, match=r"^Quantization: code must be \[4, 6\] like h, got \[3, 6\]"):
        losses.Quantization()(h, code[:3])


def test_code_balance():
    h = torch.tensor([[1.0, 1.0], [-1.0, 1.0], [0.5, 1.0]], requires_grad=True)
    loss = losses.CodeBalance()(h)
    assert float(loss.detach()) == pytest.approx(0.5**2 + 3**2)
    loss.backward()
    torch.testing.assert_close(h.grad, torch.tensor([[1.0, 6.0]] * 3))
    assert float(losses.CodeBalance()(torch.tensor([[1.0], [-1.0]]))) == 0
    assert float(losses.CodeBalance()(h.detach(), torch.tensor([-0.5, 1.0]))) == 16
    with pytest.raises(ValueError, match=r"^code_balance: h must be float64, float32, float16 or bfloat16, got int64"):
        losses.CodeBalance()(torch.ones(2, 2, dtype=torch.int64))


def test_half_precision_is_summed_in_float32():
    h = torch.full((2000, 1), 0.5, dtype=torch.float16)
    assert float(losses.CodeBalance()(h)) == 1e6  # beyond float16
    assert losses.Quantization()(h, torch.ones_like(h)).dtype == torch.float32


def test_joint_semantics_is_the_operation():
    weights = {"beta": 0.9, "eta": 0.4, "mu": 1.5, "lambda1": 0.1, "lambda2": 0.2, "affine": False}
    args = torch.randn(6, 4), torch.randn(6, 4), torch.rand(6, 9), torch.rand(6, 5)
    module = losses.JointSemantics(**weights)
    assert torch.equal(module(*args), joint_semantics_loss(*args, **weights))
    assert "lambda2=0.2" in repr(module)


@pytest.mark.parametrize("kind", ["ids", "packed", "layers", "self"])
def test_one_tensor_twice_in_a_graph(kind):
    a, b = (torch.randn(6, 8, requires_grad=True) for _ in range(2))
    ids = torch.arange(6) % 3
    labels = {"ids": ids, "packed": pack_labels(torch.eye(3)[ids]), "layers": ids[:, None].repeat(1, 2), "self": ids}
    nll = losses.PairwiseNLL(layer_weights=(0.2, 0.8)) if kind == "layers" else losses.PairwiseNLL()
    step = torch.compile(lambda x, y, both: nll(x, y, both, both), fullgraph=True, backend="aot_eager")
    pair = (a, a) if kind == "self" else (a, b)
    got, want = step(*pair, labels[kind]), nll(*pair, labels[kind], labels[kind])
    torch.testing.assert_close(got, want)
    leaves = list(dict.fromkeys(pair))
    torch.testing.assert_close(torch.autograd.grad(got, leaves), torch.autograd.grad(want, leaves))


def test_autocast_gives_codes_of_two_dtypes():
    weight, x, other = torch.eye(8, requires_grad=True), torch.randn(6, 8), torch.randn(6, 8)
    module = losses.JointSemantics(beta=0.9, eta=0.4, mu=1.5, lambda1=0.1, lambda2=0.1)
    features = torch.rand(6, 9), torch.rand(6, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        h = x @ weight
        code = torch.where(h >= 0, 1.0, -1.0)  # float32
        found = [
            (losses.Quantization()(h, code), losses.Quantization()(h.float(), code)),
            (module(h, other, *features), module(h.float(), other, *features)),
            (module(other, h, teacher=module.teacher(*features)), module(other, h.float(), *features)),
        ]
    assert h.dtype == torch.bfloat16
    for got, want in found:
        torch.testing.assert_close(got, want)
        gradients = [torch.autograd.grad(loss, weight, retain_graph=True)[0] for loss in (got, want)]
        torch.testing.assert_close(*gradients)
    with pytest.raises(ValueError, match=r"^Quantization: code must have the dtype and device of h"):
        losses.Quantization()(h, code)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"beta": 3}, "beta must be from 0 to 1, got 3"),
        ({"eta": -0.1}, "eta must be from 0 to 1, got -0.1"),
        ({"mu": "x"}, "mu must be a finite number, got 'x'"),
        ({"lambda1": float("nan")}, "lambda1 must be a finite number, got nan"),
    ],
)
def test_joint_semantics_refuses_at_once(setting, message):
    weights = {"beta": 0.9, "eta": 0.4, "mu": 1.5, "lambda1": 0.1, "lambda2": 0.2}
    with pytest.raises(ValueError, match=f"^JointSemantics: {message}$"):
        losses.JointSemantics(**{**weights, **setting})


def test_numbers_of_numpy_and_widths_that_are_none():
    assert losses.PairwiseNLL(scale=np.float32(0.5)).scale == 0.5
    assert losses.PairwiseNLL(layer_weights=np.array([1, 2]), layer_bits=np.array([3, 5])).layer_bits == [3, 5]
    with pytest.raises(TypeError, match=r"^PairwiseNLL: layer_weights must be a sequence of numbers, got 0.5$"):
        losses.PairwiseNLL(layer_weights=0.5)
    with pytest.raises(ValueError, match=r"^PairwiseNLL: layer_bits must be 2 widths >= 1 like layer_weights, got"):
        losses.PairwiseNLL(layer_weights=[0.5, 0.5], layer_bits=[8.7, 8.3])
