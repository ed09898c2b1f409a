"""DJSRH on raw pictures: its teacher is a frozen copy of the backbone, and sees the same augmented picture."""

import numpy as np
import pytest
import torch
from test_djsrh import build, objective, relaxed

from fasthash.methods import TrainData
from fasthash.models.backbones import PictureBackbone, PictureTransform, View
from fasthash.models.backbones._base import channels
from fasthash.models.pictures import PictureRows
from fasthash.models.teacher import FixedFeatures

MOVING = PictureTransform(train=View(8, 12, random_crop=True, flip=True), test=View(8, 12))
STILL = PictureTransform(train=View(8, 12), test=View(8, 12))


class Small(PictureBackbone):
    kind = "small"
    width = 6

    def __init__(self, transform):
        super().__init__(transform, channels(0.5, 0.5, 0.5), channels(0.2, 0.2, 0.2))
        self.convolution = torch.nn.Conv2d(3, 5, 3)
        self.classifier = torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Linear(5, 6), torch.nn.ReLU())
        self.calls = 0

    def config(self):
        return {"kind": self.kind}

    def forward(self, x):
        self.calls += 1
        return self.classifier(self.convolution(self.scaled(x)).relu().mean(dim=(2, 3))) + 0.1


def pictures_and_texts(transform, n=6):
    rng = np.random.default_rng(1)
    pictures = [rng.integers(0, 256, (14, 17, 3), dtype=np.uint8) for _ in range(n)]
    torch.manual_seed(3)
    rows = PictureRows(pictures, Small(transform), workers=1)
    return TrainData(rows, torch.from_numpy(np.abs(rng.standard_normal((n, 5))).astype(np.float32)))


@pytest.fixture(params=[MOVING, STILL], ids=["augmented", "fixed"])
def train(request):
    made = pictures_and_texts(request.param)
    yield made
    made.image.close()


def features_of(train, index):
    """Of the backbone as it is now, without dropout, for the looks of this epoch."""
    backbone = train.image.backbone.eval()
    with torch.no_grad():
        made = backbone(train.image.take(index)).double().numpy()
    backbone.train()
    return made


@pytest.mark.parametrize("seen", [0, 5])
def test_the_teacher_stays_what_the_backbone_was(train, seen):
    method = build(train, text_hidden=(), trains="backbone", lr_image=0.1)
    index = torch.tensor([0, 2, 3, 5])
    want = {}
    for epoch in (0, 1):
        train.image.begin_epoch(epoch)
        want[epoch] = features_of(train, index)
    optimizers = method.optimizers()
    for epoch in (0, 1):
        train.image.begin_epoch(epoch)
        for _ in range(seen):
            method.zero_grad()
            method(train.batch(index), "joint").backward()
            for optimizer in optimizers.values():
                optimizer.step()
        batch = train.batch(index)
        method.eval()  # dropout of the trained network alone: the teacher has none either way
        codes = relaxed(method, batch, 1)
        value = float(method(batch, "joint").detach())
        method.train()
        expected = objective(*codes, want[epoch], batch.text.double().numpy(), method.options.model_dump())
        assert value == pytest.approx(expected, rel=1e-4)
    if seen:
        assert not np.allclose(features_of(train, index), want[1], rtol=1e-2)


def test_no_gradient_flows_into_the_teacher_and_it_is_no_state(train):
    method = build(train, text_hidden=())
    outputs = method.encode(train.batch(torch.tensor([0, 1, 2])), "joint")
    assert outputs["image"].requires_grad
    assert "f_text" not in outputs
    assert ("f_image" in outputs) == train.image.view.augments
    assert all(not x.requires_grad for name, x in outputs.items() if name.startswith("f_"))
    method.loss(outputs, torch.tensor([0, 1, 2]), "joint")["reconstruction"].backward()
    assert all(p.grad is not None for p in method.parameters())
    assert {name.split(".")[0] for name in method.state_dict()} == {"image", "text"}
    assert len(list(method.parameters())) == 4 + 2 + 2


def test_pictures_that_look_the_same_are_made_once():
    train = pictures_and_texts(STILL)
    fixed = FixedFeatures(train.image)
    first = fixed.all(torch.device("cpu"))
    assert not fixed.changes
    assert fixed.all(torch.device("cpu")) is first
    np.testing.assert_allclose(first.numpy(), features_of(train, torch.arange(6)), rtol=1e-5)
    train.image.close()


@pytest.mark.parametrize("trains", ["backbone", "fully connected"])
def test_which_layers_of_a_backbone_train(train, trains):
    method = build(train, text_hidden=(), trains=trains, lr_image=0.1)
    before = {name: p.detach().clone() for name, p in method.named_parameters()}
    optimizers = method.optimizers()
    method(train.batch(torch.arange(6)), "joint").backward()
    for optimizer in optimizers.values():
        optimizer.step()
    still = {name for name, p in method.named_parameters() if torch.equal(p, before[name])}
    convolution = {name for name in before if ".convolution." in name}
    assert len(convolution) == 2
    assert still == (convolution if trains == "fully connected" else set())


def test_rows_of_another_kind_are_refused():
    class Neither:
        width = 3

    with pytest.raises(TypeError, match="^FixedFeatures: rows must have features or a backbone, got Neither$"):
        FixedFeatures(Neither())
