"""Ranks for the whole run: starting them takes longer than what they do."""

import pytest
from rank_processes import Ranks


@pytest.fixture(scope="session", params=[2, 3], ids=["2 ranks", "3 ranks"])
def ranks(request, tmp_path_factory):
    made = Ranks(request.param, tmp_path_factory.mktemp("ranks"))
    yield made
    made.close()
