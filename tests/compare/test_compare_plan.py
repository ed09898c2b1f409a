"""Plans: how names and options are written, what a plan fills in, what it refuses in one line."""

import json

import pytest

from fasthash.compare import Plan
from fasthash.compare.items import method_options, numbers, parse_item

ROWS, DATA = ["dcmh", "random"], ["synthetic"]


def test_items_read_options():
    item = parse_item("dcmh[text_hidden=1024,512,epochs=60, init-std=none,image_hidden=]", "a method")
    assert item.name == "dcmh"
    assert item.options == {"text_hidden": "1024,512", "epochs": "60", "init_std": "none", "image_hidden": ""}
    assert method_options(item) == {
        "text_hidden": ["1024", "512"], "epochs": "60", "init_std": None, "image_hidden": [],
    }  # fmt: skip
    assert numbers(parse_item("synthetic[pairs=120,noise=0.1,kind=multilabel]", "data")) == {
        "pairs": 120, "noise": 0.1, "kind": "multilabel",
    }  # fmt: skip
    assert parse_item(" wiki ", "data").text == "wiki"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a method must read name or name[option=value,...], got ''"),
        ("dcmh[epochs=3", "a method must read name or name"),
        ("dcmh[epochs=3]x", "a method must read name or name"),
        ("dcmh[epochs]", "a method 'dcmh[epochs]': expected option=value, got 'epochs'"),
        ("dcmh[epochs=3,epochs=4]", "option epochs is given twice"),
        ("dcmh[=4]", "an option lacks its name"),
    ],
)
def test_bad_items(text, message):
    with pytest.raises(ValueError) as error:
        parse_item(text, "a method")
    assert message in str(error.value)


def test_a_plan_fills_in_what_is_not_said():
    plan = Plan.make(rows=ROWS, data=DATA)
    assert plan.bits == (16, 32, 64)
    assert plan.seeds == (0, 1, 2)
    assert [row.label for row in plan.rows] == ROWS
    assert plan.tables_of("synthetic") == [("", list(plan.rows))]


def test_seeds_are_a_number_or_a_list():
    assert Plan.make(rows=ROWS, data=DATA, seeds=2).seeds == (0, 1)
    assert Plan.make(rows=ROWS, data=DATA, seeds=[7, 9]).seeds == (7, 9)


def test_rows_choose_data_and_bits():
    rows = ["dcmh", {"method": "dcmh[epochs=3]", "name": "short", "data": ["emoji"], "bits": [32, 16, 16]}]
    plan = Plan.make(rows=rows, data=["synthetic[pairs=90]", "emoji"])
    assert list(plan.data_items()) == ["synthetic", "emoji"]
    assert [row.label for row in plan.rows_of("synthetic")] == ["dcmh"]
    assert [row.label for row in plan.rows_of("emoji")] == ["dcmh", "short"]
    assert plan.bits_of(plan.rows[1]) == (16, 32)


def test_one_data_set_with_two_options_has_two_labels():
    plan = Plan.make(rows=ROWS, data=["emoji", "emoji[text=both]", "wiki"])
    assert list(plan.data_items()) == ["emoji", "emoji[text=both]", "wiki"]


def test_tables_take_their_rows_in_the_order_of_the_plan():
    tables = [
        {"title": "all"},
        {"title": "one", "rows": ["random"], "data": ["synthetic"]},
        {"title": "none", "rows": ["random"], "data": ["emoji"]},
    ]
    plan = Plan.make(rows=ROWS, data=["synthetic", "emoji"], tables=tables)
    assert [(t, [r.label for r in rows]) for t, rows in plan.tables_of("synthetic")] == [
        ("all", ROWS), ("one", ["random"]),
    ]  # fmt: skip


def test_pictures_of_tables():
    one = Plan.make(rows=ROWS, data=["emoji", "emoji[text=both]"], tables=[{"title": "All of it"}])
    assert [one.picture(label, "All of it") for label in one.data_items()] == [
        "compare_emoji",
        "compare_emoji_text_both",
    ]
    tables = [{"title": "All of it"}, {"title": "all, of it", "data": ["wiki"]}]
    two = Plan.make(rows=ROWS, data=["emoji", "wiki"], tables=[*tables[:1], {"title": "some", "rows": ["dcmh"]}])
    assert two.picture("wiki", "All of it") == "compare_wiki_all_of_it"
    assert Plan.make(rows=ROWS, data=["emoji", "wiki"], tables=[tables[0] | {"data": ["emoji"]}, tables[1]])


def test_a_target_over_real_values_may_ask_for_any_length():
    targets = [{"data": "synthetic", "row": "dcmh", "over": "ridge", "bits": [16]}]
    assert Plan.make(rows=["dcmh", {"method": "ridge", "bits": [64]}], data=DATA, targets=targets).targets


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": []}, "plan: rows: Tuple should have at least 1 item"),
        ({"rows": ["dcmhh"]}, "plan: unknown method 'dcmhh'; known: "),
        ({"rows": ["dcmh", "dcmh"]}, "plan: rows: 'dcmh' is there twice"),
        ({"rows": [{"method": "dcmh", "colour": "red"}]}, "plan: rows.0.colour: Extra inputs are not permitted"),
        ({"rows": [{"method": "dcmh", "data": ["wiki"]}]}, "plan: row 'dcmh': data must be of synthetic; got 'wiki'"),
        ({"data": []}, "plan: data: Tuple should have at least 1 item"),
        ({"data": ["nowhere"]}, "plan: data must be of emoji"),
        ({"data": ["synthetic", "synthetic"]}, "plan: data: each data set may be named once"),
        ({"bits": [0]}, "plan: bits.0: Input should be greater than or equal to 1, got 0"),
        ({"bits": [5000]}, "plan: bits.0: Input should be less than or equal to 4096"),
        ({"seeds": 0}, "plan: seeds must be 1 or more, or a list of distinct seeds, got 0"),
        ({"seeds": 101}, "plan: seeds must be at most 100, or a list of distinct seeds, got 101"),
        ({"seeds": []}, "plan: seeds: Tuple should have at least 1 item"),
        ({"seeds": [3, 1, 3]}, "plan: seeds must be 1 or more, or a list of distinct seeds, got 3, 1, 3"),
        ({"seeds": True}, "plan: seeds: Input should be a valid tuple"),
        ({"seeds": [-1]}, "plan: seeds.0"),
        ({"targets": [{"data": "synthetic", "row": "dcmh"}]}, "targets.0: a target needs either at_least or over"),
        ({"targets": [{"data": "synthetic", "row": "x", "at_least": 0.5}]}, "row must be of dcmh, random; got 'x'"),
        ({"targets": [{"data": "synthetic", "row": "dcmh", "over": "x"}]}, "row must be of dcmh, random; got 'x'"),
        ({"targets": [{"data": "wiki", "row": "dcmh", "at_least": 1}]}, "data must be of synthetic; got 'wiki'"),
        (
            {"targets": [{"data": "synthetic", "row": "dcmh", "at_least": 1, "measure": "map"}]},
            "measure must be one of map_all, map_at_50, ndcg, map_all_any, got 'map'",
        ),
        (
            {"targets": [{"data": "synthetic", "row": "dcmh", "at_least": 1, "directions": ["up"]}]},
            "directions must be some of i2t, t2i",
        ),
        ({"tables": [{"title": "t", "rows": ["ssah"]}]}, "table 't': rows must be of dcmh, random; got 'ssah'"),
        ({"colour": 3}, "plan: colour: Extra inputs are not permitted, got 3"),
        ({"source": "x"}, "plan: source: Extra inputs are not permitted, got 'x'"),
        (
            {"targets": [{"data": "synthetic", "row": "dcmh", "at_least": 1, "bits": [16, 24]}]},
            "target of 'dcmh' on 'synthetic': bits of 'dcmh' must be of 16, 32, 64, got 24",
        ),
        (
            {
                "rows": ["dcmh", {"method": "random", "bits": [16]}],
                "targets": [{"data": "synthetic", "row": "dcmh", "over": "random"}],
            },
            "target of 'dcmh' on 'synthetic': bits of 'random' must be of 16, got 32",
        ),
        (
            {
                "rows": ["dcmh", "ridge"],
                "targets": [{"data": "synthetic", "row": "dcmh", "over": "ridge", "measure": "ndcg"}],
            },
            "measure of 'ridge' must be of map_all, map_at_50, got 'ndcg'",
        ),
        (
            {"tables": [{"title": "a, b"}, {"title": "A b"}]},
            "plan: tables: 'a, b' on synthetic and 'A b' on synthetic give the same picture compare_synthetic_a_b.png",
        ),
        ({"tables": [{"title": "twice"}, {"title": "twice"}]}, "give the same picture compare_synthetic_twice.png"),
    ],
)
def test_a_bad_plan_is_one_line(change, message):
    with pytest.raises(ValueError) as error:
        Plan.make("plan", **({"rows": ROWS, "data": DATA} | change))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_plan_file(tmp_path):
    path = tmp_path / "plan.json"
    path.write_text(json.dumps({"rows": ROWS, "data": DATA, "bits": [8]}))
    assert Plan.read(path) == Plan.make(rows=ROWS, data=DATA, bits=[8])
    for key in ("source", "cls", "self"):
        path.write_text(json.dumps({"rows": ROWS, "data": DATA, key: "x"}))
        with pytest.raises(ValueError, match=rf"plan\.json: {key}: Extra inputs are not permitted, got 'x'$"):
            Plan.read(path)
    path.write_text("{")
    with pytest.raises(ValueError, match=r"plan\.json is not JSON"):
        Plan.read(path)
    path.write_text("[]")
    with pytest.raises(ValueError, match="must hold one JSON object, got list"):
        Plan.read(path)
    with pytest.raises(FileNotFoundError, match="no plan at"):
        Plan.read(tmp_path / "other.json")
    with pytest.raises(ValueError, match="compare: the plan .* cannot be read: Is a directory"):
        Plan.read(tmp_path)
