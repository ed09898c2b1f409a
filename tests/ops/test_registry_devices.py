"""Which device an operation runs on; fake tensors stand for those of GPUs that are not there."""

from contextlib import contextmanager

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from fasthash.ops import _registry


@pytest.fixture
def op(monkeypatch):
    """An op that returns the device that was current while it ran."""
    current = ["cuda:0"]

    @contextmanager
    def device(wanted):
        current.append(str(wanted))
        yield
        current.pop()

    monkeypatch.setattr(torch.cuda, "device", device)
    run = _registry._Backend(lambda *args: current[-1], None)
    return _registry._Op("add", None, {"reference": run})


def empty(device):
    with FakeTensorMode():
        return torch.empty(2, device=device)


def test_the_tensors_device_is_current_while_a_backend_runs(op):
    assert op(empty("cuda:1"), None, 3) == "cuda:1"
    assert op(empty("cuda:1"), empty("cuda:1")) == "cuda:1"
    assert op(torch.empty(2), torch.empty(2)) == "cuda:0"  # CPU tensors leave it alone


@pytest.mark.parametrize(("first", "other"), [("cuda:0", "cuda:1"), ("cuda:1", "cpu"), ("cpu", "meta")])
def test_tensors_on_two_devices_are_refused(op, first, other):
    with pytest.raises(ValueError, match=rf"^add: tensors must be on one device, got {first} and {other}$"):
        op(empty(first), None, empty(other))
