import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from fasthash.ops import joint_semantics_affinity, joint_semantics_loss

WEIGHTS = {"beta": 0.6, "eta": 0.4, "mu": 1.5, "lambda1": 0.1, "lambda2": 0.3}


def inputs(m=6, d=4, dtype=torch.float64, seed=0):
    g = torch.Generator().manual_seed(seed)
    codes = (torch.tanh(torch.randn(m, d, generator=g, dtype=torch.float64)).to(dtype) for _ in range(2))
    features = (torch.rand(m, p, generator=g, dtype=torch.float64).to(dtype) for p in (7, 5))
    return *codes, *features


def cosines(x, y):
    """Entry by entry; a row of zeros has cosine 0."""
    out = np.zeros((len(x), len(y)))
    for i, u in enumerate(x):
        for j, v in enumerate(y):
            out[i, j] = u @ v / (max(np.linalg.norm(u), 1e-12) * max(np.linalg.norm(v), 1e-12))
    return out


def target(f_image, f_text, beta, eta, mu, affine):
    image, text = (cosines(f, f) for f in (f_image.double().numpy(), f_text.double().numpy()))
    if affine:
        image, text = 2 * image - 1, 2 * text - 1
    fused, m = beta * image + (1 - beta) * text, len(image)
    return mu * ((1 - eta) * fused + eta / m * fused @ fused.T)


def loss(b_image, b_text, f_image, f_text, lambda1, lambda2, affine=True, **weights):
    t = target(f_image, f_text, affine=affine, **weights)
    u, v = (b.detach().double().numpy() for b in (b_image, b_text))
    terms = [((cosines(x, y) - t) ** 2).mean() for x, y in ((u, v), (u, u), (v, v))]
    return terms[0] + lambda1 * terms[1] + lambda2 * terms[2]


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("beta", [0.0, 0.9, 1.0])
@pytest.mark.parametrize("m", [1, 9])
def test_affinity_matches_the_formula(affine, eta, beta, m):
    _, _, f_image, f_text = inputs(m)
    got = joint_semantics_affinity(f_image, f_text, beta=beta, eta=eta, mu=1.5, affine=affine)
    np.testing.assert_allclose(got.numpy(), target(f_image, f_text, beta, eta, 1.5, affine), rtol=0, atol=1e-14)


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("weights", [WEIGHTS, {**WEIGHTS, "lambda1": 0.0}, {**WEIGHTS, "lambda1": 0, "lambda2": 0}])
def test_loss_matches_the_formula(affine, weights):
    args = inputs(8)
    got = joint_semantics_loss(*args, affine=affine, **weights)
    assert float(got) == pytest.approx(loss(*args, affine=affine, **weights), rel=1e-13)


def test_gradcheck():
    b_image, b_text, f_image, f_text = inputs(5)
    codes = [b.requires_grad_() for b in (b_image, b_text)]
    assert gradcheck(lambda x, y: joint_semantics_loss(x, y, f_image, f_text, **WEIGHTS), codes)


def test_the_teacher_gets_no_gradient():
    b_image, b_text, f_image, f_text = inputs()
    features = [f.requires_grad_() for f in (f_image, f_text)]
    joint_semantics_loss(b_image.requires_grad_(), b_text, *features, **WEIGHTS).backward()
    assert all(f.grad is None for f in features)
    assert b_image.grad is not None


def test_equal_codes_and_weights_give_a_symmetric_gradient():
    b, _, f_image, f_text = inputs()
    u, v = b.clone().requires_grad_(), b.clone().requires_grad_()
    joint_semantics_loss(u, v, f_image, f_text, **{**WEIGHTS, "lambda2": WEIGHTS["lambda1"]}).backward()
    torch.testing.assert_close(u.grad, v.grad)


def test_rows_of_zeros_are_finite():
    b_image, b_text, f_image, f_text = inputs()
    b_image[2], f_image[1], f_text[1] = 0, 0, 0
    got = joint_semantics_loss(b_image.requires_grad_(), b_text, f_image, f_text, **WEIGHTS)
    assert float(got.detach()) == pytest.approx(loss(b_image, b_text, f_image, f_text, **WEIGHTS), rel=1e-13)
    got.backward()
    assert b_image.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_narrow_inputs_are_computed_in_float32(dtype):
    args = inputs(20, 8, dtype)
    got = joint_semantics_loss(*args, **WEIGHTS)
    assert got.dtype == torch.float32
    assert float(got) == pytest.approx(loss(*args, **WEIGHTS), rel=2e-6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(joint_semantics_loss(*args, **WEIGHTS), got)


def test_compiles_as_one_graph():
    args = inputs(8, dtype=torch.float32)
    compiled = torch.compile(lambda *xs: joint_semantics_loss(*xs, **WEIGHTS), fullgraph=True)
    torch.testing.assert_close(compiled(*args), joint_semantics_loss(*args, **WEIGHTS))


@pytest.mark.parametrize(
    ("index", "value", "message"),
    [
        (0, torch.zeros(6), r"joint_semantics_loss: b_image must be a matrix"),
        (1, torch.zeros(6, 3, dtype=torch.float64), r"joint_semantics_loss: b_text must be \[6, 4\] like b_image"),
        (1, torch.zeros(5, 4, dtype=torch.float64), r"joint_semantics_loss: b_text must be \[6, 4\] like b_image"),
        (2, torch.zeros(5, 7), r"joint_semantics_loss: f_image must have 6 rows on cpu like b_image"),
        (3, torch.zeros(5, 7), r"joint_semantics_affinity: f_text must have 6 rows on cpu like f_image"),
        (3, torch.zeros(6, 7, dtype=torch.int64), r"joint_semantics_affinity: f_text must be float64"),
    ],
)
def test_bad_tensors(index, value, message):
    args = list(inputs())
    args[index] = value
    with pytest.raises(ValueError, match=f"^{message}"):
        joint_semantics_loss(*args, **WEIGHTS)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("beta", 1.5, "beta must be from 0 to 1, got 1.5"),
        ("eta", -0.1, "eta must be from 0 to 1, got -0.1"),
        ("mu", float("inf"), "mu must be a finite number, got inf"),
        ("lambda1", "0.1", "lambda1 must be a finite number, got '0.1'"),
    ],
)
def test_bad_weights(name, value, message):
    with pytest.raises(ValueError, match=message):
        joint_semantics_loss(*inputs(), **{**WEIGHTS, name: value})
