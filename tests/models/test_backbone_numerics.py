"""AlexNet and VGG-F against their formulas in float64, with weights in the layouts of the files they come in."""

import backbone_truth as truth
import numpy as np
import pytest
import torch

from fasthash.models import backbones
from fasthash.models.backbones import vgg_f
from fasthash.models.backbones._mat import read_matconvnet
from fasthash.models.backbones.vgg_f import LAYERS, LocalResponseNorm, MaxPool

SHAPES = {
    "conv1": (11, 11, 3, 64), "conv2": (5, 5, 64, 256), "conv3": (3, 3, 256, 256), "conv4": (3, 3, 256, 256),
    "conv5": (3, 3, 256, 256), "fc6": (6, 6, 256, 4096), "fc7": (1, 1, 4096, 4096),
}  # fmt: skip


def pixels(seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (3, 224, 224), dtype=np.uint8)


def close(got, want):
    """float32 sums of up to 9216 terms through seven layers."""
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=2e-5 * np.abs(want).max())


@pytest.fixture(scope="module")
def weights():
    """Weights of VGG-F as MatConvNet has them, of a size that keeps every layer's output of order one."""
    rng = np.random.default_rng(1)
    layers = {}
    for name, shape in SHAPES.items():
        scale = np.sqrt(2 / np.prod(shape[:3])) / (70 if name == "conv1" else 1)
        layers[name] = (
            (scale * rng.standard_normal(shape)).astype(np.float32),
            (0.1 * rng.standard_normal((1, shape[3]))).astype(np.float32),
        )
    # the norm must matter: values of conv1 in the tens
    layers["conv1"] = (30 * layers["conv1"][0], layers["conv1"][1])
    return layers, rng.uniform(90, 140, (224, 224, 3)).astype(np.float32)


def mat_struct(fields):
    """A MATLAB struct as scipy writes one."""
    out = np.empty((1, 1), [(name, object) for name in fields])
    for name, value in fields.items():
        out[name][0, 0] = value
    return out


def cells(*values):
    out = np.empty((1, len(values)), object)
    for i, value in enumerate(values):
        out[0, i] = value
    return out


def write_mat(path, layers, mean, form):
    """The two generations of MatConvNet's files: fields "filters" and "biases", or "weights" and meta."""
    savemat = pytest.importorskip("scipy.io").savemat
    listed = []
    for name, (filters, biases) in layers.items():
        if form == "old":
            listed.append(mat_struct({"type": "conv", "name": name, "filters": filters, "biases": biases}))
        else:
            listed.append(mat_struct({"name": name, "type": "conv", "weights": cells(filters, biases)}))
        listed.append(mat_struct({"type": "relu", "name": f"relu_{name}"}))
    content = {"layers": cells(*listed)}
    if form == "old":
        content["normalization"] = {"averageImage": mean, "imageSize": [224, 224, 3]}
    else:
        content["meta"] = {"normalization": {"averageImage": mean}}
    savemat(path, {"net": content} if form == "net" else content)


def test_alexnet_is_its_formula():
    torch.manual_seed(0)
    network = backbones.build("alexnet", weights="random").eval()
    pool5, fc7 = truth.alexnet(pixels(), network.state_dict())
    with torch.no_grad():
        got, regions = network.both(torch.from_numpy(pixels())[None])
        close(network(torch.from_numpy(pixels())[None])[0].numpy(), fc7)
        assert torch.equal(network.regions(torch.from_numpy(pixels())[None]), regions)
    close(got[0].numpy(), fc7)
    close(regions[0].numpy(), pool5.reshape(256, 36).T)
    assert fc7.max() > 0
    assert regions.shape[1:] == network.local_shape


def test_vgg_f_is_its_formula(weights, tmp_path):
    layers, mean = weights
    path = tmp_path / "vgg.mat"
    write_mat(path, layers, mean, "new")
    network = backbones.build("vgg_f", weights=str(path))
    path.unlink()  # 240 MB
    pool5, fc7 = truth.vgg_f(pixels(), layers, mean.astype(np.float64))
    with torch.no_grad():
        got, regions = network.both(torch.from_numpy(pixels())[None])
    close(got[0].numpy(), fc7)
    close(regions[0].numpy(), pool5.reshape(256, 36).T)
    assert tuple(layers) == LAYERS


@pytest.mark.parametrize("form", ["old", "new", "net"])
def test_files_of_every_generation_are_read(form, tmp_path):
    rng = np.random.default_rng(5)
    layers = {name: (rng.random((3, 2, 4, 5), np.float32), rng.random((1, 5), np.float32)) for name in ("a", "b", "c")}
    mean = rng.random((4, 4, 3), np.float32)
    write_mat(tmp_path / "net.mat", layers, mean, form)
    got, average = read_matconvnet("vgg_f", str(tmp_path / "net.mat"), ("c", "a"), "a file")
    assert list(got) == ["c", "a"]
    for name in got:
        np.testing.assert_array_equal(got[name][0], layers[name][0])
        np.testing.assert_array_equal(got[name][1], layers[name][1])
    np.testing.assert_array_equal(average, mean)
    with pytest.raises(ValueError, match=r"vgg_f: .*net\.mat lacks the filters or biases of d"):
        read_matconvnet("vgg_f", str(tmp_path / "net.mat"), ("a", "d"), "a file")


def test_vgg_f_takes_one_mean_a_channel(weights, monkeypatch):
    one = np.array([[[120.0, 110.0, 100.0]]], np.float32)
    monkeypatch.setattr(vgg_f, "read_matconvnet", lambda *_: (weights[0], one))
    network = backbones.build("vgg_f", weights="unused")
    assert network.mean.shape == (3, 224, 224)
    assert [float(network.mean[c].unique()) for c in range(3)] == [120, 110, 100]


@pytest.mark.parametrize("spec", ["alexnet", "vgg_f"])
def test_every_layer_learns_and_half_precision_stays_near(spec):
    torch.manual_seed(0)
    network = backbones.build(spec, weights="random").eval()
    x = torch.from_numpy(pixels())[None]
    want = network(x)
    want.square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        got = network(x).float()
    assert (got - want).norm() < 0.05 * want.norm()  # bfloat16 has 8 bits; errors of seven layers add up
    assert not torch.equal(got, want)


def test_norm_is_its_formula():
    """Large values, so that the sum of squares and not kappa decides; the first and last channels have half a window.

    torch's own layer divides alpha by the window: with alpha as the papers give it, it would be another norm."""
    x = 100 * np.random.default_rng(3).standard_normal((2, 7, 3, 4))
    got = LocalResponseNorm()(torch.from_numpy(x).float()).numpy()
    want = np.stack([truth.local_response_norm(row) for row in x])
    np.testing.assert_allclose(got, want, rtol=1e-5)
    wrong = torch.nn.LocalResponseNorm(5, 1e-4, 0.75, 2.0)(torch.from_numpy(x).float()).numpy()
    assert not np.allclose(wrong, want, rtol=0.1)


def test_norm_keeps_float32_in_half_precision():
    x = (100 * torch.rand(1, 7, 3, 4)).bfloat16()
    want = truth.local_response_norm(x.double()[0].numpy())
    np.testing.assert_allclose(LocalResponseNorm()(x)[0].numpy(), want, rtol=1e-5)


@pytest.mark.parametrize(("side", "pad", "out"), [(54, True, 27), (27, False, 13), (13, False, 6)])
def test_pooling_is_its_formula(side, pad, out):
    x = np.random.default_rng(side).uniform(0, 1, (2, side, side))
    got = MaxPool(pad)(torch.from_numpy(x)[None])[0].numpy()
    assert got.shape == (2, out, out)
    np.testing.assert_array_equal(got, truth.max_pool(x, lower_right=int(pad)))
