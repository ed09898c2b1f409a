"""Runs that the tests of several processes compare: every method, and some that are stopped and go on elsewhere."""

from contextlib import contextmanager

from small_data import FAST, make, make_bags

from fasthash import methods, training
from fasthash.methods import _networks
from fasthash.training import train

SMALL = {
    "dnph": {"lr": 1e-2},
    "mith": {"space": 16, "token_space": 8},
    # no centre: the layer keeps its gradient's memory, into which the exchange writes the words of the others
    "djsrh, words": {"momentum": 0.9, "centre": False},
    "dcgh, words": {"text_hidden": (16,), "centre": False},
    "dcmh, words": {"optimizer": "sgd", "text_hidden": (16,)},
    "djsrh, in parts": {},
    "udcmh, in parts": {},
}
# 65 training rows: shares of a batch and of the banks differ, and all processes but one have no row of the last batch
ROWS = 83
STOPPED = ("dcmh", "ssah", "cdq", "dcmh, words")


def names():
    network = [name for name in methods.names() if issubclass(methods.get(name), methods.Method)]
    return [*network, *(name for name in SMALL if ", " in name)]


def options(name):
    method = name.split(",")[0]
    fields = methods.get(method).options_type.model_fields
    made = dict(FAST.get(method, {})) | SMALL.get(name, {}) | {"epochs": 2, "batch_size": 16}
    made |= {key: 0.0 for key in ("dropout", "code_dropout") if key in fields}
    return {key: (16,) for key in ("image_hidden", "text_hidden") if key in fields} | made


def run(rank, world, name, out=None, stop_after=None):
    """What a run made as plain values, or what it said when it was stopped after some steps; on every process."""
    method, *kind = name.split(", ")
    data = make_bags() if "words" in kind else make(ROWS)
    try:
        with stopping(stop_after), words_as_entries():
            made = train(
                method, data, bits=16, out=out, resume=True, accumulate=2 if "in parts" in kind else 1, device="cpu",
                progress=False, **options(name),
            )  # fmt: skip
    except KeyboardInterrupt as stop:
        return str(stop)
    learned = None if made.learned is None else (made.learned.packed, made.learned.rows)
    return {key: value.numpy() for key, value in made.model.state_dict().items()}, made.history, learned


@contextmanager
def words_as_entries():
    worth, _networks.WORTH_ENTRIES = _networks.WORTH_ENTRIES, 0
    try:
        yield
    finally:
        _networks.WORTH_ENTRIES = worth


@contextmanager
def stopping(after):
    """As if somebody had pressed Ctrl-C in some step."""
    loop = training.Loop

    class Stopping(loop):
        def _agreed(self, *wanted):
            return [self.steps == after, False]

    if after is not None:
        training.Loop = Stopping
    try:
        yield
    finally:
        training.Loop = loop
