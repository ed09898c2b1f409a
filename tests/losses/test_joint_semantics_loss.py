import pytest
import torch

from fasthash import losses
from fasthash.ops import JointTeacher, joint_semantics_loss
from fasthash.ops._unit_rows import unit_rows

WEIGHTS = {"beta": 0.9, "eta": 0.4, "mu": 1.5, "lambda1": 0.1, "lambda2": 0.2, "affine": False}


def make_inputs(m=6):
    g = torch.Generator().manual_seed(0)
    return [torch.randn(m, 4, generator=g) for _ in range(2)] + [torch.rand(m, p, generator=g) for p in (9, 5)]


def test_features_or_a_teacher_of_them():
    *codes, f_image, f_text = make_inputs()
    module = losses.JointSemantics(**WEIGHTS)
    teacher = module.teacher(f_image, f_text)
    want = joint_semantics_loss(*codes, f_image, f_text, **WEIGHTS)
    assert torch.equal(module(*codes, f_image, f_text), want)
    torch.testing.assert_close(module(*codes, teacher=teacher), want)
    index = torch.tensor([4, 0, 1])
    some = [x[index] for x in (*codes, f_image, f_text)]
    torch.testing.assert_close(module(*some[:2], teacher=teacher, index=index), joint_semantics_loss(*some, **WEIGHTS))
    assert module.state_dict() == {}
    module.kept = teacher
    assert module.state_dict() == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "expected f_image and f_text, or a teacher, which index refers to"),
        ({"f_image": 0}, "expected f_image and f_text, or a teacher, which index refers to"),
        ({"f_image": 0, "f_text": 0, "index": 0}, "expected f_image and f_text, or a teacher, which index refers to"),
        ({"f_image": 0, "f_text": 0, "teacher": 0.9}, "expected f_image and f_text or teacher, got both"),
        ({"teacher": 0.5}, r"teacher must have beta 0.9 and affine False, got JointTeacher\(6 pairs, beta=0.5"),
    ],
)
def test_one_kind_of_teacher(arguments, message):
    *codes, f_image, f_text = make_inputs()
    values = {"f_image": f_image, "f_text": f_text, "index": torch.arange(6)}
    given = {name: values[name] for name in arguments if name != "teacher"}
    if "teacher" in arguments:
        given["teacher"] = JointTeacher(f_image, f_text, beta=arguments["teacher"], affine=False)
    with pytest.raises(ValueError, match=f"^JointSemantics: {message}"):
        losses.JointSemantics(**WEIGHTS)(*codes, **given)


@pytest.mark.parametrize("m", [17, 150])
def test_unit_features_of_a_batch_are_those_of_a_teacher(m):
    """To the bit: so that features may come with each batch, or be kept at length 1 for all pairs."""
    torch.manual_seed(0)
    joint = losses.JointSemantics(beta=0.6, eta=0.4, mu=1.5, lambda1=0.1, lambda2=0.1)
    f_image, f_text, index = torch.rand(300, 12), torch.rand(300, 7), torch.randperm(300)[:m]
    teacher = JointTeacher(f_image, f_text, beta=0.6, max_bytes=0)
    codes = [torch.tanh(torch.randn(m, 16)).requires_grad_() for _ in range(2)]
    units = (torch.nn.functional.normalize(f[index], dim=1) for f in (f_image, f_text))
    kept, batch = joint(*codes, teacher=teacher, index=index), joint(*codes, *units, unit=True)
    torch.testing.assert_close(batch, kept, rtol=1e-6, atol=0)  # torch's normalize divides, the teacher multiplies
    rows = [unit_rows(f[index])[0] for f in (f_image, f_text)]
    same = joint(*codes, *rows, unit=True)
    assert torch.equal(same, kept)
    for a, b in zip(torch.autograd.grad(same, codes), torch.autograd.grad(kept, codes), strict=True):
        assert torch.equal(a, b)
    # taken as they are: twice the length is another affinity
    assert not torch.equal(joint(*codes, *(2 * f for f in rows), unit=True), kept)
