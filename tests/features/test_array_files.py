"""Arrays out of files: every format read back as it was saved, and one clear line for every file that is bad."""

import hashlib
import subprocess
import sys

import h5py
import numpy as np
import pytest
import scipy.io
import scipy.sparse
from matlab_files import as_cells, save_cells73, save_mat73
from safetensors.numpy import save_file

from fasthash.features.array_files import ArrayFile, names
from fasthash.features.array_files import read as read_array

CODES = np.random.default_rng(0).integers(0, 256, (7, 3), dtype=np.uint8)
LABELS = np.random.default_rng(1).random((7, 4)) < 0.4


def read(where, role):
    return read_array(where, f"evaluate: {role}")


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
    assert sorted(names(archive, "evaluate: codes")) == ["codes", "labels"]


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
    monkeypatch.setattr("fasthash.features._array_formats.MAPPED", 10)
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
        "model.pt": ".h5, .hdf5, .safetensors (a pickle may run any program: save arrays)",
        "codes.csv": "must end in .npy, .npz, .mat, .h5, .hdf5, .safetensors",
        "x.npy:codes": "has no array 'codes'; it holds one array without a name",
    }.items():
        with pytest.raises((ValueError, FileNotFoundError)) as error:
            read(tmp_path / where, "query")
        assert message in str(error.value)


def test_an_empty_archive(tmp_path):
    np.savez(tmp_path / "x.npz")
    with pytest.raises(ValueError, match="holds no array"):
        read(tmp_path / "x.npz", "query")


@pytest.mark.parametrize("values", [LABELS, CODES.astype(np.float64), np.zeros((3, 4)), np.zeros((2, 3), bool)])
def test_sparse_matrices_of_version_73(values, tmp_path):
    path, kept = tmp_path / "x.mat", scipy.sparse.csc_matrix(values)
    save_mat73(path, {"codes": CODES})
    with h5py.File(path, "r+") as file:
        sparse = file.create_group("labels")
        sparse.attrs["MATLAB_sparse"] = np.uint64(values.shape[0])
        sparse.attrs["MATLAB_class"] = np.bytes_("logical" if values.dtype == bool else "double")
        sparse["jc"] = kept.indptr.astype(np.uint64)
        if kept.nnz:  # MATLAB leaves them out where there is nothing
            sparse["data"], sparse["ir"] = kept.data, kept.indices.astype(np.uint64)
    found = read(f"{path}:labels", "query_labels").values
    assert (found == values).all()
    assert (found.shape, found.dtype) == (values.shape, values.dtype)
    assert ArrayFile(path, "dcmh").shape("labels") == values.shape
    assert (np.concatenate([block for _, block in ArrayFile(path, "dcmh").blocks("labels", 1, 2)]) == values.T).all()


def test_what_is_no_full_array_in_a_mat_file_of_version_73(tmp_path):
    path = tmp_path / "x.mat"
    save_mat73(path, {"codes": CODES})
    with h5py.File(path, "r+") as file:
        struct = file.create_group("param")
        struct.attrs["MATLAB_class"] = np.bytes_("struct")
    with pytest.raises(ValueError, match="'param' is a struct, no full array of numbers"):
        read(f"{path}:param", "query_labels")
    assert ArrayFile(path, "dcmh").kind("param") == "struct"
    with h5py.File(path, "r+") as file:
        file["param"].attrs["MATLAB_sparse"] = 4  # and no columns
    with pytest.raises(ValueError, match="x.mat is damaged or no .mat file: "):
        read(f"{path}:param", "query_labels")


@pytest.mark.parametrize(
    ("suffix", "module"), [(".mat", "scipy"), (".73.mat", "h5py"), (".safetensors", "safetensors")]
)
def test_a_missing_package_is_one_line(suffix, module, tmp_path):
    path = tmp_path / f"x{suffix}"
    WRITERS[suffix](path, {"codes": CODES})
    lines = [
        "import sys; from importlib import util; find = util.find_spec",
        f"util.find_spec = lambda name, package=None: None if name == {module!r} else find(name, package)",
        "from fasthash.features.array_files import read",
        f"read({str(path)!r}, 'query')",
    ]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True)
    assert f"needs the package {module}: pip install 'fasthash[" in done.stderr.splitlines()[-1]


NAMES = ["im1.jpg", "häuser am see.jpg", "im22.jpg"]
CAPTIONS = [("a cat", "two cats"), (), ("ein Bär",)]


@pytest.mark.parametrize("version", ["5", "7.3"])
def test_cell_arrays_of_strings(version, tmp_path):
    path = tmp_path / "x.mat"
    if version == "5":
        scipy.io.savemat(path, {"FAll": as_cells(NAMES), "caption": as_cells(CAPTIONS), "blank": as_cells(["a", ""])})
    else:
        save_cells73(path, {"FAll": NAMES, "caption": CAPTIONS, "blank": ["a", ""]})
    file = ArrayFile(path, "dcmh")
    assert file.kind("FAll") == "text"
    assert file.strings("FAll") == [(name,) for name in NAMES]
    assert file.strings("FAll", 3) == [(name,) for name in NAMES]
    assert file.strings("caption", 3) == CAPTIONS
    assert [words != () and words != ("",) for words in file.strings("blank")] == [True, False]
    with pytest.raises(ValueError, match=r"dcmh: .*x.mat:FAll must hold 4 texts, got 3"):
        file.strings("FAll", 4)


def test_character_arrays_and_rows_of_strings(tmp_path):
    path = tmp_path / "x.mat"
    columns = [["a cat", "two cats"], ["a dog", "a dog in the sun"], ["a cow", "cows"]]
    scipy.io.savemat(path, {"index": np.array(NAMES), "caption": columns, "row": as_cells(NAMES).T, "one": "alone"})
    file = ArrayFile(path, "clip")
    assert file.strings("index") == file.strings("row") == [(name,) for name in NAMES]
    assert file.strings("caption", 3) == [tuple(row) for row in columns]
    assert file.strings("caption", 2) == [tuple(row) for row in zip(*columns, strict=True)]
    assert file.strings("one") == [("alone",)]
    np.save(tmp_path / "x.npy", np.array(NAMES))
    assert ArrayFile(tmp_path / "x.npy", "clip").strings("", 3) == [(name,) for name in NAMES]


def test_strings_of_hdf5(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["free"] = NAMES
        file["fixed"] = np.array(["im1", "im2"], "S5")
        file["part/numbers"] = np.arange(6).reshape(2, 3)
    file = ArrayFile(tmp_path / "x.h5", "dcmh")
    assert file.strings("free") == [(name,) for name in NAMES]
    assert file.strings("fixed") == [("im1",), ("im2",)]
    assert file.names == ("fixed", "free", "part/numbers")
    assert (file.shape("part/numbers"), file.load("part/numbers").tolist()) == ((2, 3), [[0, 1, 2], [3, 4, 5]])
    with pytest.raises(ValueError, match=r"dcmh: .*x.h5:part/numbers must hold text, got numbers \[2, 3\]"):
        file.strings("part/numbers")
    with pytest.raises(ValueError, match=r"dcmh: .*x.h5 has no array 'x'; it holds fixed, free, part/numbers"):
        file.load("x")


@pytest.mark.parametrize("suffix", [".npy", ".h5", *WRITERS])
@pytest.mark.parametrize("axis", [0, 2])
def test_blocks_along_an_axis(suffix, axis, tmp_path):
    path, values = tmp_path / f"x{suffix}", np.arange(5 * 3 * 7, dtype=np.int32).reshape(5, 3, 7)
    if suffix == ".npy":
        np.save(path, values)
    elif suffix == ".h5":
        with h5py.File(path, "w") as file:
            file["x"] = values
    else:
        WRITERS[suffix](path, {"x": values})
    file = ArrayFile(path, "dcmh")
    assert file.shape(file.names[0]) == values.shape
    blocks = list(file.blocks(file.names[0], axis, 2))
    assert [start for start, _ in blocks] == list(range(0, values.shape[axis], 2))
    assert (np.concatenate([block for _, block in blocks]) == np.moveaxis(values, axis, 0)).all()


def test_blocks_hold_no_more_than_a_block(tmp_path):
    import tracemalloc

    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", (4096, 1024), np.float32, chunks=(64, 1024))[:] = 1  # 16 MiB
    tracemalloc.start()
    total = sum(float(block.sum()) for _, block in ArrayFile(tmp_path / "x.h5", "dcmh").blocks("x", 0, 64))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 4096 * 1024
    assert peak < 4 << 20  # a block is 256 KiB; all of it would be 16 MiB
