"""Arrays out of files: every format read back as it was saved, and one clear line for every file that is bad."""

import hashlib
import subprocess
import sys

import h5py
import numpy as np
import pytest
import scipy.io
import scipy.sparse
from safetensors.numpy import save_file

from fasthash.scoring import read
from fasthash.scoring._arrays import names

CODES = np.random.default_rng(0).integers(0, 256, (7, 3), dtype=np.uint8)
LABELS = np.random.default_rng(1).random((7, 4)) < 0.4


def save_mat73(path, arrays):
    """As MATLAB's save -v7.3 writes: HDF5 behind a header of 512 bytes, dimensions the other way round."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, values in arrays.items():
            kind = "logical" if values.dtype == bool else values.dtype.name
            item = file.create_dataset(name, data=np.asarray(values, np.uint8 if kind == "logical" else None).T)
            item.attrs["MATLAB_class"] = np.bytes_(kind)
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")


WRITERS = {
    ".npz": lambda path, arrays: np.savez_compressed(path, **arrays),
    ".mat": lambda path, arrays: scipy.io.savemat(path, arrays),
    ".73.mat": save_mat73,
    ".safetensors": lambda path, arrays: save_file(arrays, path),
}


@pytest.fixture(params=WRITERS)
def archive(request, tmp_path):
    """A file of two arrays, in each format that holds several."""
    path = tmp_path / f"codes{request.param}"
    WRITERS[request.param](path, {"codes": CODES, "labels": LABELS})
    return path


def test_one_array_of_several_by_name(archive):
    found = read(f"{archive}:codes", "query")
    assert (found.values == CODES).all()
    assert found.values.dtype == np.uint8
    assert (found.path, found.name, found.text) == (archive, "codes", f"{archive}:codes")
    assert found.checksum == hashlib.sha256(archive.read_bytes()).hexdigest()[:16]
    labels = read(f"{archive}:labels", "query_labels").values
    assert (labels == LABELS).all()
    assert labels.shape == LABELS.shape
    assert sorted(names(archive, "codes")) == ["codes", "labels"]


def test_several_arrays_and_no_name(archive):
    with pytest.raises(ValueError, match="holds several arrays ") as error:
        read(archive, "query")
    assert f"name one as {archive}:NAME" in str(error.value)
    with pytest.raises(ValueError, match="has no array 'other'; it holds ") as error:
        read(f"{archive}:other", "query")
    assert "codes" in str(error.value)


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_file_of_one_array_needs_no_name(suffix, tmp_path):
    WRITERS[suffix](tmp_path / f"one{suffix}", {"x": CODES})
    assert (read(tmp_path / f"one{suffix}", "query").values == CODES).all()


@pytest.mark.parametrize("values", [CODES, LABELS, CODES.astype(np.float64) - 100, np.arange(7), CODES[:0]])
def test_npy(values, tmp_path):
    np.save(tmp_path / "x.npy", values)
    found = read(tmp_path / "x.npy", "query")
    assert (found.values == values).all()
    assert (found.values.shape, found.values.dtype, found.name) == (values.shape, values.dtype, None)
    assert found.text == str(tmp_path / "x.npy")
    assert names(tmp_path / "x.npy", "query") == []


def test_a_large_npy_is_read_where_it_lies(tmp_path, monkeypatch):
    monkeypatch.setattr("fasthash.scoring._arrays._MAPPED", 10)
    np.save(tmp_path / "x.npy", CODES)
    assert isinstance(read(tmp_path / "x.npy", "query").values, np.memmap)


def test_a_colon_in_a_file_name(tmp_path):
    np.save(tmp_path / "a:b.npy", CODES)
    assert (read(tmp_path / "a:b.npy", "query").values == CODES).all()


def test_sparse_labels_of_matlab(tmp_path):
    scipy.io.savemat(tmp_path / "x.mat", {"L": scipy.sparse.csc_matrix(LABELS.astype(float))})
    assert (read(tmp_path / "x.mat", "query_labels").values == LABELS).all()


@pytest.mark.parametrize("suffix", [".npy", *WRITERS])
@pytest.mark.parametrize("keep", [0, 3, 40, 0.5, 0.97])
def test_a_truncated_file_is_one_line(suffix, keep, tmp_path):
    path = tmp_path / f"x{suffix}"
    codes = np.random.default_rng(0).integers(0, 256, (400, 16), dtype=np.uint8)
    if suffix == ".npy":
        np.save(path, codes)
    else:
        WRITERS[suffix](path, {"codes": codes})
    whole = path.read_bytes()
    path.write_bytes(whole[: keep if isinstance(keep, int) else int(len(whole) * keep)])
    with pytest.raises(ValueError, match=f"evaluate: query: {path} is damaged or no {path.suffix} file: ") as error:
        read(path, "query")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".mat", ".safetensors"])
def test_another_kind_of_file_behind_a_suffix(suffix, tmp_path):
    path = tmp_path / f"x{suffix}"
    path.write_text("a,b\n1,2\n" * 100)
    with pytest.raises(ValueError, match=f"is damaged or no {suffix} file: "):
        read(path, "query")


def test_a_pickle_is_never_opened(tmp_path):
    np.save(tmp_path / "x.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="is damaged or no .npy file: .*pickle"):
        read(tmp_path / "x.npy", "query")
    np.savez(tmp_path / "x.npz", x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ValueError, match="is damaged or no .npz file: .*pickle"):
        read(tmp_path / "x.npz", "query")


def test_places_that_are_no_files_of_arrays(tmp_path):
    (tmp_path / "folder.npy").mkdir()
    (tmp_path / "model.pt").write_bytes(b"")
    (tmp_path / "codes.csv").write_text("1,2")
    np.save(tmp_path / "x.npy", CODES)
    for where, message in {
        "missing.npy": "evaluate: query: no such file: ",
        "missing.npz:codes": "evaluate: query: no such file: ",
        "folder.npy": "must be a file, got a folder",
        "model.pt": "must end in .npy, .npz, .mat, .safetensors (a pickle may run any program: save arrays)",
        "codes.csv": "must end in .npy, .npz, .mat, .safetensors",
        "x.npy:codes": "has no array 'codes'; it holds one array without a name",
    }.items():
        with pytest.raises((ValueError, FileNotFoundError)) as error:
            read(tmp_path / where, "query")
        assert message in str(error.value)


def test_an_empty_archive(tmp_path):
    np.savez(tmp_path / "x.npz")
    with pytest.raises(ValueError, match="holds no array"):
        read(tmp_path / "x.npz", "query")


def test_what_is_no_full_array_in_a_mat_file_of_version_73(tmp_path):
    path = tmp_path / "x.mat"
    save_mat73(path, {"codes": CODES})
    with h5py.File(path, "r+") as file:
        sparse = file.create_group("labels")
        sparse.attrs["MATLAB_sparse"] = 4
        sparse.attrs["MATLAB_class"] = np.bytes_("double")
    with pytest.raises(ValueError, match="'labels' is a sparse matrix, no full array of numbers"):
        read(f"{path}:labels", "query_labels")


@pytest.mark.parametrize(
    ("suffix", "module"), [(".mat", "scipy"), (".73.mat", "h5py"), (".safetensors", "safetensors")]
)
def test_a_missing_package_is_one_line(suffix, module, tmp_path):
    path = tmp_path / f"x{suffix}"
    WRITERS[suffix](path, {"codes": CODES})
    lines = [
        "import sys; from importlib import util; find = util.find_spec",
        f"util.find_spec = lambda name, package=None: None if name == {module!r} else find(name, package)",
        "from fasthash.scoring._arrays import read",
        f"read({str(path)!r}, 'query')",
    ]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True)
    assert f"needs the package {module}: pip install 'fasthash[" in done.stderr.splitlines()[-1]
