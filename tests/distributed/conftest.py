"""Ranks and a Ray cluster for the whole run: starting them takes longer than what they do."""

import os

import pytest
from rank_processes import Ranks


@pytest.fixture(scope="session", params=[2, 3], ids=["2 ranks", "3 ranks"])
def ranks(request, tmp_path_factory):
    made = Ranks(request.param, tmp_path_factory.mktemp("ranks"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def ray_cluster():
    """The module ray, with a cluster of this process alone: 8 logical CPUs, 150 MB of object store."""
    settings = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DISABLE_IMPORT_WARNING": "1", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, os.environ.get(name, value))
        ray = pytest.importorskip("ray")
        ray.init(  # "local": never a cluster of somebody else that RAY_ADDRESS or a file names
            "local",
            num_cpus=8,
            include_dashboard=False,
            log_to_driver=False,
            object_store_memory=150 << 20,
        )
        yield ray
        ray.shutdown()
