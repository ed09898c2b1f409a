"""Ranks and a Ray cluster for the whole run: starting them takes longer than what they do."""

import os
import tempfile

import pytest


@pytest.fixture(scope="session", params=[2, 3], ids=["2 ranks", "3 ranks"])
def ranks(request, ranks_of):
    return ranks_of(request.param)


@pytest.fixture(scope="session")
def ray_cluster():
    """The module ray, with a cluster of this process alone: 8 logical CPUs, 150 MB of object store.

    In a folder of its own, with a short path as sockets are in it; so is the store, as a container's /dev/shm is small.
    """
    settings = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DISABLE_IMPORT_WARNING": "1", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
    with (
        pytest.MonkeyPatch.context() as patch,
        tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as own,
    ):
        for name, value in settings.items():
            patch.setenv(name, os.environ.get(name, value))
        ray = pytest.importorskip("ray")
        ray.init(  # "local": never a cluster of somebody else that RAY_ADDRESS or a file names
            "local",
            num_cpus=8,
            include_dashboard=False,
            log_to_driver=False,
            object_store_memory=150 << 20,
            _temp_dir=own,
            _plasma_directory=own,
        )
        yield ray
        ray.shutdown()
