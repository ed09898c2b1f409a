"""A pytest plugin: ``fasthash._C`` is the module at FASTHASH_SANITIZED, built beside the installed one."""

import importlib.util
import os
import sys


def pytest_configure() -> None:
    """Put the module where ``fasthash._native`` finds it before it looks for the installed one."""
    path = os.environ["FASTHASH_SANITIZED"]
    spec = importlib.util.spec_from_file_location("fasthash._C", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules["fasthash._C"] = module
