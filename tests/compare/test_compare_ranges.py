"""Values of an option as they are written on a command line."""

import pytest

from fasthash.compare import Axis, parse_axis


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0:1:0.25", ("0", "0.25", "0.5", "0.75", "1")),
        ("0:1:0.1", ("0", "0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7", "0.8", "0.9", "1")),
        ("0:1:0.4", ("0", "0.4", "0.8")),
        ("-1:1:1", ("-1", "0", "1")),
        ("10:30:10", ("10", "20", "30")),
        ("1e-4:1e-1:x10", ("0.0001", "0.001", "0.01", "0.1")),
        ("1e-8:1e-7:x10", ("1e-8", "1e-7")),
        ("16:64:x2", ("16", "32", "64")),
        ("0.5", ("0.5",)),
        ("3:3:1", ("3",)),
        ("root, constant", ("root", "constant")),
        ("512,256;1024", ("512,256", "1024")),
    ],
)
def test_values(text, values):
    assert parse_axis("beta", text) == Axis("beta", values)
    assert all(float(value) is not None for value in values if value[0].isdigit() and "," not in value)


def test_names_take_hyphens():
    assert parse_axis(" lr-text ", "1").name == "lr_text"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0:1", "sweep: beta must read a:b:step, a:b:xF or a,b,c, got '0:1'"),
        ("a:b:c", "must read a:b:step"),
        ("0:inf:1", "must read a:b:step"),
        ("0:1:nan", "must read a:b:step"),
        ("", "must read a:b:step"),
        (",", "must read a:b:step"),
        ("1:0:0.1", "the range of beta needs a <= b and a step above 0, got '1:0:0.1'"),
        ("0:1:0", "needs a <= b and a step above 0"),
        ("0:1:-1", "needs a <= b and a step above 0"),
        ("0:1:x10", "needs 0 < a <= b and F above 1"),
        ("1:10:x1", "needs 0 < a <= b and F above 1"),
        ("0:1:0.0001", "has more than 1000 values"),
        ("0.1,0.1", "names a value twice"),
    ],
)
def test_what_is_no_range_is_told_in_a_line(text, message):
    with pytest.raises(ValueError) as error:
        parse_axis("beta", text)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_range_without_a_name():
    with pytest.raises(ValueError, match="an option to sweep lacks its name, got values '0:1:1'"):
        parse_axis(" ", "0:1:1")
