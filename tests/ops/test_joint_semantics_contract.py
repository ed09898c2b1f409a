"""The contract of joint semantics with torch and with its callers: graphs, dtypes, autocast, teachers, errors."""

import copy
import math

import pytest
import torch
from joint_cases import STEP, WEIGHTS, make_inputs, truth
from nll_cases import runners
from torch.autograd import gradcheck
from torch.library import opcheck

from fasthash.ops import JointTeacher, joint_semantics_affinity, joint_semantics_loss, use_backend

OPS = torch.ops.fasthash
RUNNERS = runners("joint_semantics_loss")
SHARES = (WEIGHTS["beta"], True, False)  # beta, affine, unit
REST = tuple(STEP.values())


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
@pytest.mark.parametrize("m", [5, 130])
def test_contracts(runner, m):
    b_image, b_text, f_image, f_text = make_inputs(
        m, 6, dtype=torch.float64 if runner.backend == "reference" else torch.float32
    )
    features, s = (f_image, f_text, None), torch.eye(m + 2, dtype=f_image.dtype)
    index, known = torch.arange(m).flip(0), torch.ones(3, dtype=torch.float64)
    with runner():
        for wanted in ((True, True), (False, True), (False, False)):
            opcheck(OPS.joint_semantics_loss.default, (b_image, b_text, *features, None, None, *SHARES, *REST, *wanted))
        for moments in (None, known):
            args = (b_image, b_text, None, None, s, index, moments, *SHARES, *REST, True, True)
            opcheck(OPS.joint_semantics_loss.default, args)
        opcheck(OPS.joint_semantics_affinity.default, (*features, 0.6, 0.4, 1.5, True, False))
        opcheck(OPS.joint_semantics_affinity.default, (None, None, s, 0.6, 0.0, 1.0, True, True))
        opcheck(OPS.joint_semantics_moments.default, (*features, index, *SHARES, True))
        opcheck(OPS.joint_semantics_moments.default, (None, None, s, index, *SHARES, False))


@pytest.mark.parametrize("m", [1, 5])
def test_gradcheck(m):
    b_image, b_text, f_image, f_text = make_inputs(m)
    codes = [b.requires_grad_() for b in (b_image, b_text)]
    teacher = JointTeacher(f_image, f_text, beta=0.6)
    assert gradcheck(lambda x, y: joint_semantics_loss(x, y, f_image, f_text, **WEIGHTS), codes)
    assert gradcheck(lambda x, y: teacher.loss(x, y, torch.arange(m), **STEP), codes)


@pytest.mark.parametrize("m", [6, 150])
def test_the_teacher_gets_no_gradient(m):
    b_image, b_text, f_image, f_text = make_inputs(m)
    features = [f.requires_grad_() for f in (f_image, f_text)]
    for max_bytes in (0, 1 << 30):
        teacher = JointTeacher(*features, beta=0.6, max_bytes=max_bytes)
        teacher.loss(b_image.requires_grad_(), b_text, **STEP).backward()
    joint_semantics_loss(b_image, b_text, *features, **WEIGHTS).backward()
    assert all(f.grad is None for f in features)
    assert b_image.grad is not None
    assert b_text.grad is None


def test_without_gradients():
    b_image, b_text, *features = make_inputs(5, dtype=torch.float32)
    b_image.requires_grad_()
    with torch.no_grad():
        assert not joint_semantics_loss(b_image, b_text, *features, **WEIGHTS).requires_grad
    loss = joint_semantics_loss(b_image, b_text, *features, **WEIGHTS)
    with pytest.raises(RuntimeError, match="does not require grad"):  # never a wrong second derivative
        torch.autograd.grad(torch.autograd.grad(loss, b_image, create_graph=True)[0].sum(), b_image)


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
@pytest.mark.parametrize("m", [8, 140])
def test_compiles_as_one_graph(runner, m):
    b_image, b_text, f_image, f_text = make_inputs(m, dtype=torch.float32)
    index = torch.arange(m).flip(0)
    with runner():
        teacher = JointTeacher(f_image, f_text, beta=0.6)

        def step(x, y, f_image, f_text):
            loss = joint_semantics_loss(torch.tanh(x), y, f_image, f_text, **WEIGHTS)
            return (
                2 * loss
                + teacher.loss(x, y, index, **STEP)
                + joint_semantics_affinity(f_image, f_text, beta=0.6, eta=0.4).sum()
            )

        compiled = torch.compile(step, fullgraph=True)
        codes = [b.clone().requires_grad_() for b in (b_image, b_text)]
        want = torch.autograd.grad(step(*codes, f_image, f_text), codes)
        got = torch.autograd.grad(compiled(*codes, f_image, f_text), codes)
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("m", [20, 140])
def test_narrow_inputs_are_computed_in_float32(runner, dtype, m):
    inputs = make_inputs(m, 8, 20, 15, dtype)
    want = truth(*inputs, **WEIGHTS)
    b_image, b_text = (b.requires_grad_() for b in inputs[:2])
    with runner():
        got = joint_semantics_loss(b_image, b_text, *inputs[2:], **WEIGHTS)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(joint_semantics_loss(*inputs, **WEIGHTS), got)
            teacher = JointTeacher(*inputs[2:], beta=0.6)
        again = teacher.loss(b_image, b_text, **STEP)
    assert got.dtype == torch.float32
    for loss in (got, again):
        assert float(loss.detach()) == pytest.approx(want[0], rel=2e-6)
    grad = torch.autograd.grad(got, b_image)[0]
    assert grad.dtype == dtype
    torch.testing.assert_close(grad.double(), torch.from_numpy(want[1]), rtol=2e-2, atol=1e-2 / m**2)


def test_double_features_of_float32_codes():
    inputs = make_inputs(20, 8)
    codes = [b.float() for b in inputs[:2]]
    loss = joint_semantics_loss(*codes, *inputs[2:], **WEIGHTS)
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(truth(*codes, *inputs[2:], **WEIGHTS)[0], rel=1e-6)


@pytest.mark.parametrize("m", [6, 150])
@pytest.mark.parametrize("max_bytes", [0, 1 << 30])
def test_direct_form_is_the_loss(m, max_bytes):
    b_image, b_text, f_image, f_text = make_inputs(m, dtype=torch.float32)
    teacher = JointTeacher(f_image, f_text, beta=0.6, max_bytes=max_bytes)
    codes = [b.requires_grad_() for b in (b_image, b_text)]
    for index in (None, torch.arange(m).flip(0)):
        loss = teacher.loss(*codes, index, **STEP)
        direct = teacher.loss_and_gradients(*codes, index, **STEP)
        assert not any(x.requires_grad for x in direct)
        want = (loss.detach(), *torch.autograd.grad(loss, codes))
        assert all(torch.equal(x, y) for x, y in zip(direct, want, strict=True))


def test_a_teacher_follows_new_weights():
    # what is kept for all pairs belongs to one eta
    inputs = make_inputs(140, 8, 20, 15, torch.float32)
    for max_bytes in (0, 1 << 30):
        teacher = JointTeacher(*inputs[2:], beta=0.6, max_bytes=max_bytes)
        for eta, mu in ((0.4, 1.5), (0.0, 1.5), (0.7, 1.0), (0.4, 1.5)):
            step = {**STEP, "eta": eta, "mu": mu}
            want = truth(*inputs, beta=0.6, **step)[0]
            assert float(teacher.loss(*inputs[:2], **step)) == pytest.approx(want, rel=1e-6)


def test_a_teacher_keeps_no_reference_to_the_features():
    inputs = make_inputs(6, dtype=torch.float32)
    for max_bytes in (0, 1 << 30):
        teacher = JointTeacher(*inputs[2:], beta=0.6, max_bytes=max_bytes)
        before = teacher.loss(*inputs[:2], **STEP)
        kept = [f.clone() for f in inputs[2:]]
        for f in inputs[2:]:
            f.zero_()
        assert torch.equal(teacher.loss(*inputs[:2], **STEP), before)
        for f, values in zip(inputs[2:], kept, strict=True):
            f.copy_(values)
    assert len(teacher) == 6
    assert repr(teacher) == "JointTeacher(6 pairs, beta=0.6, affine=True, keeps the affinity)"
    assert repr(JointTeacher(*inputs[2:], beta=1, max_bytes=6 * 6 * 4 - 1)).endswith("keeps the features)")
    assert torch.equal(copy.deepcopy(teacher).loss(*inputs[:2], **STEP), before)


def test_rows_may_come_twice():
    inputs = make_inputs(6, dtype=torch.float32)
    index = torch.tensor([3, 3, 0, 5])
    teacher = JointTeacher(*inputs[2:], beta=0.6)
    rows = [x[index] for x in inputs]
    assert float(teacher.loss(*rows[:2], index, **STEP)) == pytest.approx(truth(*rows, **WEIGHTS)[0], rel=1e-6)


@pytest.mark.parametrize("runner", RUNNERS, ids=str)
@pytest.mark.parametrize("m", [6, 140])
@pytest.mark.parametrize("wrong", [-1, 200])
@pytest.mark.parametrize("max_bytes", [0, 1 << 30])
def test_an_index_out_of_range(runner, m, wrong, max_bytes):
    inputs = make_inputs(m, dtype=torch.float32)
    index = torch.arange(m)
    index[m // 2] = wrong
    with runner():
        teacher = JointTeacher(*inputs[2:], beta=0.6, max_bytes=max_bytes)
        with pytest.raises(ValueError, match=rf"^joint_semantics_loss: index must be .* 0 to {m - 1}, got {wrong}$"):
            teacher.loss(*inputs[:2], index, **STEP)


@pytest.mark.parametrize(
    ("index", "value", "message"),
    [
        (0, torch.zeros(6), r"b_image must be a matrix"),
        (1, torch.zeros(6, 3, dtype=torch.float64), r"b_text must be \[6, 4\] like b_image"),
        (1, torch.zeros(5, 4, dtype=torch.float64), r"b_text must be \[6, 4\] like b_image"),
        (1, torch.zeros(6, 4), r"b_text must have the dtype and device of b_image"),
        (2, torch.zeros(5, 7), r"f_image must have 6 rows on cpu like b_image"),
        (3, torch.zeros(5, 7), r"f_text must have 6 rows on cpu like f_image"),
        (3, torch.zeros(6, 7, dtype=torch.int64), r"f_text must be float64"),
        (3, torch.zeros(6, 0), r"f_text must be a matrix with at least one row and one column"),
    ],
)
def test_bad_tensors(index, value, message):
    args = list(make_inputs())
    args[index] = value
    with pytest.raises(ValueError, match=f"^joint_semantics_loss: {message}") as caught:
        joint_semantics_loss(*args, **WEIGHTS)
    assert "\n" not in str(caught.value)
    if index >= 2:
        message = message.replace("like b_image", "on cpu like f_image")
        if index == 3:
            with pytest.raises(ValueError, match=f"^joint_semantics_affinity: {message}"):
                joint_semantics_affinity(*args[2:], beta=0.5, eta=0.5)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("beta", 1.5, "beta must be from 0 to 1, got 1.5"),
        ("eta", -0.1, "eta must be from 0 to 1, got -0.1"),
        ("mu", float("inf"), "mu must be a finite number, got inf"),
        ("lambda1", "0.1", "lambda1 must be a finite number, got '0.1'"),
        ("lambda2", math.nan, "lambda2 must be a finite number, got nan"),
    ],
)
def test_bad_weights(name, value, message):
    inputs = make_inputs()
    with pytest.raises(ValueError, match=f"^joint_semantics_loss: {message}"):
        joint_semantics_loss(*inputs, **{**WEIGHTS, name: value})
    if name == "beta":
        with pytest.raises(ValueError, match=f"^JointTeacher: {message}"):
            JointTeacher(*inputs[2:], beta=value)
    else:
        teacher = JointTeacher(*inputs[2:], beta=0.5)
        teacher.loss(*inputs[:2], **STEP)  # good weights before bad ones
        with pytest.raises(ValueError, match=f"^joint_semantics_loss: {message}"):
            teacher.loss(*inputs[:2], **{**STEP, name: value})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"index": torch.arange(5)}, r"index must be int64 \[6\] on cpu, got int64 \[5\] on cpu"),
        ({"index": torch.arange(6).int()}, r"index must be int64 \[6\] on cpu, got int32 \[6\] on cpu"),
        ({"index": None}, r"b_image must have 9 rows like the teacher, or an index, got 6"),
        ({"device": "meta"}, r"b_image must be on cpu like the teacher, got float64 \[6, 4\] on meta"),
    ],
)
def test_bad_batches_of_a_teacher(changes, message):
    b_image, b_text, *_ = make_inputs(6)
    teacher = JointTeacher(*make_inputs(9)[2:], beta=0.5)
    device = changes.get("device", "cpu")
    index = changes.get("index", torch.arange(6))
    with pytest.raises(ValueError, match=f"^joint_semantics_loss: {message}"):
        teacher.loss(b_image.to(device), b_text.to(device), index, **STEP)


def test_bad_teachers():
    *_, f_image, f_text = make_inputs()
    with pytest.raises(ValueError, match=r"^JointTeacher: f_text must have 6 rows on cpu like f_image"):
        JointTeacher(f_image, f_text[:5], beta=0.5)
    with pytest.raises(ValueError, match=r"^JointTeacher: max_bytes must be a whole number from 0, got -1"):
        JointTeacher(f_image, f_text, beta=0.5, max_bytes=-1)
    with pytest.raises(TypeError, match=r"^JointTeacher: f_image must be a torch tensor, got list"):
        JointTeacher([[1.0]], f_text, beta=0.5)


@pytest.mark.parametrize("name", ["cpp", "triton"])
def test_float64_says_why(name):
    if name not in {runner.backend for runner in RUNNERS}:
        pytest.skip(f"no {name} here")
    inputs = make_inputs()
    with use_backend(name), pytest.raises(RuntimeError, match="computes in float32, got float64 codes"):
        joint_semantics_loss(*inputs, **WEIGHTS)
    with use_backend(name), pytest.raises(RuntimeError, match="computes in float32, got a float64 teacher"):
        joint_semantics_affinity(*inputs[2:], beta=0.5, eta=0.5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("m", [1, 32, 100, 128, 700])
@pytest.mark.parametrize("max_bytes", [0, 1 << 30])
def test_on_the_gpu(m, max_bytes):
    inputs = make_inputs(m, 64, 300, 100, torch.float32)
    want = truth(*inputs, **WEIGHTS)
    b_image, b_text, f_image, f_text = (x.cuda() for x in inputs)
    teacher = JointTeacher(f_image, f_text, beta=0.6, max_bytes=max_bytes)
    index = torch.arange(m, device="cuda")
    for got in (
        teacher.loss_and_gradients(b_image, b_text, index, **STEP),
        teacher.loss_and_gradients(b_image, b_text, **STEP),
    ):
        assert float(got[0]) == pytest.approx(want[0], rel=1e-5)
        for gradient, expected in zip(got[1:], want[1:], strict=True):
            expected = torch.from_numpy(expected)
            assert float((gradient.cpu().double() - expected).norm() / expected.norm()) <= 2e-5
    index[0] = m
    if m <= 128:
        assert teacher.loss(b_image, b_text, index, **STEP).isnan()
