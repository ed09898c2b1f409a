"""Plain data of a report: what is refused, and that what is kept cannot change afterwards."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasthash.report import RANDOM, Credit, Curve, History, Hit, Page, Query, Score, units

PNG = b"\x89PNG\r\n\x1a\nrest"
HIT = Hit(None, "red heart", "heart", 3)
NAN = float("nan")

REFUSED = [
    (lambda: Score("", 64, 0.1, 0.1), ValueError, "Score: method must not be empty"),
    (lambda: Score(3, 64, 0.1, 0.1), TypeError, "Score: method must be a text, got int"),
    (lambda: Score("dcmh", 0, 0.1, 0.1), ValueError, "Score: bits must be a whole number from 1 to 4096, got 0"),
    (lambda: Score("dcmh", 64, 1.2, 0.1), ValueError, "Score: i2t must be from 0 to 1, got 1.2"),
    (lambda: Score("dcmh", 64, 0.1, NAN), ValueError, "Score: t2i must be 0 or more and finite, got nan"),
    (lambda: Score("dcmh", 64, 0.1, None), TypeError, "Score: t2i must be a number, got None"),
    (lambda: Score("dcmh", 64, 0.1, 0.1, seconds=-1), ValueError, "Score: seconds must be 0 or more .* got -1"),
    (lambda: Curve("dcmh", [0, 1], [1]), ValueError, "Curve: recall and precision must have one length.* got 2 and 1"),
    (lambda: Curve("dcmh", [], []), ValueError, "at least 1, got 0 and 0"),
    (lambda: Curve("dcmh", [0.5, 0.4], [1, 1]), ValueError, "Curve: recall must never decrease, got 0.4"),
    (lambda: Curve("dcmh", [0, 1], [NAN, 1]), ValueError, "Curve: precision must be finite, got nan"),
    (lambda: Curve("dcmh", [0, 1], [0, 1.01]), ValueError, "Curve: precision must be from 0 to 1, got 1.01"),
    (lambda: Curve("dcmh", [[0, 1]], [0, 1]), ValueError, r"Curve: recall must be one-dimensional, got shape \(1, 2\)"),
    (lambda: Curve("dcmh", "ab", [0, 1]), TypeError, "Curve: recall must be a series of numbers, got str"),
    (lambda: History("dcmh", [1, 2], [3], [], [], []), ValueError, r"History: loss must be \[2\] like .* got \[1\]"),
    (lambda: History("dcmh", [1], [3], [1], [0.1], []), ValueError, r"History: i2t and t2i must be \[1\]"),
    (lambda: Hit("red.png", "red", "", 0), TypeError, "Hit: picture must be the bytes of a PNG or JPEG file, got str"),
    (lambda: Hit(b"GIF89a..", "red", "", 0), ValueError, "Hit: picture must be .* got bytes that start b'GIF89a..'"),
    (lambda: Hit(None, "", "", 0), ValueError, "Hit: needs a picture or a text, got neither"),
    (lambda: Hit(None, "red", "", -1), ValueError, "Hit: distance must be 0 or more, got -1"),
    (lambda: Hit(None, "red", "", 1.5), TypeError, "Hit: distance must be a whole number, got 1.5"),
    (lambda: Hit(None, "red", "", 1, "yes"), TypeError, "Hit: relevant must be True, False or None, got 'yes'"),
    (lambda: Query("sound", "a", None, "", "dcmh", 64, []), ValueError, "Query: kind must be 'text' or 'image'"),
    (lambda: Query("text", " ", None, "", "dcmh", 64, []), ValueError, "Query: text must not be empty"),
    (lambda: Query("image", "", None, "", "dcmh", 64, []), ValueError, "Query: kind 'image' needs a picture or a text"),
    (lambda: Query("text", "a", None, "", "dcmh", 2, [HIT]), ValueError, "Query: hit 1 must be .* 0 to 2, got 3"),
    (lambda: Query("text", "a", None, "", "dcmh", 64, ["x"]), TypeError, "Query: hits must hold Hit values, got str"),
    (lambda: Credit("me", "javascript:alert(1)"), ValueError, "Credit: url must start with https:// or http://"),
    (lambda: Page(""), ValueError, "Page: title must not be empty"),
    (lambda: Page("a", curves={"x2y": []}), ValueError, "Page: curves must be under 'i2t' and 't2i', got 'x2y'"),
    (lambda: Page("a", scores=[HIT]), TypeError, "Page: scores must hold Score values, got Hit"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "error", "message"), REFUSED, ids=[message for *_, message in REFUSED])
def test_refuses_in_one_line(make, error, message):
    with pytest.raises(error, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_series_are_copies_that_cannot_change():
    recall = np.array([0.1, 0.2], np.float32)
    curve = Curve("dcmh", recall, [1, 0.5])
    recall[0] = 0.9
    assert curve.recall.tolist() == pytest.approx([0.1, 0.2])
    assert curve.recall.dtype == curve.precision.dtype == np.float64
    with pytest.raises(ValueError, match="read-only"):
        curve.precision[0] = 0


def test_numpy_values_become_plain():
    hit = Hit(bytearray(PNG), "red", "", np.int32(3), np.bool_(True))
    assert (type(hit.picture), type(hit.distance), hit.relevant) == (bytes, int, True)
    score = Score("dcmh", np.int64(64), np.float32(0.5), 1)
    assert (type(score.bits), type(score.i2t), score.i2t) == (int, float, 0.5)


def test_a_loss_may_diverge_and_a_run_may_be_empty():
    assert np.isinf(History("dcmh", [1, 2], [3.0, float("inf")], [], [], []).loss[1])
    assert len(History("dcmh", [], [], [], [], []).epochs) == 0


def test_baseline_is_known_by_its_name():
    names = {RANDOM: True, "Random": True, "random codes": True, "randomised hashing": False, "dcmh": False}
    assert {name: Score(name, 8, 0, 0).baseline for name in names} == names


@given(st.text(st.characters(codec=None), min_size=1).filter(str.strip))
def test_any_text_can_be_written(text):
    kept = Credit(text).text
    assert kept.encode("utf-8").decode("utf-8") == kept
    assert len(kept) == len(text)
    assert all(a == b or b == "\ufffd" for a, b in zip(text, kept, strict=True))
    assert all(letter.isprintable() or letter in "\t\n" or ord(letter) > 0x9F for letter in kept)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, ""), (0.004, "0.00 s"), (0.42, "0.42 s"), (3.14159, "3.1 s"), (41.4, "41 s"), (59.7, "1 min 00 s"),
     (185, "3 min 05 s"), (3599.6, "1 h 00 min"), (7800, "2 h 10 min")],
)  # fmt: skip
def test_seconds(seconds, text):
    assert units.seconds(seconds) == text


@pytest.mark.parametrize(
    ("microseconds", "text"),
    [(None, ""), (0.83, "0.8 µs"), (41.4, "41 µs"), (999.7, "1.0 ms"), (1234, "1.2 ms"), (3.4e6, "3.4 s")],
)
def test_microseconds(microseconds, text):
    assert units.microseconds(microseconds) == text


@pytest.mark.parametrize(
    ("loss", "text"), [(0, "0"), (0.012345, "0.0123"), (12.345, "12.3"), (-1234567.8, "-1,234,568"), (1e-7, "1.00e-07")]
)
def test_loss(loss, text):
    assert units.loss(loss) == text


def test_importing_the_room_loads_nothing_optional():
    heavy = ("torch", "matplotlib", "jinja2", "PIL", "rich")
    code = f"import sys, fasthash.report; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
