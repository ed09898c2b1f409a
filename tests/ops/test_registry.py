import os
import subprocess
import sys

import pytest
import torch

import fasthash
from fasthash.ops import _registry, pairwise_nll, use_backend

OP = "pairwise_nll"


@pytest.fixture(autouse=True)
def _nothing_forced(monkeypatch):
    monkeypatch.delenv("FASTHASH_BACKEND", raising=False)
    use_backend(None)
    yield
    use_backend(None)
    _registry.unavailable.cache_clear()


@pytest.fixture
def chosen(monkeypatch):
    """Names of the backends that ran."""
    names = []
    for name, backend in _registry._OPS[OP].backends.items():

        def run(*args, _name=name, _run=backend.run):
            names.append(_name)
            return _run(*args)

        monkeypatch.setitem(_registry._OPS[OP].backends, name, _registry._Backend(run, backend.accepts))
    return names


def call(dtype=torch.float32):
    ids = torch.zeros(2, dtype=torch.int64)
    return pairwise_nll(torch.ones(2, 4, dtype=dtype), torch.ones(2, 4, dtype=dtype), ids, ids)


def run_python(code, **env):
    env = {k: v for k, v in os.environ.items() if k not in ("TRITON_INTERPRET", "FASTHASH_BACKEND")} | env
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)


def test_the_fastest_that_takes_the_tensors_runs(chosen):
    call()
    call(torch.float64)  # not for cpp
    assert chosen == ["cpp", "reference"]  # interpreted Triton is never chosen by itself


def test_use_backend_in_a_with_statement(chosen):
    with use_backend("reference"):
        call()
        with use_backend("cpp"):
            call()
        call()
    call()
    assert chosen == ["reference", "cpp", "reference", "cpp"]


def test_use_backend_as_a_call(chosen):
    use_backend("reference")
    call()
    call()
    use_backend(None)
    call()
    assert chosen == ["reference", "reference", "cpp"]


def test_an_exception_restores_the_backend(chosen):
    with pytest.raises(KeyError), use_backend("reference"):
        raise KeyError
    call()
    assert chosen == ["cpp"]


def test_environment_and_precedence(chosen, monkeypatch):
    monkeypatch.setenv("FASTHASH_BACKEND", "reference")
    call()
    with use_backend("cpp"):
        call()
    monkeypatch.setenv("FASTHASH_BACKEND", "")
    call()
    assert chosen == ["reference", "cpp", "cpp"]


def test_unknown_names(monkeypatch):
    expected = "expected one of reference, cpp, triton, cuda, got 'fast'"
    with pytest.raises(ValueError, match=f"^use_backend: {expected}$"):
        use_backend("fast")
    monkeypatch.setenv("FASTHASH_BACKEND", "fast")
    with pytest.raises(ValueError, match=f"^FASTHASH_BACKEND: {expected}$"):
        call()
    with pytest.raises(ValueError, match=r"^backends: expected one of .*pairwise_nll.*, got 'nll'$"):
        fasthash.backends("nll")


def test_a_forced_backend_that_cannot_run_says_why():
    with use_backend("cuda"), pytest.raises(RuntimeError, match=r"^pairwise_nll: backend 'cuda' cannot run: "):
        call()
    with use_backend("cpp"), pytest.raises(RuntimeError, match=r"it computes in float32, got float64 codes$"):
        call(torch.float64)
    done = run_python(
        "import torch\n"
        "from fasthash.ops import pairwise_nll\n"
        "x, ids = torch.ones(2, 4), torch.zeros(2, dtype=torch.int64)\n"
        "pairwise_nll(x, x, ids, ids)\n",
        FASTHASH_BACKEND="triton", CUDA_VISIBLE_DEVICES="",
    )  # fmt: skip
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("RuntimeError: pairwise_nll: backend 'triton' cannot run: ")
    assert "TRITON_INTERPRET=1" in last


def test_backends_lists_what_can_run():
    names = fasthash.backends(OP)
    assert names == [name for name in ("cuda", "triton", "cpp", "reference") if name in names]
    assert {"cpp", "reference"} <= set(names)
    everything = fasthash.backends()
    assert set(everything) >= {OP, "hamming_topk"}
    for op, reasons in everything.items():
        assert [name for name, reason in reasons.items() if reason is None] == fasthash.backends(op)
        assert all("\n" not in reason for reason in reasons.values() if reason is not None)
    assert everything["hamming_topk"]["reference"] is None
    if not torch.cuda.is_available():
        assert "triton" in names  # tests/conftest.py asks for the interpreter ...
        assert "triton" not in fasthash.backends(OP, native=True)  # ... which is no native backend
        assert "CUDA" in everything["hamming_topk"]["cuda"]


def test_a_native_module_that_does_not_load_keeps_its_reason(chosen, monkeypatch):
    monkeypatch.setattr(_registry._native, "reason", lambda: "no such file")
    _registry.unavailable.cache_clear()
    call()
    assert chosen == ["reference"]
    assert fasthash.backends()[OP]["cpp"] == "no such file"
    with use_backend("cpp"), pytest.raises(RuntimeError, match=r"'cpp' cannot run: no such file$"):
        call()


def test_triton_that_does_not_import_keeps_its_reason(monkeypatch):
    monkeypatch.setitem(sys.modules, "fasthash._kernels", None)  # makes the import fail
    _registry.unavailable.cache_clear()
    assert "triton" not in fasthash.backends(OP)
    assert "pip install 'fasthash[triton]'" in fasthash.backends()[OP]["triton"]
    call()


def test_a_backend_is_loaded_once():
    _registry.unavailable.cache_clear()
    call()
    call()
    info = _registry.unavailable.cache_info()
    assert (info.misses, info.hits) == (1, 1)


def test_nothing_loads_before_it_is_needed():
    done = run_python(
        "import sys, torch, fasthash\n"
        "from fasthash.ops import pairwise_nll\n"
        "assert not {'triton', 'fasthash._C', 'fasthash._kernels'} & set(sys.modules)\n"
        "x, ids = torch.ones(2, 4), torch.zeros(2, dtype=torch.int64)\n"
        "pairwise_nll(x, x, ids, ids)\n"
        "assert 'fasthash._C' in sys.modules and 'triton' not in sys.modules\n"
    )
    assert done.returncode == 0, done.stderr


def test_results_are_those_of_the_inputs_dtype_under_autocast():
    ids = torch.zeros(2, dtype=torch.int64)
    x = torch.full((2, 4), 1 + 2**-12)  # lost in bfloat16
    with use_backend("reference"):
        want = pairwise_nll(x, x, ids, ids)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(pairwise_nll(x, x, ids, ids), want)
