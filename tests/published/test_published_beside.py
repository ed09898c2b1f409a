"""Ours beside theirs: where ours stand, and that no difference of protocol goes unnamed."""

import json
from dataclasses import replace

import pytest

from fasthash import published
from fasthash.published import Ours, Setting, alone, beside, line_text

TABLE = published.load("djsrh-table")
THEIRS = TABLE.data_like("wiki")
ALIKE = Setting(
    data="wiki", query=693, train=2173, database=2173, classes=10, image=THEIRS.image, text=THEIRS.text,
    metric="map_at_k", k=50, ties=TABLE.protocol.ties, seeds=3, epoch="the last", train_in_database=True,
)  # fmt: skip
VALUES = [Ours("wiki", "djsrh", 64, "i2t", 0.401, 0.004), Ours("wiki", "mine", 64, "i2t", 0.5)]


def lines(shown, data, direction):
    return next(side.lines for side in shown.sides if (side.data, side.direction) == (data, direction))


def test_ours_stand_under_theirs_of_the_same_name_and_others_at_the_end():
    shown = beside(TABLE, VALUES, [ALIKE])
    assert [(line.method, line.ours) for line in lines(shown, "wiki", "i2t")] == [
        *((method, False) for method in TABLE.methods), ("djsrh", True), ("mine", True),
    ]  # fmt: skip
    own = lines(shown, "wiki", "i2t")[-2]
    assert (line_text(own, 64), line_text(own, 16)) == ("0.401 ± 0.004", "–")
    assert line_text(lines(shown, "wiki", "i2t")[6], 64) == "0.412"
    assert len(shown.sides) == 1, "only the directions and data that were measured"


def test_what_is_alike_is_not_warned_of():
    shown = beside(TABLE, VALUES, [ALIKE])
    assert shown.warnings == (
        "runs behind a value: theirs not known, ours 3",
        "epoch: theirs at set epochs of training, which one is not recorded, ours the last",
    )


CHANGES = [
    ({"metric": "map_all", "k": None}, "metric: theirs map_at_k, k = 50, ours map_all"),
    ({"k": 100}, "metric: theirs map_at_k, k = 50, ours map_at_k, k = 100"),
    ({"ties": "in expectation"}, "ties: theirs the order that an unstable sort leaves, ours in expectation"),
    ({"train_in_database": False}, "training pairs in the database: theirs yes, ours no"),
    ({"query": 700}, "wiki: queries: theirs 693, ours 700"),
    ({"train": 2000}, "wiki: training pairs: theirs 2,173, ours 2,000"),
    ({"database": 2866}, "wiki: items in the database: theirs 2,173, ours 2,866"),
    ({"classes": 9}, "wiki: classes: theirs 10, ours 9"),
    ({"image": "128 SIFT features"}, f"wiki: image side: theirs {THEIRS.image}, ours 128 SIFT features"),
    ({"text": "bag of words"}, "wiki: text side: theirs 10 LDA topics, ours bag of words"),
    ({"relevance": "any layer"}, "relevance: theirs a common label, ours any layer"),
    ({"seeds": 1}, "runs behind a value: theirs not known, ours 1"),
    ({"epoch": "the best on the queries"}, "ours the best on the queries"),
]


@pytest.mark.parametrize(("change", "warning"), CHANGES, ids=[",".join(change) for change, _ in CHANGES])
def test_every_difference_of_protocol_is_named(change, warning):
    warnings = beside(TABLE, VALUES, [replace(ALIKE, **change)]).warnings
    assert any(warning in one for one in warnings)
    assert all("\n" not in one for one in warnings)


def test_every_field_of_a_setting_is_compared():
    tested = {name for change, _ in CHANGES for name in change}
    assert tested == set(Setting.__dataclass_fields__) - {"data"}


def test_data_that_the_table_lacks_stand_alone():
    ours = [Ours("emoji", "djsrh", 64, "t2i", 0.2)]
    shown = beside(TABLE, ours, [replace(ALIKE, data="emoji")])
    assert [(line.method, line.ours) for line in lines(shown, "emoji", "t2i")] == [("djsrh", True)]
    told = "emoji: data: theirs Wiki, MIRFlickr-25K, NUS-WIDE, top 10 concepts, ours none of them, so that no value"
    assert any(warning.startswith(told) for warning in shown.warnings)


def test_data_that_the_table_lacks_are_left_out_beside_data_that_it_has():
    ours = [*VALUES, Ours("emoji", "djsrh", 64, "t2i", 0.2)]
    shown = beside(TABLE, ours, [ALIKE, replace(ALIKE, data="emoji")])
    assert [side.data for side in shown.sides] == [side.data for side in beside(TABLE, VALUES, [ALIKE]).sides]
    assert "left out: ours on emoji, which the table does not have" in shown.warnings


def test_reruns_are_named_once():
    table = published.load("dchmt-table")
    setting = replace(ALIKE, data="MIRFlickr-25K")
    shown = beside(table, [Ours("MIRFlickr-25K", "dcmh", 16, "i2t", 0.7)], [setting])
    assert [warning for warning in shown.warnings if warning.startswith("origin")] == [
        "origin: theirs of DCMH, CMHH, SCAHN, SSAH, GCH, AGAH, DADH were run by the authors of the table, not by those "
        "of the method"
    ]
    own = next(line for line in lines(shown, "MIRFlickr-25K", "i2t") if line.ours)
    assert (own.method, lines(shown, "MIRFlickr-25K", "i2t").index(own)) == ("dcmh", 1)
    assert line_text(lines(shown, "MIRFlickr-25K", "i2t")[0], 16) == "0.7679", "as printed"
    four = next(
        line for line in lines(alone(published.load("dcmh-table")), "mirflickr", "i2t") if line.method == "DCMH"
    )
    assert [line_text(four, bits) for bits in (16, 32)] == ["0.7410", "0.7465"], "as printed"


def test_a_table_by_itself():
    shown = alone(TABLE)
    assert len(shown.sides) == 6
    assert shown.warnings == ()
    assert sum(len(line.values) for side in shown.sides for line in side.lines) == 168


def test_markdown_and_json():
    shown = beside(TABLE, VALUES, [replace(ALIKE, text="a|b")])
    text = shown.markdown()
    assert "| **djsrh (ours)** | – | – | 0.401 ± 0.004 | – |" in text
    assert "| DJSRH | 0.388 | 0.403 | 0.412 | 0.421 |" in text
    assert "- wiki: text side: theirs 10 LDA topics, ours a\\|b" in text
    assert str(TABLE.source) in text
    assert "- On Wiki the database is the training set." in text, "what is known of the table"
    value = json.loads(json.dumps(shown.to_dict()))
    assert value["warnings"] == list(shown.warnings)
    assert value["published"]["name"] == "djsrh-table"


def test_a_value_without_a_setting():
    with pytest.raises(ValueError, match="published: no setting for the data 'wiki'; there are none"):
        beside(TABLE, VALUES, [])
