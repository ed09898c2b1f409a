"""Pictures inside .tar files: by address, by name, in threads and processes, and what is said of damaged ones."""

import io
import multiprocessing
import tarfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fasthash.features import Picture
from fasthash.features._tar import locate, scan

Image = pytest.importorskip("PIL.Image")
LONG = "deep/" * 30 + "long.png"


def png(value):
    out = io.BytesIO()
    Image.fromarray(np.full((4, 5, 3), value, np.uint8)).save(out, "PNG")
    return out.getvalue()


def write(path, members, form=tarfile.PAX_FORMAT):
    with tarfile.open(path, "w", format=form) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


@pytest.fixture
def members():
    return [(f"{i:03d}.png", png(i)) for i in range(20)] + [(LONG, png(99)), ("ä.png", png(98)), ("a@1.png", png(97))]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_member_by_address_and_by_name(tmp_path, members, form):
    path = tmp_path / "s.tar"
    write(path, members, form)
    found = list(scan(path))
    assert [member.name for member in found] == [name for name, _ in members]
    for member, (name, data) in zip(found, members, strict=True):
        for address in (member.address, name):
            picture = Picture(path, address)
            assert picture.read() == data
            assert picture.exists()
            assert str(picture) == f"{path}:{name}"
        np.testing.assert_array_equal(np.asarray(picture.open()), np.asarray(Image.open(io.BytesIO(data))))
    assert Picture(path, found[0].address).checksum() != Picture(path, found[1].address).checksum()


def _first_pixel(picture):
    return int(np.asarray(picture.open())[0, 0, 0])


def test_threads_and_forked_processes_share_no_position(tmp_path, members):
    path = tmp_path / "s.tar"
    write(path, members)
    pictures = [Picture(path, member.address) for member in list(scan(path))[:20]] * 10
    want = [i % 20 for i in range(200)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(_first_pixel, pictures)) == want
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(_first_pixel, pictures[:40], chunksize=1) == want[:40]


def test_what_is_wrong_is_one_line(tmp_path, members):
    path = tmp_path / "s.tar"
    write(path, members)
    whole = path.read_bytes()
    first = next(scan(path))
    cases = [
        (Picture(path, "none.png"), FileNotFoundError, "s.tar:none.png: the tar file has no such member"),
        (Picture(path, "none.png@512"), ValueError, "another tar file than it was: 000.png lies there"),
        (Picture(path, "000.png@700"), ValueError, "damaged tar file, or another one than it was: no header"),
        (Picture(tmp_path / "no.tar", first.address), FileNotFoundError, "no.tar"),
    ]
    for picture, error, line in cases:
        with pytest.raises(error, match=line) as caught:
            picture.read()
        assert "\n" not in str(caught.value)
    path.write_bytes(whole[: first.offset + 20])
    with pytest.raises(ValueError, match=r"s.tar:000.png: damaged tar file: cut off after 20 of \d+ bytes of it"):
        Picture(path, first.address).read()
    assert Picture(path, first.address).exists()
    assert not Picture(path.with_name("no.tar"), first.address).exists()


def test_an_archive_that_is_cut_off_anywhere_is_told(tmp_path, members):
    path = tmp_path / "s.tar"
    write(path, members[:3])
    whole = path.read_bytes()
    ends = [member.offset for member in scan(path)]
    for size in [0, 100, 512, 515, ends[1] - 512, ends[1] - 100, ends[1], ends[1] + 7, ends[2] + 512]:
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="damaged tar file") as caught:
            list(scan(path))
        assert "\n" not in str(caught.value)
    path.write_bytes(whole[: ends[1]] + b"junk" * 128 + whole[ends[1] + 512 :])
    list(scan(path))  # contents are not looked at
    path.write_bytes(whole[: ends[1] - 512] + b"junk" * 128 + whole[ends[1] :])
    with pytest.raises(ValueError, match="damaged tar file"):
        list(scan(path))


@pytest.mark.parametrize("how", ["gz", "bz2", "xz"])
def test_compressed_archives_have_no_random_access(tmp_path, how):
    path = tmp_path / "s.tar"
    with tarfile.open(path, f"w:{how}") as archive:
        archive.addfile(tarfile.TarInfo("a"))
    with pytest.raises(ValueError, match="must be an uncompressed .tar for random access, this one is compressed"):
        list(scan(path))


def test_a_name_that_begins_like_bzip2_is_no_compressed_archive(tmp_path):
    write(tmp_path / "s.tar", [("BZh91.png", png(1))])
    assert [member.name for member in scan(tmp_path / "s.tar")] == ["BZh91.png"]
    assert locate(tmp_path / "s.tar", "BZh91.png").size == len(png(1))
