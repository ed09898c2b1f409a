"""Embedded pictures: small, once each, and still the same picture."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from fasthash.report.pictures import SIDE, Pictures, thumbnail


def decode(data):
    return Image.open(io.BytesIO(data))


def test_a_small_png_is_kept_as_it_is(make_picture):
    picture = make_picture()
    assert thumbnail(picture) == ("png", picture, (72, 72))


@pytest.mark.parametrize(
    ("size", "want"), [((600, 300), (SIDE, SIDE // 2)), ((100, 1000), (14, SIDE)), ((90, 90), (90, 90))]
)
@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_large_pictures_shrink_in_proportion(make_picture, size, want, form):
    kind, data, shown = thumbnail(make_picture(size=size, form=form))
    image = decode(data)
    assert (image.format.lower(), image.size) == (kind, shown) == (kind, want)
    assert np.abs(np.asarray(image.convert("RGB"), int)[want[1] // 2, want[0] // 2] - [200, 30, 30]).max() <= 4


def test_transparency_stays(make_picture):
    kind, data, _ = thumbnail(make_picture((200, 30, 30, 0), size=(400, 400), mode="RGBA"))
    assert kind == "png"
    assert decode(data).convert("RGBA").getpixel((70, 70))[3] == 0


def test_a_photograph_becomes_the_shorter_jpeg():
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")
    kind, data, _ = thumbnail(buffer.getvalue())
    assert kind == "jpeg"
    assert len(data) < 20_000


def test_each_picture_once(make_picture):
    red, blue = make_picture(), make_picture((0, 0, 200))
    pictures = Pictures()
    assert [pictures.add(one).name for one in (red, blue, bytes(bytearray(red)))] == ["p0", "p1", "p0"]
    assert pictures.add(None) is None
    assert [one.name for one in pictures.all()] == ["p0", "p1"]
    head, _, data = pictures.all()[1].uri.partition(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(data, validate=True) == blue


@pytest.mark.parametrize("picture", [b"\x89PNG\r\n\x1a\nrubbish", b"\xff\xd8\xff\x00"])
def test_rubbish_is_refused_in_one_line(picture):
    with pytest.raises(ValueError, match="thumbnail: picture must be a readable PNG or JPEG file, got") as caught:
        thumbnail(picture)
    assert "\n" not in str(caught.value)


def test_a_cut_off_file_is_refused(make_picture):
    with pytest.raises(ValueError, match="thumbnail: picture must be a readable"):
        thumbnail(make_picture(size=(300, 300))[:-60])
