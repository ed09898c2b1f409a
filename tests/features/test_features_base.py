"""Kinds of extractors, and the packages behind them."""

import io

import numpy as np
import pytest

from fasthash.features import BagOfWords, Extractor, base, from_config, register
from fasthash.features._packages import missing, package_file, require
from fasthash.features._progress import progress_bar


def test_unknown_kind():
    with pytest.raises(ValueError, match=r"kind must be one of bag_of_words, .*, got 'clip'"):
        from_config({"kind": "clip"})
    with pytest.raises(ValueError, match="got None"):
        from_config({})


def test_a_kind_of_ones_own(monkeypatch):
    monkeypatch.setattr(base, "_KINDS", dict(base._KINDS))

    @register
    class Lengths:
        kind = "lengths"
        width = 1

        def encode(self, items):
            return np.array([[len(item)] for item in items], np.float32)

        def config(self):
            return {"kind": self.kind}

        def tensors(self):
            return {}

        @classmethod
        def from_config(cls, config, tensors):
            return cls()

    again = from_config(Lengths().config())
    assert isinstance(again, Lengths)
    assert isinstance(again, Extractor)
    register(Lengths)  # again is fine
    with pytest.raises(ValueError, match="kind 'bag_of_words' is taken by"):
        register(type("Other", (Lengths,), {"kind": "bag_of_words"}))
    with pytest.raises(ValueError, match="Bare must have kind"):
        register(type("Bare", (), {}))


def test_bag_of_words_is_an_extractor():
    assert isinstance(BagOfWords.fit(["a"]), Extractor)


def test_missing_packages_are_one_line():
    line = missing("no_such_module", "no-such-package", "demo", "emoji data")
    assert line == "emoji data needs the package no-such-package: pip install 'fasthash[demo]'"
    assert missing("json", "json", "demo", "x") == ""
    with pytest.raises(RuntimeError, match="needs the package no-such-package"):
        require("no_such_module.part", "no-such-package", "demo", "emoji data")
    with pytest.raises(RuntimeError, match="needs the package no-such-package"):
        package_file("no_such_module", "a", package="no-such-package", extra="demo", what="x")
    with pytest.raises(FileNotFoundError, match="the installed package json has no none/here"):
        package_file("json", "none", "here", package="json", extra="demo", what="x")
    assert package_file("json", "decoder.py", package="json", extra="demo", what="x").exists()


def test_bar_only_in_a_terminal(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    pytest.importorskip("rich")
    for stream, shown in ((io.StringIO(), False), (Terminal(), True)):
        monkeypatch.setattr("sys.stderr", stream)
        with progress_bar("image features", 4, True) as report:
            report(2)
            report(4)
        assert ("image features" in stream.getvalue()) is shown
