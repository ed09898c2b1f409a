"""The published tables: values against numbers copied by hand, their form, and how well each is known."""

import json
from importlib import resources

import pytest

from fasthash import metrics, published
from fasthash.published import _tables

# what the papers' own texts and summaries say of their tables, and single values looked up one by one
SPOTS = [
    ("djsrh-table", "DJSRH", "mirflickr", "i2t", {16: 0.810, 32: 0.843, 64: 0.862, 128: 0.876}),
    ("djsrh-table", "DJSRH", "mirflickr", "t2i", {16: 0.786, 32: 0.822, 64: 0.835, 128: 0.847}),
    ("djsrh-table", "DJSRH", "wiki", "i2t", {16: 0.388, 64: 0.412}),
    ("djsrh-table", "DJSRH", "nuswide", "t2i", {64: 0.771, 128: 0.789}),
    ("djsrh-table", "CVH", "wiki", "t2i", {16: 0.252, 128: 0.154}),
    ("djsrh-table", "UDCMH", "nuswide", "i2t", {16: 0.511, 128: 0.558}),
    ("djsrh-ablation", "S = S_I", "nuswide", "i2t", {64: 0.717, 128: 0.741}),
    ("djsrh-ablation", "DJSRH (and lambda1 = lambda2 = 0.1)", "nuswide", "t2i", {64: 0.771, 128: 0.789}),
    ("djsrh-ablation", "DJSRH with alpha = 1", "nuswide", "t2i", {64: 0.770, 128: 0.782}),
    ("ccah-table", "CCAH", "nuswide", "t2i", {16: 0.834, 128: 0.874}),
    ("ccah-table", "HNH", "mirflickr", "i2t", {16: 0.853}),
    ("ucch-table", "UCCH", "mirflickr", "i2t", {16: 0.739, 128: 0.760}),
    ("ucch-table", "UCCH", "mirflickr", "t2i", {16: 0.725, 128: 0.747}),
    ("ucch-table", "CMFH", "nuswide", "t2i", {16: 0.306, 128: 0.306}),
    ("ucch-table", "DGCPN", "mscoco", "t2i", {16: 0.564}),
    ("dcmh-table", "DCMH", "mirflickr", "i2t", {16: 0.7410, 32: 0.7465, 64: 0.7485}),
    ("dcmh-table", "DCMH", "mirflickr", "t2i", {16: 0.7827, 32: 0.7900, 64: 0.7932}),
    ("dcmh-table", "SePH", "nuswide", "t2i", {64: 0.4587}),
    ("dcmh-cnnf-table", "SCM", "iaprtc12", "i2t", {16: 0.3692, 64: 0.3802}),
    ("dcmh-cnnf-table", "CMFH", "iaprtc12", "t2i", {16: 0.4168}),
    ("ssah-cnnf-table", "SSAH", "mirflickr", "i2t", {16: 0.782, 32: 0.790, 64: 0.800}),
    ("ssah-cnnf-table", "SSAH", "mirflickr", "t2i", {16: 0.791, 32: 0.795, 64: 0.803}),
    ("ssah-vgg19-table", "DCMH", "mscoco", "t2i", {64: 0.527}),
    ("dchmt-table", "DCHMT", "mirflickr", "i2t", {16: 0.8263, 32: 0.8272, 64: 0.8441}),
    ("mith-table", "MITH", "mscoco", "t2i", {16: 0.7017, 64: 0.7661}),
    ("twdh-table", "TwDH", "nuswide", "i2t", {32: 0.8144}),
]


@pytest.mark.parametrize(("name", "method", "data", "direction", "values"), SPOTS)
def test_values(name, method, data, direction, values):
    table = published.load(name)
    assert {bits: table.value(method, data, bits, direction) for bits in values} == values


# rows and values of each table, counted by hand
SIZES = {
    "djsrh-table": (7 * 2 * 3, 168),
    "djsrh-ablation": (7 * 2, 28),
    "ccah-table": (4 * 2 * 2, 64),
    "ucch-table": ((9 + 7 + 7 + 7) * 2, 240),
    "dcmh-table": (6 * 2 * 3, 108),
    "dcmh-cnnf-table": (5 * 3 + 3 * 3 + 2, 15 * 3 + 9 * 3 + 3 + 1),
    "ssah-cnnf-table": (7 * 2 * 3, 126),
    "ssah-vgg19-table": (5 * 2 * 3, 90),
    "dchmt-table": (8 * 2 * 3, 144),
    "mith-table": (7 * 2 * 3, 126),
    "twdh-table": (5 * 2 * 3, 90),
}


@pytest.mark.parametrize("name", published.names())
def test_every_table_is_whole_and_says_how_it_was_measured(name):
    table = published.load(name)
    assert (len(table.rows), sum(len(row.values) for row in table.rows)) == SIZES[name]
    assert table.source.year > 2010
    assert table.protocol.ties
    assert {letter for data in table.data for letter in data.evidence} <= set(published.evidence())
    for data in table.data:
        if None not in (data.pairs, data.query, data.database) and data.name != "wiki":
            assert data.pairs == data.query + data.database, "all pairs but the queries"
        assert table.data_like(data.title) is data
        assert table.data_like(data.name.upper()) is data
    assert table.data_like("emoji") is None


def test_reruns_are_marked():
    assert {row.method for row in published.load("dchmt-table").rows if not row.rerun} == {"DCHMT"}
    assert {row.method for row in published.load("ucch-table").rows if not row.rerun} == {"UCCH"}
    assert not any(row.rerun for row in published.load("ssah-cnnf-table").rows)


def test_measures_are_those_that_the_library_names():
    known = {protocol.name for protocol in metrics.protocols()}
    for name in published.names():
        protocol = published.load(name).protocol
        assert protocol.metric in known
        assert (protocol.k is None) == (protocol.metric == "map_all")


def test_an_unknown_table_or_value():
    with pytest.raises(ValueError, match="published: name must be one of djsrh-table, .*, got 'djsrh'"):
        published.load("djsrh")
    table = published.load("djsrh-table")
    assert table.value("DJSRH", "wiki", 48, "i2t") is None
    assert table.value("Nobody", "wiki", 64, "i2t") is None


@pytest.fixture
def changed(monkeypatch, tmp_path):
    """The file with a change made to it."""

    def change(edit):
        value = json.loads(resources.files("fasthash.published").joinpath("tables.json").read_text(encoding="utf-8"))
        edit(value)
        (tmp_path / "tables.json").write_text(json.dumps(value), encoding="utf-8")
        monkeypatch.setattr(_tables.resources, "files", lambda package: tmp_path)
        _tables._file.cache_clear()

    yield change
    monkeypatch.undo()
    _tables._file.cache_clear()


def _row(value):
    return value["tables"][0]["rows"][0]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda v: _row(v)["values"].update({"16": 1.2}), "less than or equal to 1"),
        (lambda v: _row(v).update(direction="i2i"), "'i2t' or 't2i'"),
        (lambda v: _row(v).update(data="nowhere"), "names the data nowhere"),
        (lambda v: v["tables"][0]["rows"].append(_row(v)), "is there twice"),
        (lambda v: v["tables"][0].update(colour="red"), "Extra inputs are not permitted"),
        (lambda v: v["tables"][0]["protocol"].update(metric="mAP"), "map_all"),
        (lambda v: v.update(version=2), "version"),
    ],
)
def test_a_damaged_file_is_one_line(changed, edit, message):
    changed(edit)
    with pytest.raises(ValueError, match="published: tables.json is damaged") as error:
        published.names()
    assert message in str(error.value)
    assert "\n" not in str(error.value)
