"""Options: the paper's, then the preset's, then the caller's; bad ones are named in one line."""

import pytest

from fasthash import methods


def test_every_method_tells_what_it_is():
    known = methods.names()
    assert {"djsrh", "dcmh"} <= set(known)
    for name, info in known.items():
        assert info.paper
        assert info.supervision in ("none", "labels", "label tree")
        assert ({"epochs", "batch_size"} <= set(info.options)) == issubclass(methods.get(name), methods.Method)
        assert all(info.presets.values()), "a preset carries its source"


def test_every_preset_is_valid():
    for name in methods.names():
        kind = methods.get(name)
        for data in kind.presets:
            methods.resolve_options(kind, data, {})


def test_order_of_precedence():
    kind = methods.get("djsrh")
    assert methods.resolve_options(kind, "unknown data", {}).beta == 0.9
    assert methods.resolve_options(kind, "wiki", {}).beta == 0.3
    assert methods.resolve_options(kind, "wiki", {"beta": "0.5"}).beta == 0.5


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("dcmh", {"betta": 1}, "dcmh: unknown option 'betta'; known: epochs, batch_size"),
        ("dcmh", {"epochs": 0}, "dcmh: option epochs: Input should be greater than or equal to 1, got 0"),
        ("dcmh", {"epochs": "many"}, "dcmh: option epochs: .*, got 'many'"),
        ("dcmh", {"optimizer": "lion"}, "dcmh: option optimizer: .*'sgd' or 'adamw', got 'lion'"),
        ("djsrh", {"beta": 1.5}, "djsrh: option beta: .*less than or equal to 1, got 1.5"),
    ],
)
def test_bad_options(name, options, message):
    with pytest.raises(ValueError, match=message) as error:
        methods.resolve_options(methods.get(name), "emoji", options)
    assert "\n" not in str(error.value)


def test_unknown_method():
    with pytest.raises(ValueError, match="unknown method 'dcmhh'; known: cca, .*dcgh, .*dcmh, .*djsrh, "):
        methods.get("dcmhh")
