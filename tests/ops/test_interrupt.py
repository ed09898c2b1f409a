"""Ctrl-C reaches the native losses while they work."""

import signal
import subprocess
import sys

import pytest

import fasthash

pytestmark = pytest.mark.skipif("cpp" not in fasthash.backends("pairwise_nll"), reason="needs the native module")

# What takes long, made first; then the call.
WORK = {
    "all pairs": ("a, ids = r(300_000, 64), torch.arange(300_000)", "pairwise_nll(a, a, ids, ids)"),
    "a batch and a long bank": (
        "a, b, ids = r(2000, 1024), r(400_000, 1024), torch.arange(400_000)",
        "pairwise_nll(a, b, ids[:2000], ids)",
    ),
    "attention": ("x, y = r(1200, 36, 256), r(3000, 20, 256)", "cross_attention_score(x, y)"),
}
SCRIPT = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job starts with Ctrl-C ignored
import torch
from fasthash.ops import *
torch.set_num_threads(2)
r = torch.rand
{made}
print("ready", flush=True)
try:
    {call}
except KeyboardInterrupt:
    print("stopped")
"""


@pytest.mark.parametrize("work", WORK)
def test_an_interrupt_ends_the_work(work):
    made, call = WORK[work]
    command = [sys.executable, "-c", SCRIPT.format(made=made, call=call)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.0)  # it is at work
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60)[0] == "stopped\n"
        assert process.returncode == 0
    finally:
        process.kill()
