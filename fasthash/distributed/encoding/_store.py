"""Ray's object store: what every worker reads and none should be sent with each task."""

from __future__ import annotations

from typing import Any


def put(value: Any) -> Any:
    """A reference to a copy of the value in the store."""
    import ray

    return ray.put(value)


def get(reference: Any) -> Any:
    """The value; its arrays lie in the store, read-only."""
    import ray

    return ray.get(reference)
