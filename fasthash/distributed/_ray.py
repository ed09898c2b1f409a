"""The module ray, connected: a cluster that is there is joined, one that is not is started and never stopped."""

from __future__ import annotations

from typing import Any

from fasthash.features._packages import require


def connected(what: str) -> Any:
    """The module ray, after ``ray.init()`` where nobody has called it; that joins the cluster RAY_ADDRESS names.

    Args:
        what: the caller, for the error.
    Raises:
        RuntimeError: ray is not installed; one line says what to install.
    """
    ray = require("ray", "ray", "ray", what)
    if not ray.is_initialized():
        ray.init(log_to_driver=False)
    return ray
