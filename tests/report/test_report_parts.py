"""What the pages of runs and comparisons show beyond scores: numbers as given, texts as texts, bad values refused."""

import json
from dataclasses import replace

import numpy as np
import pytest

from fasthash.report import (
    AtRank,
    Categories,
    Category,
    CodeMap,
    Codes,
    Distances,
    History,
    Measure,
    Page,
    render_comparison,
    render_page,
)
from fasthash.report.code_plots import balance_figure, code_map_figure, distances_figure, group_styles
from fasthash.report.comparison import Model
from fasthash.report.plots import pr_figure, rank_figure
from fasthash.report.svg import inline
from fasthash.report.theme import LIGHT, MARKERS, styles

BAD = '"><script>alert(1)</script>'
REFUSED = [
    (lambda: AtRank("a", [1, 2], [0.5]), ValueError, "AtRank: ranks and values must have one length.* got 2 and 1"),
    (lambda: AtRank("a", [0, 2], [0.5, 1]), ValueError, "AtRank: ranks must ascend from 1"),
    (lambda: AtRank("a", [2, 2], [0.5, 1]), ValueError, "AtRank: ranks must ascend from 1"),
    (lambda: AtRank("a", [1], [1.5]), ValueError, "AtRank: values must be from 0 to 1, got 1.5"),
    (lambda: Measure("mAP", 1.1, 0.5), ValueError, "Measure: i2t must be from 0 to 1, got 1.1"),
    (lambda: Measure("mAP", 0.1, 0.5, (0.1, 2)), ValueError, "Measure: chance must be from 0 to 1, got 2"),
    (lambda: Codes("x", "words", []), ValueError, "Codes: balance: bits must be a whole number from 1 .* got 0"),
    (lambda: Distances([1, 2], [1]), ValueError, "Distances: irrelevant must be at least 2 counts"),
    (lambda: Distances([1, 2], [1, 2, 3]), ValueError, r"Distances: irrelevant must be \[2\] like relevant, got \[3\]"),
    (lambda: Distances([1, -2], [1, 2]), ValueError, "Distances: relevant must be at least 2 counts of 0 or more"),
    (lambda: CodeMap([0, 1], [0], [0, 1], [0, 1], [0, 0], ["a"], "w"), ValueError, "CodeMap: sides and y must be"),
    (lambda: CodeMap([0], [0], [2], [0], [0], ["a"], "w"), ValueError, "CodeMap: sides must be from 0 to 1, got 2"),
    (lambda: CodeMap([0], [0], [1], [0], [1], ["a"], "w"), ValueError, "CodeMap: groups must be from 0 to 0, got 1"),
    (lambda: Category("hats", -1, 0, 0), ValueError, "Category: queries must be 0 or more, got -1"),
    (lambda: Categories("layer", ["x"]), TypeError, "Categories: rows must hold Category values, got str"),
    (lambda: Page("a", code_map=3), TypeError, "Page: code_map must hold CodeMap values, got int"),
    (lambda: Page("a", recall_at={"x": []}), ValueError, "Page: recall_at must be under 'i2t' and 't2i', got 'x'"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "error", "message"), REFUSED, ids=[message for *_, message in REFUSED])
def test_refuses_in_one_line(make, error, message):
    with pytest.raises(error, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_a_mean_that_rounding_lifted_is_one():
    assert Category("hats", 1, 1 + 4e-16, 1.0).i2t == 1.0


def test_histories_from_entries_add_up_the_phases():
    entries = [
        {"epoch": 1, "loss_a": 1.0, "loss_b": 2.0},
        {"epoch": 2, "loss_a": 0.5, "loss_b": 1.0, "i2t": 0.4, "t2i": 0.3},
    ]
    made = History.of_entries("run", entries, "dcmh", 16)
    assert (made.loss.tolist(), made.map_epochs.tolist(), made.t2i.tolist()) == ([3.0, 1.5], [2.0], [0.3])


def test_the_page_of_a_run_has_every_number(make_run_page, read_html):
    root = read_html(render_page(make_run_page()))
    rows = [
        [c.text() for c in row.walk() if c.tag in ("th", "td")]
        for row in root.find_all("table", "measures")[0].find_all("tr")
    ]
    assert rows[1:] == [["mAP ties in expectation", "0.600", "0.500"], ["nDCG", "0.900", "0.950"]]
    layers = [node for node in root.walk() if "data-layer" in node.attrs]
    assert [len(layer.find_all("tr")) - 1 for layer in layers] == [2, 40]
    first = [c.text() for c in layers[0].find_all("tr")[2].walk() if c.tag in ("th", "td")]
    assert first == ["Shoes", "20", "0.600", "0.900"]
    assert [panel.attrs["data-kind"] for panel in root.find_all("div", "panel")] == [
        "radius",
        "rank",
        "precision",
        "recall",
    ]
    assert [link.text() for link in root.find_all("nav")[0].find_all("a")] == [
        "Scores", "Searches", "Curves", "Categories", "Codes", "Training",
    ]  # fmt: skip
    alerts = [node.text() for node in root.find_all("p", "alert")]
    assert alerts == ["Text codes collapsed. Half of the bits are dead."]
    assert "a relevant pair is the closer one with probability" in root.text()
    assert "t-SNE of 60 codes." in root.text()


def test_searches_are_grouped_and_answered_twice(make_run_page, read_html):
    root = read_html(render_page(make_run_page()))
    articles = root.find_all("article", "query")
    marks = [(a.attrs["data-direction"], a.attrs["data-group"], len(a.find_all("section", "answer"))) for a in articles]
    assert marks == [(kind, group, 2 if group[0] == "D" else 1) for kind in ("i2t", "t2i")
                     for group in ("Drawn at random", "Best", "Worst")]  # fmt: skip
    assert [h.text() for h in articles[0].find_all("h4")] == ["Whole database", "One item of each"]
    assert [p.text() for p in articles[0].find_all("p", "note")] == [
        "note of Whole database",
        "note of One item of each",
    ]


def test_hostile_texts_stay_texts(make_run_page, read_html):
    page = make_run_page()
    plane = replace(page.code_map, names=[BAD, BAD + "2", "other"], words=BAD)
    layers = [Categories(BAD, [Category(BAD, 1, 0.5, 0.5)])]
    parts = {
        "code_map": plane,
        "categories": layers,
        "measures": [Measure(BAD, 0.1, 0.1, None, BAD)],
        "warnings": [BAD],
    }
    queries = [replace(query, group=BAD, scope=BAD) for query in page.queries[:1]]
    text = render_page(replace(page, queries=queries, missing=[BAD], codes=[Codes(BAD, BAD, [0.5])], **parts))
    root = read_html(text)
    assert len(root.find_all("script")) == 1
    assert BAD in root.text()
    assert not [key for node in root.walk() for key in node.attrs if key.startswith("on")]


def test_a_chart_carries_the_values_of_its_lines(make_run_page, read_html):
    page = make_run_page()
    root = read_html(render_page(page))
    panels = {panel.attrs["data-kind"]: panel for panel in root.find_all("div", "panel")}
    (chart,) = json.loads(panels["radius"].find_all("svg", "figure")[0].attrs["data-chart"])
    curve = page.curves["i2t"][0]
    np.testing.assert_allclose(chart["series"][0]["x"], curve.recall, rtol=1e-3)
    np.testing.assert_allclose(chart["series"][0]["y"], curve.precision, rtol=1e-3)
    assert [(one["place"], one["name"]) for one in chart["series"]] == [(0, "dcmh"), (1, "random codes")]
    (chart,) = json.loads(panels["precision"].find_all("svg", "figure")[0].attrs["data-chart"])
    assert chart["log"]
    assert chart["name"] == "Nearest items"
    left, top, right, bottom = chart["frame"]
    assert 0 <= left < right <= 430
    assert 0 <= top < bottom <= 315


def test_lines_are_told_apart_without_colour():
    look = styles([f"m{k}" for k in range(7)])
    assert len({style.marker for style in look.values()}) == 7
    assert {style.marker for style in look.values()} <= set(MARKERS)
    curves = make_run_page_curves(look)
    figure = pr_figure(curves, look)
    assert len({line.get_marker() for line in figure.axes[0].get_lines()}) == 7


def make_run_page_curves(look):
    from fasthash.report import Curve

    return [Curve(name, [0.1, 1], [0.9, 0.1]) for name in look]


def test_figures_draw_what_they_are_given(make_run_page):
    page = make_run_page()
    apart = page.distances["i2t"]
    near, far = distances_figure(apart).axes[0].get_lines()
    np.testing.assert_allclose(near.get_ydata().sum(), 1)
    np.testing.assert_allclose(far.get_ydata(), apart.irrelevant / apart.irrelevant.sum())
    lines = balance_figure(page.codes).axes[0].get_lines()[1:]
    assert [line.get_ydata().tolist() == sorted(line.get_ydata().tolist()) for line in lines] == [True, True]
    drawn = sum(len(line.get_xdata()) for line in code_map_figure(page.code_map, 0).axes[0].get_lines())
    assert drawn == (page.code_map.sides == 0).sum()
    assert group_styles(page.code_map)[-1].colour == LIGHT["baseline"]
    svg = inline(code_map_figure(page.code_map, 1), "f1", "x")
    assert 'data-series="0"' in svg
    with pytest.raises(ValueError, match="rank_figure: curves must hold at least one curve"):
        rank_figure([], {}, y="Precision")


def test_a_comparison_has_its_models(make_comparison, read_html):
    root = read_html(render_comparison(make_comparison()))
    panels = [(p.attrs["data-kind"], p.attrs["data-bits"]) for p in root.find_all("div", "panel")]
    assert panels == [(kind, bits) for kind in ("radius", "rank", "precision", "recall") for bits in ("16", "64")]
    tables = root.find_all("table", "matrix")
    assert len(tables) == 2, "one for each direction"
    cells = [[c.text() for c in row.walk() if c.tag in ("th", "td")] for row in tables[0].find_all("tr")]
    assert cells == [
        ["Kind", "Queries", "dcmh", "djsrh"],
        ["hats", "10", "0.700", "0.400"],
        ["shoes", "20", "0.350", "0.200"],
    ]
    assert [b.text() for b in tables[0].find_all("strong")] == ["0.700", "0.350"]
    legends = {ul.text() for panel in root.find_all("div", "panel") for ul in panel.find_all("ul", "legend")}
    assert legends == {"dcmhdjsrh"}
    assert len(root.find_all("figure", "run")) == 2
    ids = [node.attrs["id"] for node in root.walk() if "id" in node.attrs]
    assert len(ids) == len(set(ids))


def test_models_without_some_curves_are_shown_as_far_as_they_go(make_comparison, read_html):
    page = make_comparison()
    bare = Model("wiki", "djsrh", 64, 0, {"directions": {}, "history": None})
    other = Model("elsewhere", "dcmh", 64, 0, {"directions": {}})
    root = read_html(render_comparison(replace(page, models=[page.models[1], bare, other])))
    assert [h.text() for h in root.find_all("table", "matrix")[0].find_all("tr")[0].find_all("th")] == [
        "Kind",
        "Queries",
        "dcmh",
    ]
    assert len(root.find_all("figure", "run")) == 1
    assert not read_html(render_comparison(replace(page, models=[]))).find_all("div", "panel")


def test_searches_of_a_comparison_stand_side_by_side(make_comparison, read_html):
    root = read_html(render_comparison(make_comparison()))
    (part,) = [s for s in root.find_all("section") if s.attrs.get("id") == "data-0-searches"]
    assert "Drawn with seed 0." in part.text()
    articles = part.find_all("article", "query")
    marks = [(a.attrs["data-direction"], a.attrs["data-group"]) for a in articles]
    assert marks == [(direction, group) for direction in ("i2t", "t2i") for group in ("Drawn at random", "Worst")]
    for article in articles:
        assert [a.attrs["data-method"] for a in article.find_all("section", "answer")] == ["dcmh", "djsrh"]
        assert [p.text() for p in article.find_all("p", "note")] == ["note of dcmh", "note of djsrh"]
    uses = [use.attrs["href"] for use in part.find_all("use") if use.attrs["href"].startswith("#p")]
    images = [image.attrs["id"] for image in root.find_all("image")]
    assert len(uses) == 4 * 2 + 2
    assert images == ["p0"], "the same picture stands in the page once"
    assert set(uses) == {"#p0"}
    assert "Pictures: their makers." in root.find_all("footer")[0].text()


def test_a_comparison_without_searches_has_none(make_comparison, read_html):
    page = make_comparison()
    root = read_html(render_comparison(replace(page, data=[replace(page.data[0], searches=None)])))
    assert not root.find_all("article", "query")
    assert not root.find_all("svg", "store")
