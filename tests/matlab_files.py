"""Files as MATLAB saves them, of version 7.3 too, which no package writes."""

import itertools

import h5py
import numpy as np


def save_mat73(path, arrays):
    """As MATLAB's save -v7.3 writes: HDF5 behind a header of 512 bytes, dimensions the other way round."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, values in arrays.items():
            kind = "logical" if values.dtype == bool else values.dtype.name
            item = file.create_dataset(name, data=np.asarray(values, np.uint8 if kind == "logical" else None).T)
            item.attrs["MATLAB_class"] = np.bytes_(kind)
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")


def as_cells(items):
    """A cell array [n, 1], each cell a string or a cell of strings."""
    cells = np.empty((len(items), 1), object)
    for i, item in enumerate(items):
        inner = np.empty((1, len(item)), object)
        inner[0, :] = item
        cells[i, 0] = item if isinstance(item, str) else inner
    return cells


def save_cells73(path, cells):
    """As MATLAB's save -v7.3 writes cell arrays: references to character arrays, one column a character."""
    with h5py.File(path, "w", userblock_size=512) as file:
        held, count = file.create_group("#refs#"), itertools.count()

        def put(item):
            if isinstance(item, str):
                letters = np.frombuffer(item.encode("utf-16-le"), "<u2").reshape(-1, 1)
                made = held.create_dataset(f"r{next(count)}", data=letters if item else np.zeros(2, np.uint64))
                made.attrs["MATLAB_class"] = np.bytes_("char")
                if not item:
                    made.attrs["MATLAB_empty"] = 1
                return made
            return put_cells(held, f"r{next(count)}", [[inner] for inner in item])

        def put_cells(group, name, rows):
            references = np.array([[put(item).ref for item in row] for row in rows], h5py.ref_dtype)
            made = group.create_dataset(name, data=references.T if references.size else np.zeros(2, np.uint64))
            made.attrs["MATLAB_class"] = np.bytes_("cell")
            if not references.size:
                made.attrs["MATLAB_empty"] = 1
            return made

        for name, items in cells.items():
            put_cells(file, name, [[item] for item in items])
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")
