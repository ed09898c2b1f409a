"""Pictures of every kind end up as the same RGB pixels."""

import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fasthash.features import Picture
from fasthash.features.pictures import fingerprint, open_picture

Image = pytest.importorskip("PIL.Image")
PIXELS = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


@pytest.fixture
def png(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(PIXELS).save(path)
    return path


def test_every_kind_gives_the_same_pixels(png, tmp_path):
    archive = tmp_path / "pictures.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.write(png, "in/a.png")
    kinds = [png, str(png), Picture(png), Picture(archive, "in/a.png"), Image.open(png), PIXELS]
    for kind in kinds:
        picture = open_picture(kind)
        assert picture.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(picture), PIXELS)


def test_transparency_is_over_white():
    pixels = np.zeros((1, 3, 4), np.uint8)
    pixels[0, :, 0] = 200
    pixels[0, :, 3] = 0, 255, 51  # clear, opaque, a fifth opaque
    got = np.asarray(open_picture(pixels))[0]
    assert got[0].tolist() == [255, 255, 255]
    assert got[1].tolist() == [200, 0, 0]
    np.testing.assert_allclose(got[2], [0.2 * 200 + 0.8 * 255, 0.8 * 255, 0.8 * 255], atol=1)


def test_palette_with_a_transparent_colour(tmp_path):
    picture = Image.new("P", (2, 1))
    picture.putpalette([255, 0, 0, 0, 0, 255])
    picture.putdata([0, 1])
    picture.save(tmp_path / "p.png", transparency=0)
    assert np.asarray(open_picture(tmp_path / "p.png")).tolist() == [[[255, 255, 255], [0, 0, 255]]]


def test_grey_array_and_exif_orientation(tmp_path):
    assert np.asarray(open_picture(np.full((2, 2), 7, np.uint8))).tolist() == [[[7] * 3] * 2] * 2
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it turned back by a quarter
    Image.fromarray(PIXELS).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(np.asarray(open_picture(tmp_path / "turned.png")), np.rot90(PIXELS, -1))


def test_refuses(png, tmp_path):
    (tmp_path / "half.png").write_bytes(png.read_bytes()[:-40])
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "bad.zip").write_bytes(b"PK not a zip")
    with zipfile.ZipFile(tmp_path / "good.zip", "w") as file:
        file.write(png, "a.png")
    cases = [
        (tmp_path / "none.png", FileNotFoundError, "none.png"),
        (tmp_path / "half.png", ValueError, "half.png: not a readable picture"),
        (tmp_path / "text.png", ValueError, "text.png: not a readable picture"),
        (Picture(tmp_path / "good.zip", "b.png"), FileNotFoundError, "good.zip:b.png: the zip file has no such member"),
        (Picture(tmp_path / "bad.zip", "a.png"), ValueError, "bad.zip:a.png: damaged zip file"),
        (PIXELS.astype(float), ValueError, "an array must be uint8 .* got float64"),
        (PIXELS[..., :2], ValueError, r"an array must be uint8 .* got uint8 \(5, 7, 2\)"),
        (Image.new("I;16", (2, 2)), ValueError, "must have 8 bits a channel, got mode I;16"),
        (3, TypeError, "must be a path, a PIL image or a uint8 array, got int"),
    ]
    for item, error, line in cases:
        with pytest.raises(error, match=line) as caught:
            open_picture(item)
        assert "\n" not in str(caught.value)


def test_threads_leave_the_warning_filters_as_they_were(png):
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        for picture in pool.map(open_picture, [png] * 200):
            np.testing.assert_array_equal(np.asarray(picture), PIXELS)
    assert warnings.filters == before


def test_fingerprint_follows_names_order_and_contents(png, tmp_path):
    other = tmp_path / "b.png"
    other.write_bytes(png.read_bytes())
    first = fingerprint([Picture(png), Picture(other)])
    assert first == fingerprint([Picture(png), Picture(other)])
    assert first != fingerprint([Picture(other), Picture(png)])
    Image.fromarray(PIXELS + 1).save(other)
    assert first != fingerprint([Picture(png), Picture(other)])
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as file:
        file.write(png, "a.png")
        file.write(other, "b.png")
    inside = [Picture(tmp_path / "z.zip", "a.png"), Picture(tmp_path / "z.zip", "b.png")]
    assert fingerprint(inside[:1]) != fingerprint(inside[1:])
