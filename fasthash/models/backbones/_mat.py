"""Networks in MatConvNet's .mat files, of both its generations of field names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash.features._packages import require
from fasthash.models.backbones._files import weights_path

Array = NDArray[Any]


def read_matconvnet(
    kind: str, weights: str | None, names: Sequence[str], what: str
) -> tuple[dict[str, tuple[Array, Array]], Array]:
    """Filters and biases of the named layers, and the average image, as they lie in the file.

    Args:
        kind: the first word of errors.
        weights: the file.
        names: of the layers wanted.
        what: what kind of file is expected, for the error when there is none.
    Raises:
        FileNotFoundError, ValueError: no file, not a .mat file, a layer or the average image is missing.
    """
    path = weights_path(kind, weights, what)
    loadmat = require("scipy.io", "scipy", "backbones", "reading MatConvNet weights").loadmat
    try:
        content = loadmat(str(path))
    except NotImplementedError:
        raise ValueError(f"{kind}: {path} is a .mat file of version 7.3, save it with -v7") from None
    except Exception as error:  # scipy raises many kinds for foreign and damaged files
        raise ValueError(f"{kind}: {path} is no readable .mat file ({type(error).__name__})") from None
    root = content.get("net", content)  # saved as one struct, or its fields by themselves
    listed = _field(root, "layers")
    if listed is None:
        raise ValueError(f"{kind}: {path} holds no MatConvNet network: 'layers' is missing")
    found = {}
    for layer in np.asarray(listed).reshape(-1):
        name = str(np.squeeze(_field(layer, "name")))
        parameters = _parameters(layer) if name in names else None
        if parameters is not None:
            found[name] = parameters
    for name in names:
        if name not in found:
            raise ValueError(f"{kind}: {path} lacks the filters or biases of {name}")
    mean = None
    for where in (("meta", "normalization"), ("normalization",)):
        here: Any = root
        for step in (*where, "averageImage"):
            here = None if here is None else _field(here, step)
        mean = here if mean is None else mean
    if mean is None or np.asarray(mean).dtype.kind not in "fui":
        raise ValueError(f"{kind}: {path} lacks normalization.averageImage")
    return {name: found[name] for name in names}, np.asarray(mean)


def _parameters(layer: Any) -> tuple[Array, Array] | None:
    """Filters and biases: fields of their own up to beta 8, the two cells of "weights" after that."""
    pair = [_field(layer, "filters"), _field(layer, "biases")]
    if pair[0] is None:
        cells = _field(layer, "weights")
        pair = [] if cells is None else list(np.asarray(cells).reshape(-1))
    if len(pair) < 2 or any(part is None or np.asarray(part).dtype.kind != "f" for part in pair[:2]):
        return None
    return np.asarray(pair[0]), np.asarray(pair[1])


def _field(struct: Any, name: str) -> Any:
    """A field of a MATLAB struct, which arrives as an object array or record of shape [1, 1], or of a dict; or None."""
    while isinstance(struct, np.ndarray) and struct.dtype == object and struct.size == 1:
        struct = struct.reshape(-1)[0]
    if isinstance(struct, dict):
        return struct.get(name)
    if getattr(struct, "dtype", None) is None or name not in (struct.dtype.names or ()):
        return None
    value = struct[name]
    while isinstance(value, np.ndarray) and value.dtype == object and value.size == 1:
        value = value.reshape(-1)[0]
    return value
