"""The native pair losses on every instruction set, against float64 sums over the pairs. NumPy alone: no torch here."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasthash import _native

pytestmark = pytest.mark.skipif(_native.reason() is not None, reason="needs the native module")

LEVELS = list(_native.isa_names()) if _native.reason() is None else []
# one row; whole tiles; ragged in every dimension; more than one block of the bank; operands that swap roles
SHAPES = [(1, 1, 1), (12, 256, 64), (13, 259, 17), (140, 530, 100), (300, 7, 16), (5, 1100, 33)]
GRADIENT = 4e-6  # of the norm: float32 sums of a few hundred terms of either sign


def sigmoid(x):
    return np.where(x >= 0, 1, np.exp(-np.abs(x))) / (1 + np.exp(-np.abs(x)))


def rows(rng, n, d):
    return np.tanh(rng.standard_normal((n, d))).astype(np.float32)


class Side:
    """What the module is told about one operand, and the memory it reads and writes."""

    def __init__(self, x, labels=None, weights=None, *, column=0, grad=True, spare=0):
        wide = np.full((len(x), x.shape[1] + spare), 7, np.float32)
        wide[:, : x.shape[1]] = x
        self.x, self.labels, self.weights = wide, labels, weights
        self.grad = np.full_like(wide, np.nan) if grad else None
        self.d, self.column = x.shape[1], column

    def told(self):
        labels = self.labels
        place, step = 0, 1
        if labels is not None:
            place, step = (
                labels.ctypes.data + self.column * labels.strides[-1] * (labels.ndim == 2),
                labels.strides[0] // 8,
            )
        address = [0 if x is None else x.ctypes.data for x in (self.weights, self.grad)]
        return (self.x.ctypes.data, len(self.x), self.x.shape[1], place, step, *address)


def call(loss, a, b, *options, words=0, dense=None, weights=None, factor=1.0, isa=None, threads=1):
    with _native.use_isa(isa or LEVELS[-1]):
        problem = (
            a.told(),
            b.told(),
            a.d,
            words,
            *(0 if x is None else x.ctypes.data for x in (dense, weights)),
            factor,
        )
        return getattr(_native.load(), loss)(problem, *options, _native.isa(), threads)


def near(got, want, limit=GRADIENT):
    return np.linalg.norm(got - want) <= limit * max(np.linalg.norm(want), 1e-3)


def nll_truth(a, b, similar, weights, scale):
    theta = scale * a.astype(float) @ b.astype(float).T
    loss = np.sum(weights * (np.maximum(theta, 0) + np.log1p(np.exp(-np.abs(theta))) - similar * theta))
    residual = scale * weights * (sigmoid(theta) - similar)
    return loss, residual @ b, residual.T @ a


def cosine_truth(a, b, target):
    a, b = a.astype(float), b.astype(float)
    la, lb = (np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    u, v = (np.divide(x, length, out=np.zeros_like(x), where=length > 1e-12) for x, length in ((a, la), (b, lb)))
    miss = u @ v.T - target
    grads = []
    for x, length, other, part in ((u, la, v, miss), (v, lb, u, miss.T)):
        g = 2 * part @ other
        g -= np.sum(g * x, axis=1, keepdims=True) * x
        grads.append(np.divide(g, length, out=np.zeros_like(g), where=length > 1e-12))
    return np.sum(miss**2), *grads


def euclidean_truth(a, b, similar, margin):
    a, b = a.astype(float), b.astype(float)
    steps = a[:, None] - b[None]
    delta = np.sqrt(np.sum(steps**2, axis=2))
    far = (1 - similar) * delta
    gap = (1 - similar) * margin - np.minimum(far, margin)
    slope = similar**2 - np.divide(
        (1 - similar) * gap * (far < margin), delta, out=np.zeros_like(delta), where=delta > 0
    )
    pull = 2 * slope[:, :, None] * steps
    return np.sum((similar * delta) ** 2 + gap**2), pull.sum(1), -pull.sum(0)


def labels_of(kind, rng, n):
    if kind == "ids":
        return rng.integers(0, 3, n)
    words = np.zeros((n, 2 if kind == "two words" else 1), np.int64)
    for word in range(words.shape[1]):
        for bit in (0, 31, 40, 63):
            words[:, word] |= np.where(rng.random(n) < 0.2, np.int64(-(2**63)) if bit == 63 else np.int64(1 << bit), 0)
    return words


def similarity(a, b):
    if a.ndim == 1:
        return (a[:, None] == b[None]).astype(float)
    return np.any(a[:, None] & b[None], axis=2).astype(float)


def problem(kind, shape, seed=0):
    rng = np.random.default_rng(seed)
    n, m, d = shape
    a, b = rows(rng, n, d), rows(rng, m, d)
    if kind == "dense":
        dense = rng.random((n, m)).astype(np.float32)
        return a, b, None, None, dense, dense.astype(float), 0
    la, lb = labels_of(kind, rng, n), labels_of(kind, rng, m)
    return a, b, la, lb, None, similarity(la, lb), 0 if kind == "ids" else la.shape[1]


@pytest.mark.parametrize("isa", LEVELS)
@pytest.mark.parametrize("kind", ["ids", "masks", "two words", "dense"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_likelihood(isa, kind, shape):
    a, b, la, lb, dense, similar, words = problem(kind, shape)
    x, y = Side(a, la), Side(b, lb)
    loss = call("pairwise_nll", x, y, 0.5, words=words, dense=dense, isa=isa)
    want, grad_a, grad_b = nll_truth(a, b, similar, 1.0, 0.5)
    assert loss == pytest.approx(want, rel=1e-6)
    assert near(x.grad, grad_a)
    assert near(y.grad, grad_b)


@pytest.mark.parametrize("isa", LEVELS)
@pytest.mark.parametrize("kind", ["ids", "dense"])
@pytest.mark.parametrize("given_weights", ["pairs", "rows", "all"])
@pytest.mark.parametrize("shape", SHAPES[1:], ids=str)
def test_weighted_likelihood(isa, kind, given_weights, shape):
    a, b, la, lb, dense, similar, words = problem(kind, shape)
    rng = np.random.default_rng(1)
    n, m, _ = shape
    pairs = rng.random((n, m)).astype(np.float32) if given_weights != "rows" else None
    sides = [rng.random(k).astype(np.float32) if given_weights != "pairs" else None for k in (n, m)]
    x, y = Side(a, la, sides[0]), Side(b, lb, sides[1])
    loss = call("pairwise_nll", x, y, 0.5, words=words, dense=dense, weights=pairs, factor=3.0, isa=isa)
    weights = np.ones((n, m)) if pairs is None else pairs.astype(float)
    if sides[0] is not None:
        weights = weights * sides[0][:, None] * sides[1][None]
    want, grad_a, grad_b = nll_truth(a, b, similar, 3.0 * weights, 0.5)
    assert loss == pytest.approx(want, rel=1e-6)
    assert near(x.grad, grad_a)
    assert near(y.grad, grad_b)


@pytest.mark.parametrize("isa", LEVELS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_cosine_reconstruction(isa, shape):
    rng = np.random.default_rng(0)
    n, m, d = shape
    a, b, target = 3 * rows(rng, n, d), rows(rng, m, d), rng.standard_normal((n, m)).astype(np.float32)
    a[0] = 0  # no direction: cosine 0, no gradient
    x, y = Side(a), Side(b)
    loss = call("cosine_reconstruction", x, y, dense=target, isa=isa)
    want, grad_a, grad_b = cosine_truth(a, b, target)
    assert loss == pytest.approx(want, rel=1e-6)
    scale = np.linalg.norm(target) / np.linalg.norm(b, axis=1).min()  # d = 1 leaves no gradient but rounding
    assert np.linalg.norm(x.grad - grad_a) <= GRADIENT * max(np.linalg.norm(grad_a), 0.1 * scale)
    assert np.linalg.norm(y.grad - grad_b) <= GRADIENT * max(np.linalg.norm(grad_b), 0.1 * scale)
    assert not x.grad[0].any()


@pytest.mark.parametrize("isa", LEVELS)
@pytest.mark.parametrize("kind", ["ids", "two words", "dense"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_margin_euclidean(isa, kind, shape):
    a, b, la, lb, dense, similar, words = problem(kind, shape)
    margin = float(0.9 * np.sqrt(2 * shape[2]))
    b[0] = a[0]  # distance 0
    if len(a) > 3:
        a[3] = b[2] + np.float32(1e-3) * a[2]  # near, and far less than their lengths apart
    x, y = Side(a, la), Side(b, lb)
    loss = call("margin_euclidean", x, y, margin, words=words, dense=dense, isa=isa)
    want, grad_a, grad_b = euclidean_truth(a, b, similar, margin)
    assert loss == pytest.approx(want, rel=3e-6)
    assert near(x.grad, grad_a, 2e-5)
    assert near(y.grad, grad_b, 2e-5)


@pytest.mark.parametrize("isa", LEVELS)
def test_columns_of_wider_rows(isa):
    """Layers stand side by side: only their columns are read, and only their columns of the gradient written."""
    a, b, la, lb, _, similar, _ = problem("ids", (20, 300, 32))
    ids = [np.stack([np.full(len(x), 9), x], axis=1) for x in (la, lb)]
    x, y = Side(a, ids[0], column=1, spare=16), Side(b, ids[1], column=1, spare=16)
    loss = call("pairwise_nll", x, y, 0.5, isa=isa)
    want, grad_a, grad_b = nll_truth(a, b, similar, 1.0, 0.5)
    assert loss == pytest.approx(want, rel=1e-6)
    assert near(x.grad[:, :32], grad_a)
    assert near(y.grad[:, :32], grad_b)
    assert np.isnan(x.grad[:, 32:]).all()
    assert np.isnan(y.grad[:, 32:]).all()


@pytest.mark.parametrize("isa", LEVELS)
@pytest.mark.parametrize("loss", ["pairwise_nll", "cosine_reconstruction", "margin_euclidean"])
def test_the_same_bits_for_any_number_of_threads(isa, loss):
    a, b, la, lb, _, _, _ = problem("ids", (700, 5000, 24))
    options = {"pairwise_nll": (0.5,), "cosine_reconstruction": (), "margin_euclidean": (4.0,)}[loss]
    dense = np.random.default_rng(0).random((700, 5000)).astype(np.float32) if loss == "cosine_reconstruction" else None
    found = []
    for threads in (1, 2, 3):
        x, y = Side(a, la), Side(b, lb)
        found.append((call(loss, x, y, *options, dense=dense, isa=isa, threads=threads), x.grad, y.grad))
    for other in found[1:]:
        assert other[0] == found[0][0]
        assert np.array_equal(other[1], found[0][1])
        assert np.array_equal(other[2], found[0][2])


@pytest.mark.parametrize("isa", LEVELS)
@pytest.mark.parametrize("loss", ["pairwise_nll", "cosine_reconstruction", "margin_euclidean"])
def test_nan_reaches_the_loss(isa, loss):
    a, b, la, lb, _, _, _ = problem("ids", (20, 300, 24))
    a[7, 3] = np.nan
    options = {"pairwise_nll": (0.5,), "cosine_reconstruction": (), "margin_euclidean": (4.0,)}[loss]
    dense = np.zeros((20, 300), np.float32) if loss == "cosine_reconstruction" else None
    x, y = Side(a, la), Side(b, lb)
    assert np.isnan(call(loss, x, y, *options, dense=dense, isa=isa))
    assert np.isnan(x.grad[7]).all()


@pytest.mark.parametrize("isa", LEVELS)
def test_huge_products_are_finite(isa):
    a, b, la, lb, _, similar, _ = problem("ids", (20, 300, 24))
    a *= 1e4
    x, y = Side(a, la), Side(b, lb)
    loss = call("pairwise_nll", x, y, 0.5, isa=isa)
    want, grad_a, _ = nll_truth(a, b, similar, 1.0, 0.5)
    assert loss == pytest.approx(want, rel=1e-6)
    assert near(x.grad, grad_a, 1e-5)


SIZES = (st.integers(1, 40), st.integers(1, 300), st.integers(1, 70))


@settings(max_examples=25, deadline=None)
@given(shape=st.tuples(*SIZES), seed=st.integers(0, 99), isa=st.sampled_from(LEVELS or ["scalar"]))
def test_roles_can_be_exchanged(shape, seed, isa):
    a, b, la, lb, _, _, _ = problem("ids", shape, seed)
    x, y, x2, y2 = Side(a, la), Side(b, lb), Side(a, la), Side(b, lb)
    assert call("pairwise_nll", x, y, 0.5, isa=isa) == pytest.approx(
        call("pairwise_nll", y2, x2, 0.5, isa=isa), rel=1e-6
    )
    assert near(x.grad, x2.grad)
    assert near(y.grad, y2.grad)


def test_wanted_gradients_alone_are_written():
    a, b, la, lb, _, _, _ = problem("ids", (20, 300, 24))
    x, y, x2, y2 = Side(a, la), Side(b, lb, grad=False), Side(a, la, grad=False), Side(b, lb, grad=False)
    both = call("pairwise_nll", Side(a, la), Side(b, lb), 0.5)
    assert call("pairwise_nll", x, y, 0.5) == both
    assert call("pairwise_nll", x2, y2, 0.5) == both
    assert np.isfinite(x.grad).all()
