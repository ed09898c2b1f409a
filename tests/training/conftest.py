"""Fixtures of the trainer's tests."""

import pytest
from small_data import make


@pytest.fixture
def small():
    return make()
