"""Scores of codes out of files: against every pair one by one, whatever the format, the direction and the source."""

import json

import numpy as np
import pytest
import scipy.io
from safetensors.numpy import save_file

from fasthash import data, metrics
from fasthash.metrics import Measure
from fasthash.scoring import Wanted, measures_of, of_archive, score_files
from fasthash.scoring._sources import directions

BITS = 20


@pytest.fixture(scope="module")
def made():
    """Real-valued codes of both sides, and multi-hot labels, related to each other."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((5, BITS))

    def side(labels):
        return labels @ centres + 1.5 * rng.standard_normal((len(labels), BITS))

    query_labels, database_labels = rng.random((12, 5)) < 0.3, rng.random((60, 5)) < 0.3
    return {
        "query_image": side(query_labels), "query_text": side(query_labels), "database_image": side(database_labels),
        "database_text": side(database_labels), "query_labels": query_labels, "database_labels": database_labels,
    }  # fmt: skip


def truth(query, database, query_labels, database_labels):
    """mAP over the whole database with ties in the order of the database, pair by pair."""
    found = []
    for code, labels in zip(query >= 0, query_labels, strict=True):
        relevant = (database_labels & labels).any(axis=1)
        order = np.argsort(((database >= 0) != code).sum(axis=1), kind="stable")
        hits = relevant[order]
        precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
        found.append((precision * hits).sum() / max(hits.sum(), 1))
    return np.mean(found)


def write(folder, made, roles):
    found = {}
    for role in roles:
        np.save(folder / f"{role}.npy", made[role])
        found[role] = str(folder / f"{role}.npy")
    return found


def test_both_directions_pair_by_pair(made, tmp_path):
    found = score_files(write(tmp_path, made, made))
    labels = made["query_labels"], made["database_labels"]
    assert list(found.directions) == ["i2t", "t2i"]
    for name, (a, b) in {"i2t": ("query_image", "database_text"), "t2i": ("query_text", "database_image")}.items():
        value = found.directions[name].summary.scores["map_all_stable"].value
        assert value == pytest.approx(truth(made[a], made[b], *labels), abs=1e-12)
    assert (found.bits, found.nq, found.nb, found.data) == (BITS, 12, 60, None)
    assert found.read_as["query_image"].startswith("real values, of which sign(x) is taken")
    assert found.read_as["query_labels"] == "multi-hot of 5 classes"


def test_one_direction_equals_the_metrics(made, tmp_path):
    files = write(tmp_path, made, ["query_image", "database_text", "query_labels", "database_labels"])
    roles = {"query": files["query_image"], "database": files["database_text"]}
    labels = {role: files[role] for role in ("query_labels", "database_labels")}
    wanted = Wanted(measures_of(["map_at_k", "djsrh"], ["pessimistic"], k=7), radius=3, no_relevant="skip", level=0.9)
    found = score_files(roles | labels, wanted=wanted).directions["one"]
    packed = [np.packbits(made[name] >= 0, axis=1) for name in ("query_image", "database_text")]
    both = *packed, made["query_labels"], made["database_labels"]
    again = metrics.evaluate(*both, bits=BITS, protocol="map_at_k", ties="pessimistic", k=7)
    assert found.summary.scores["map_at_7_pessimistic"].value == again.value
    paper = metrics.evaluate(*both, bits=BITS, protocol="map_at_k", k=50)
    assert found.summary.scores["djsrh"].value == paper.value
    assert found.summary.lookup.radius == 3
    assert found.ndcg.value == metrics.ndcg(*both, bits=BITS, no_relevant="skip").value
    interval = found.intervals["djsrh"]
    assert interval == metrics.bootstrap(paper.per_query, level=0.9)
    assert found.to_dict()["map"]["djsrh"]["low"] == interval.low
    histograms = metrics.histograms(*both, bits=BITS)
    assert found.separation.auc == metrics.separation(histograms).auc
    one_way = score_files({"query_image": roles["query"], "database_text": roles["database"]} | labels, wanted=wanted)
    assert list(one_way.directions) == ["i2t"]
    assert one_way.directions["i2t"].to_dict() == found.to_dict()


NAMES = [
    {},
    dict(zip(["query_image", "query_text", "database_image", "database_text", "query_labels", "database_labels"],
             ["q_img", "q_txt", "r_img", "r_txt", "q_l", "r_l"], strict=True)),
    {"query_image": "qBX", "query_text": "qBY", "database_image": "rBX", "database_text": "rBY",
     "query_labels": "queryL", "database_labels": "retrievalL"},
]  # fmt: skip


@pytest.mark.parametrize("naming", NAMES, ids=["own names", "q_img", "qBX"])
@pytest.mark.parametrize("suffix", [".npz", ".mat", ".safetensors"])
def test_one_file_of_all_arrays(made, naming, suffix, tmp_path):
    path = tmp_path / f"codes{suffix}"
    arrays = {naming.get(role, role): np.ascontiguousarray(values) for role, values in made.items()}
    {".npz": lambda: np.savez(path, **arrays), ".mat": lambda: scipy.io.savemat(path, arrays),
     ".safetensors": lambda: save_file(arrays, path)}[suffix]()  # fmt: skip
    found = score_files(of_archive(path))
    assert found.to_dict()["map"] == score_files(write(tmp_path, made, made)).to_dict()["map"]
    assert found.files["query_image"].name == naming.get("query_image", "query_image")


def test_archives_that_say_too_little_or_too_much(made, tmp_path):
    np.savez(tmp_path / "x.npz", a=made["query_image"])
    with pytest.raises(ValueError, match="codes: .*x.npz holds a; known names are query, database, .*--query x.npz:NA"):
        of_archive(tmp_path / "x.npz")
    np.savez(tmp_path / "y.npz", q_img=made["query_image"], qBX=made["query_image"])
    with pytest.raises(ValueError, match="holds both q_img and qBX, which mean the same"):
        of_archive(tmp_path / "y.npz")
    np.save(tmp_path / "q.npy", made["query_image"])
    assert of_archive(tmp_path / "q.npy") == {"query": str(tmp_path / "q.npy")}


@pytest.fixture(scope="module")
def known():
    """A data set with a label tree, whose training rows are a part of its database."""
    whole = data.load("synthetic", pairs=200)
    return data.PairedDataset.from_arrays(
        whole.image, whole.text, labels=whole.labels, tree=whole.tree, class_names=whole.class_names,
        query=np.arange(0, 200, 10), train=np.arange(1, 200, 3)[np.arange(1, 200, 3) % 10 != 0], name="pairs",
    )  # fmt: skip


def test_all_codes_of_a_data_set(known, tmp_path):
    codes = {side: getattr(known, side) @ np.random.default_rng(0).standard_normal((getattr(known, side).shape[1], 16))
             for side in ("image", "text")}  # fmt: skip
    for side, values in codes.items():
        np.save(tmp_path / f"{side}.npy", values)
    whole = {side: str(tmp_path / f"{side}.npy") for side in codes}
    found = score_files(whole, data=known)
    split = known.split
    parts = {f"{part}_{side}": values[rows] for side, values in codes.items()
             for part, rows in (("query", split.query), ("database", split.database))}  # fmt: skip
    assert score_files(write(tmp_path, parts, parts), data=known).to_dict()["map"] == found.to_dict()["map"]
    assert found.data == f"pairs (checksum {known.checksum()})"
    assert (found.nq, found.nb) == (len(split.query), len(split.database))
    labels = known.labels.astype(bool)
    value = truth(
        codes["image"][split.query], codes["text"][split.database], labels[split.query], labels[split.database]
    )
    assert found.directions["i2t"].summary.scores["map_all_stable"].value == pytest.approx(value, abs=1e-12)
    layers = [[layer.ids[rows] for layer in known.tree.layers] for rows in (split.query, split.database)]
    packed = [np.packbits(parts[name] >= 0, axis=1) for name in ("query_image", "database_text")]
    assert found.directions["i2t"].ndcg.value == metrics.ndcg(*packed, *layers, bits=16).value
    assert found.directions["i2t"].ndcg.graded_by == "layers"
    coarse = score_files(whole, data=known, wanted=Wanted(relevance="layer:1"))
    assert coarse.directions["i2t"].summary.scores["map_all"].value != value
    assert (coarse.relevance, coarse.directions["i2t"].ndcg.value) == ("layer:1", found.directions["i2t"].ndcg.value)
    kept = split.database[~np.isin(split.database, split.train)]
    without = score_files(whole, data=known, wanted=Wanted(database="without_train"))
    value = truth(codes["image"][split.query], codes["text"][kept], labels[split.query], labels[kept])
    assert without.directions["i2t"].summary.scores["map_all_stable"].value == pytest.approx(value, abs=1e-12)
    assert (without.nb, without.searched) == (len(kept), "without_train")


def test_everything_is_json(made, tmp_path):
    found = score_files(write(tmp_path, made, made))
    value = json.loads(json.dumps(found.to_dict()))
    assert set(value["map"]) == {"map_all", "map_all_stable", "map_at_50", "map_at_50_stable"}
    assert value["map"]["map_all"]["i2t"] == value["directions"]["i2t"]["map"]["map_all"]["value"]
    assert value["directions"]["t2i"]["distances"]["auc"] == found.directions["t2i"].separation.auc
    file = value["files"]["query_text"]
    assert (file["file"], file["dtype"], file["shape"]) == (str(tmp_path / "query_text.npy"), "float64", [12, BITS])
    assert len(file["sha256"]) == 16
    assert value["codes"]["query_text"]["n"] == 12


def test_a_collapse_is_told_with_where_it_is(made, tmp_path):
    same = dict(made, database_text=np.where(np.arange(BITS) < 3, -1.0, 1.0) * np.ones((60, 1)))
    found = score_files(write(tmp_path, same, same))
    assert "database text: 20 of 20 bits are dead" in found.signs
    assert not any(sign.startswith(("database image", "t2i")) for sign in found.signs)
    classes = dict(
        made, query_image=np.ones((12, BITS)) * [[1, -1] * 10], database_text=np.ones((60, BITS)) * [[1, -1] * 10]
    )
    found = score_files(write(tmp_path, classes, classes))
    assert "i2t: classes share one code: 100% of the irrelevant pairs have distance 0" in found.signs


def test_sides_that_do_not_speak_one_code_are_told(made, tmp_path):
    apart = {name: values.copy() for name, values in made.items()}
    for name, value in {"query_image": 1, "database_image": 1, "query_text": -1, "database_text": -1}.items():
        apart[name][:, :5] = value
    found = score_files(write(tmp_path, apart, apart))
    gap = "5 of 20 bits are opposite in queries and database, whatever the item"
    assert [sign for sign in found.signs if "opposite" in sign] == [f"i2t: {gap}", f"t2i: {gap}"]
    assert found.to_dict()["directions"]["i2t"]["opposed_bits"] == 5


def test_few_codes_are_not_said_to_be_opposite(made, tmp_path):
    one = {name: values[:1] for name, values in made.items()}
    for name in ("query_image", "query_text"):
        one[name] = -one[name.replace("query", "database")][:, :]
    assert not [sign for sign in score_files(write(tmp_path, one, one)).signs if "opposite" in sign]


def test_an_interval_is_of_the_value_that_it_stands_by(tmp_path):
    rng = np.random.default_rng(0)
    codes = {"query": rng.random((60, 3)) < 0.5, "database": rng.random((400, 3)) < 0.5}
    labels = {"query_labels": rng.integers(0, 60, 60), "database_labels": rng.integers(0, 60, 400)}
    measures = measures_of(["map_at_k", "map_at_k_hitonly"], k=5)
    found = score_files(write(tmp_path, codes | labels, codes | labels), wanted=Wanted(measures, level=0.95))
    (direction,) = found.directions.values()
    assert set(direction.intervals) == {"map_at_5", "map_at_5_stable", "map_at_5_hitonly_stable"}, "hits are uncertain"
    for name, interval in direction.intervals.items():
        assert interval.value == pytest.approx(direction.summary.scores[name].value)
        assert interval.low < interval.value < interval.high


ONE = {"query": "", "database": ""}
LABELS = {"query_labels": "", "database_labels": ""}


@pytest.mark.parametrize(
    ("given", "known_data", "message"),
    [
        (LABELS, None, "no codes: give query and database, or those of images and texts"),
        (ONE, None, "query_labels is missing: give the labels of queries and database, or a data set"),
        (ONE | {"query_labels": ""}, None, "database_labels is missing"),
        ({"query": ""} | LABELS, None, "query needs database"),
        ({"query_image": ""} | LABELS, None, "query_image needs database_text"),
        (ONE | {"database_image": ""} | LABELS, None, "database_image needs query_text"),
        (ONE | {"query_image": "", "database_text": ""} | LABELS, None, "give query and database, or those of images"),
        (ONE | LABELS, "emoji", "query_labels are those of the data set emoji; give one of them"),
        ({"image": "", "text": ""}, None, "codes of all images need the data set that splits them"),
        ({"image": ""}, "emoji", "image codes need the text codes beside them"),
        (
            {"image": "", "text": "", "query": ""},
            "emoji",
            "of a whole data set (image) or of its parts (query), not both",
        ),
        ({"image": "", "text": ""} | LABELS, "emoji", "query_labels are those of the data set emoji; give one of them"),
    ],
)
def test_parts_that_do_not_make_a_whole(given, known_data, message):
    with pytest.raises(ValueError) as error:
        directions(given, known_data)
    assert message in str(error.value)


def test_rows_out_of_step(made, known, tmp_path):
    short = dict(made, query_text=made["query_text"][:11])
    with pytest.raises(ValueError, match="query_text must have 12 rows like query_image, got 11"):
        score_files(write(tmp_path, short, short))
    short = dict(made, query_labels=made["query_labels"][:11])
    with pytest.raises(ValueError, match="query_labels must have 12 rows like the codes, got 11"):
        score_files(write(tmp_path, short, short))
    mixed = dict(made, query_labels=np.arange(12))
    with pytest.raises(
        ValueError, match="labels must be of one form, got class ids of the query and multi-hot of the d"
    ):
        score_files(write(tmp_path, mixed, mixed))
    files = write(tmp_path, made, ["query_image", "database_text"])
    with pytest.raises(ValueError, match="query_image must have 20 rows like the query rows of pairs, got 12"):
        score_files(files, data=known)
    whole = {"image": files["query_image"], "text": files["query_image"]}
    with pytest.raises(ValueError, match="image must have 200 rows like the pairs of pairs, got 12"):
        score_files(whole, data=known)


def test_what_is_wanted_is_checked(made, known, tmp_path):
    files = write(tmp_path, made, made)
    for wanted, message in {
        Wanted(relevance="any"): "relevance and database are of a data set, none is named",
        Wanted(database="without_train"): "relevance and database are of a data set, none is named",
        Wanted(no_relevant="drop"): "no_relevant must be one of zero, skip, got 'drop'",
        Wanted(radius=-1): "radius must be a whole number from 0 to",
        Wanted(level=1.5): "level must be between 0 and 1, got 1.5",
    }.items():
        with pytest.raises(ValueError) as error:
            score_files(files, wanted=wanted)
        assert message in str(error.value)
    np.save(tmp_path / "all.npy", np.where(np.random.default_rng(0).random((200, 8)) < 0.5, 1, -1))
    whole = {"image": tmp_path / "all.npy", "text": tmp_path / "all.npy"}
    for wanted, message in {
        Wanted(
            relevance="graded"
        ): "relevance must be finest, any or layer:k; nDCG is graded by the layers in any case",
        Wanted(relevance="layer:9"): "relevance must be one of finest, any, layer:1, layer:2, graded, got 'layer:9'",
        Wanted(database="test"): "database must be one of all, without_train, learned, got 'test'",
    }.items():
        with pytest.raises(ValueError) as error:
            score_files(whole, data=known, wanted=wanted)
        assert message in str(error.value)
    with pytest.raises(ValueError, match="label form is of labels out of files, got the data set pairs"):
        score_files(whole, data=known, label_form="ids")
    with pytest.raises(ValueError, match="roles must be of query, database, .*, got 'queries'"):
        score_files({"queries": "x.npy"})


def test_names_of_measures():
    assert measures_of(["map_all", "map_at_k"], ["expected", "stable"]) == {
        "map_all": Measure("map_all"), "map_all_stable": Measure("map_all", "stable"),
        "map_at_50": Measure("map_at_k"), "map_at_50_stable": Measure("map_at_k", "stable"),
    }  # fmt: skip
    assert list(measures_of([p.name for p in metrics.protocols()], ["expected"])) == list(metrics.MEASURES)
    found = measures_of(["map_all", "map_at_k_hitonly", "dcmh"], ["optimistic"], 10, "skip")
    assert found == {
        "map_all_optimistic": Measure("map_all", "optimistic", None, "skip"),
        "map_at_10_hitonly_optimistic": Measure("map_at_k_hitonly", "optimistic", 10, "skip"),
        "dcmh": metrics.papers()["dcmh"].measure,
    }
    assert list(measures_of(["papers"])) == list(metrics.papers())
    assert measures_of(["map_all", "djsrh"]) == measures_of(["map_all", "djsrh"], ["expected", "stable"])
    for arguments, message in [
        ((["map"], ["expected"]), "protocol must be one of map_all, .*, or papers for all of these, got 'map'"),
        ((["map_all"], ["expected"], 5), "k is the cut of map_at_k, .*, none of which is asked for"),
        ((["djsrh"], ["expected"], 5), "k is the cut of map_at_k, .*, none of which is asked for"),
        ((["map_all"], ["best"]), "ties must be one of expected, .*, got 'best'"),
        (
            (["djsrh", "dcmh"], ["stable"]),
            "ties are of protocols, papers have their own, and only papers are asked for",
        ),
        ((["map_at_k"], ["stable"], 0), "k must be a whole number of at least 1, got 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            measures_of(*arguments)
