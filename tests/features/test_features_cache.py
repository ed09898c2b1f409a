"""Features are computed once, resumed after an interruption, and computed again when the file is damaged."""

import os
import threading

import numpy as np
import pytest

from fasthash.features import cache as cache_module
from fasthash.features import cached_features
from fasthash.features.cache import PART_ROWS, STEP_ROWS, folder

pytest.importorskip("safetensors")
ITEMS = [str(i) for i in range(2 * PART_ROWS + 70)]


class Counting:
    """Feature j of item i is i * (j + 1); counts what it encodes, and can break off."""

    width = 3

    def __init__(self, version=1, stop_at=None):
        self.version, self.stop_at, self.encoded = version, stop_at, []

    def encode(self, items):
        for item in items:
            if item == self.stop_at:
                raise KeyboardInterrupt
            self.encoded.append(item)
        return np.array([int(item) for item in items], np.float32)[:, None] * np.arange(1, 4, dtype=np.float32)

    def config(self):
        return {"kind": "counting", "version": self.version}

    def tensors(self):
        return {}


WANT = Counting().encode(ITEMS)


def files(tmp_path):
    return sorted(path for path in tmp_path.rglob("*") if path.is_file())


def get(tmp_path, extractor, fingerprint="f", **options):
    return cached_features("set", extractor, ITEMS, fingerprint=fingerprint, cache=tmp_path, **options)


def test_second_call_reads(tmp_path):
    first, second = Counting(), Counting()
    np.testing.assert_array_equal(get(tmp_path, first), WANT)
    assert first.encoded == ITEMS
    np.testing.assert_array_equal(get(tmp_path, second), WANT)
    assert second.encoded == []
    assert len(files(tmp_path)) == 1  # the parts are gone


def test_other_extractor_or_items_are_other_features(tmp_path):
    get(tmp_path, Counting())
    for extractor, fingerprint in ((Counting(version=2), "f"), (Counting(), "g")):
        get(tmp_path, extractor, fingerprint)
        assert extractor.encoded == ITEMS
    assert len(files(tmp_path)) == 3


def test_goes_on_after_an_interruption(tmp_path):
    stop = PART_ROWS + 200
    broken = Counting(stop_at=str(stop))
    with pytest.raises(KeyboardInterrupt):
        get(tmp_path, broken)
    assert [path.suffix for path in files(tmp_path)] == [".safetensors"]  # one whole part, nothing half-written
    again = Counting()
    np.testing.assert_array_equal(get(tmp_path, again), WANT)
    assert again.encoded == ITEMS[PART_ROWS:]
    assert len(files(tmp_path)) == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: b"",
        lambda data: data[:-5] + bytes([data[-5] ^ 1]) + data[-4:],  # one bit of one number
        lambda data: b"not safetensors at all",
    ],
    ids=["truncated", "empty", "bit flip", "foreign"],
)
def test_damaged_file_is_said_and_replaced(tmp_path, caplog, damage):
    get(tmp_path, Counting())
    (path,) = files(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    again = Counting()
    np.testing.assert_array_equal(get(tmp_path, again), WANT)
    assert again.encoded == ITEMS
    (record,) = caplog.records
    assert "cannot be used and are computed again" in record.message
    assert "\n" not in record.message
    caplog.clear()
    get(tmp_path, again)
    assert not caplog.records  # the new file is whole


def test_file_of_other_features_is_not_taken(tmp_path, caplog):
    get(tmp_path, Counting())
    (path,) = files(tmp_path)
    get(tmp_path, Counting(version=2))
    (other,) = set(files(tmp_path)) - {path}
    path.write_bytes(other.read_bytes())
    again = Counting()
    get(tmp_path, again)
    assert again.encoded == ITEMS
    assert "it belongs to other features" in caplog.text


def test_failed_write_leaves_nothing_and_the_features_come(tmp_path, caplog, monkeypatch):
    def full(path, write):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache_module, "replace_file", full)
    np.testing.assert_array_equal(get(tmp_path, Counting()), WANT)
    assert files(tmp_path) == []
    assert "features are not kept" in caplog.text
    assert "No space left on device" in caplog.text


def test_folder_that_is_a_file(tmp_path, caplog):
    (tmp_path / "taken").write_text("")
    np.testing.assert_array_equal(get(tmp_path / "taken", Counting()), WANT)
    assert "features are not kept" in caplog.text


def test_two_at_once(tmp_path):
    results = {}
    threads = [threading.Thread(target=lambda i=i: results.update({i: get(tmp_path, Counting())})) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(4):
        np.testing.assert_array_equal(results[i], WANT)
    assert [path.suffix for path in files(tmp_path) if path.parent.suffix != ".parts"] == [".safetensors"]


def test_progress_counts_to_the_end(tmp_path):
    calls = []
    get(tmp_path, Counting(), progress=lambda done, total: calls.append((done, total)))
    done = [d for d, _ in calls]
    assert done == sorted(done)
    assert done[-1] == len(ITEMS)
    assert max(np.diff([0, *done])) <= STEP_ROWS
    assert {total for _, total in calls} == {len(ITEMS)}


def test_where_it_lies(monkeypatch, tmp_path):
    monkeypatch.setenv("FASTHASH_CACHE", str(tmp_path / "a"))
    assert folder() == tmp_path / "a"
    assert folder(tmp_path / "b") == tmp_path / "b"
    monkeypatch.delenv("FASTHASH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert folder() == tmp_path / "x" / "fasthash"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert folder() == tmp_path / "home" / ".cache" / "fasthash"


def test_name_must_be_a_file_name(tmp_path):
    with pytest.raises(ValueError, match=r"name must be letters, digits, '-' and '_', got '\.\./x'"):
        cached_features("../x", Counting(), ITEMS, fingerprint="f", cache=tmp_path)
    assert os.listdir(tmp_path) == []
