"""An index on a device, emulated and, where there is one, real."""

import numpy as np
import pytest
import torch
from hamming_truth import assert_same, codes

from fasthash import _hamming_stream, _native
from fasthash.search import BinaryIndex, load
from fasthash.search import device as on_device


@pytest.fixture(params=["resident", "streamed"])
def move(request, device, monkeypatch):
    """Moves an index to the device; "streamed": one that has no memory left."""
    if device == "cpu":
        monkeypatch.setattr(on_device, "cuda_device", lambda x: torch.device("cpu") if x == "cuda" else None)
        monkeypatch.setattr(on_device, "free_bytes", lambda x: 1 << 40)
    if request.param == "streamed":
        monkeypatch.setattr(_hamming_stream.plan, "__defaults__", (240 * 8,))
        monkeypatch.setattr(on_device, "free_bytes", lambda x: 0)
    return lambda index: index.to("cuda")


@pytest.mark.parametrize("own_ids", [False, True])
@pytest.mark.parametrize("place", ["host", "device"])
def test_a_moved_index_finds_what_it_found_before(device, move, own_ids, place):
    queries, database = codes()
    index = BinaryIndex(64)
    index.add(database, np.random.default_rng(1).permutation(5000)[:1000] if own_ids else None)
    there = move(index)
    rows = queries if place == "host" else torch.tensor(queries, device=device)
    allow = np.arange(1000) % 3 == 0
    for got, want in (
        (there.search(rows, 30), index.search(queries, 30)),
        (there.search(rows, 400, allow=allow), index.search(queries, 400, allow=allow)),  # more than are allowed
        (there.range_search(rows, 25), index.range_search(queries, 25)),
    ):
        assert all(isinstance(x, type(rows)) for x in got)
        assert_same([x if place == "host" else x.cpu() for x in got], want)


@pytest.mark.parametrize("own_ids", [False, True])
def test_an_index_on_the_host_answers_queries_on_a_device(device, own_ids):
    queries, database = codes()
    index = BinaryIndex(64)
    index.add(database, np.arange(1000) * 3 if own_ids else None)
    rows = torch.tensor(queries, device=device)
    for got, want in (
        (index.search(rows, 30), index.search(queries, 30)),
        (index.range_search(rows, 25), index.range_search(queries, 25)),
    ):
        assert {x.device.type for x in got} == {device}
        assert_same([x.cpu() for x in got], want)


@pytest.mark.parametrize("own_ids", [False, True])
def test_a_moved_index_is_a_snapshot(device, move, own_ids, tmp_path):
    _, database = codes()
    index = BinaryIndex(64)
    index.add(database, np.arange(1000) * 3 if own_ids else None)
    there = move(index)
    index.remove(index.ids[:500])
    index.add(database[:5])
    assert (len(there), there.bits, there.device.type) == (1000, 64, device)
    assert index.device == "cpu"
    assert index.to("cpu") is index
    assert_same([np.asarray(torch.as_tensor(np.array(x) if isinstance(x, np.ndarray) else x).cpu())
                 for x in (there.codes, there.ids)],
                [database, np.arange(1000) * (3 if own_ids else 1)])  # fmt: skip
    there.save(tmp_path / "index")
    for back in (there.to("cpu"), load(tmp_path / "index")):
        assert isinstance(back, BinaryIndex)
        assert_same([back.codes, back.ids], [database, np.arange(1000) * (3 if own_ids else 1)])
    back = there.to("cpu")
    back.add(database[:1])
    assert (len(back), len(there)) == (1001, 1000)
    assert repr(there).startswith("DeviceIndex(bits=64, codes=1000, device='")
    assert repr(there).endswith(", streamed)") == there.streamed


def test_a_moved_index_refuses_changes_and_bad_arguments(move):
    queries, database = codes()
    index = BinaryIndex(64)
    index.add(database)
    there = move(index)
    for change in (lambda: there.add(database), lambda: there.update([1], database[:1]), lambda: there.remove([1])):
        with pytest.raises(RuntimeError, match=r"^DeviceIndex\.(add|update|remove): the index is on .*, read-only"):
            change()
    bad = [
        (ValueError, lambda: there.search(queries, 0)),
        (TypeError, lambda: there.search(queries, 1.0)),
        (TypeError, lambda: there.search(queries.tolist(), 1)),
        (ValueError, lambda: there.search(queries[:, :3], 1)),
        (ValueError, lambda: there.search(queries, 1, allow=np.ones(3, bool))),
        (TypeError, lambda: there.search(queries, 1, threads=1.5)),
        (ValueError, lambda: there.range_search(queries, -1)),
        (ValueError, lambda: move(BinaryIndex(64)).search(queries, 1)),
    ]
    for error, call in bad:
        with pytest.raises(error, match=r"^DeviceIndex\.(search|range_search): ") as caught:
            call()
        assert "\n" not in str(caught.value)


def test_queries_of_another_library_on_a_device_are_refused(move, monkeypatch):
    queries, database = codes()
    index = BinaryIndex(64)
    index.add(database)
    there = move(index)

    class Foreign:
        __cuda_array_interface__, shape = {}, queries.shape

        def __dlpack__(self, **options):
            raise BufferError("on a device")

    is_cuda = _native.is_cuda
    monkeypatch.setattr(_native, "is_cuda", lambda x: isinstance(x, Foreign) or is_cuda(x))
    with pytest.raises(TypeError, match=r"^DeviceIndex.search: on a GPU queries must be a torch tensor, got Foreign$"):
        there.search(Foreign(), 1)


def test_devices_are_named_in_errors(monkeypatch):
    index = BinaryIndex(64)
    for name in ("meta", "cuda:x", "gpu", None):
        with pytest.raises(ValueError, match=r"^BinaryIndex.to: device must be 'cpu', 'cuda' or 'cuda:<number>', got"):
            index.to(name)
    monkeypatch.setattr("fasthash._native.cuda_reason", lambda: "torch is not installed")
    with pytest.raises(RuntimeError, match=r"^BinaryIndex.to: cannot use cuda:1: torch is not installed$"):
        index.to("cuda:1")
