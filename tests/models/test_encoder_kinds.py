"""Stored models in a process that has seen no method: every architecture is known as soon as models can be loaded."""

import subprocess
import sys

KNOWN = """
import importlib, pkgutil, sys
import fasthash.models as models
from fasthash.models import encoder, hash_model, view
known = [set(found) for found in (encoder._KINDS, view._MAPS, hash_model._MODELS)]
assert "fasthash.methods" not in sys.modules, "the methods would bring their architectures along"
for module in pkgutil.iter_modules(models.__path__):
    importlib.import_module(f"fasthash.models.{module.name}")
late = [set(found) - had for found, had in zip((encoder._KINDS, view._MAPS, hash_model._MODELS), known)]
assert not any(late), late
assert {"tower", "view", "bounded_tower", "concept_tower"} <= known[0], known[0]
"""


def test_all_kinds_are_known_without_the_methods():
    done = subprocess.run([sys.executable, "-c", KNOWN], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
