"""fasthash data: from somebody's folder to a prepared one, with every problem named; and what is told of it."""

import json

import numpy as np
import pytest

import fasthash
from fasthash.cli._run import run
from fasthash.data import PairedDataset
from fasthash.data.preparing import gathered_of, prepare

image_module = pytest.importorskip("PIL.Image")
pytest.importorskip("pyarrow")
N = 30


@pytest.fixture
def photos(tmp_path):
    """30 pictures and captions; of these 2 pictures missing, 1 damaged, 3 texts empty (one of them a missing one)."""
    source = tmp_path / "photos"
    source.mkdir()
    rng = np.random.default_rng(0)
    lines = ["file,caption,label"]
    for i in range(N):
        image_module.fromarray(rng.integers(0, 255, (8, 8, 3), np.uint8)).save(source / f"{i}.png")
        lines.append(f"{i}.png,{'' if i in (3, 11, 12) else f'a photo of thing {i}'},{'cat' if i % 2 else 'dog'}")
    (source / "captions.csv").write_text("\n".join(lines) + "\n")
    for i in (3, 4):
        (source / f"{i}.png").unlink()
    (source / "5.png").write_bytes((source / "5.png").read_bytes()[:40])
    return source


def told(capsys):
    captured = capsys.readouterr()
    return captured.out + captured.err


def test_refuses_until_every_problem_is_dealt_with(photos, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(["data", "prepare", str(photos), "--out", str(out)]) == 2
    line = told(capsys)
    assert line.count("\n") == 1
    for part in (
        "missing-picture: 2 pairs",
        "damaged-picture: 1 pair",
        "empty-text: 3 pairs",
        "--skip missing-picture",
    ):
        assert part in line
    assert not out.exists()
    words = [
        "data",
        "prepare",
        str(photos),
        "--out",
        str(out),
        "--skip",
        "missing-picture",
        "--skip",
        "damaged-picture",
    ]
    assert run([*words, "--keep", "empty-text", "--query", "5"]) == 0
    assert "27 of 30 pairs" in told(capsys)
    data = fasthash.data.load(str(out))
    assert len(data) == 27
    assert len(data.split.query) == 5
    assert [text for text in data.texts if not text] == ["", ""]
    assert set(data.class_names) == {"cat", "dog"}
    record = json.loads((out / "dataset.json").read_text())["skipped"]
    assert {(one["kind"], one["policy"], one["count"]) for one in record} == {
        ("missing-picture", "skip", 2), ("damaged-picture", "skip", 1), ("empty-text", "keep", 2),
    }  # fmt: skip


def test_looking_only_leaves_damaged_pictures_unseen(photos, tmp_path, capsys):
    words = ["data", "prepare", str(photos), "--out", str(tmp_path / "out"), "--no-decode", "--json"]
    assert run([*words, "--skip", "missing-picture", "--skip", "empty-text"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert (value["read"], value["rows"], value["problems"]["pictures"]) == (30, 26, "looked for")


def test_info_and_page(photos, tmp_path, capsys):
    kinds = ("missing-picture", "damaged-picture", "empty-text")
    prepare(photos, tmp_path / "out", policies=dict.fromkeys(kinds, "skip"), progress=False)
    page = tmp_path / "page.html"
    assert run(["data", "info", str(tmp_path / "out"), "--json", "--verify", "--page", str(page)]) == 0
    value = json.loads(capsys.readouterr().out)
    assert (value["pairs"], value["class_counts"]) == (25, {"cat": 12, "dog": 13})
    assert [one["count"] for one in value["skipped"]] == [2, 1, 2]
    html = page.read_text()
    assert html.count('<li class="card">') == 25
    assert "missing-picture" in html


def test_a_known_data_set_comes_out_as_it_went_in(tmp_path):
    made = prepare("synthetic", tmp_path / "out", options={"pairs": 60}, progress=False)
    before, after = fasthash.data.load("synthetic", pairs=60), fasthash.data.load(str(tmp_path / "out"))
    np.testing.assert_array_equal(before.image, after.image)
    np.testing.assert_array_equal(before.text, after.text)
    np.testing.assert_array_equal(before.labels, after.labels)
    assert before.class_names == after.class_names
    assert before.split_checksum() == after.split_checksum()
    assert [layer.name for layer in before.tree.layers] == [layer.name for layer in after.tree.layers]
    assert made.folder.record.origin["data"] == "synthetic"


def test_options_of_a_known_data_set(tmp_path, capsys):
    words = ["data", "prepare", "synthetic", "--set", "pairs=60", "--set", "kind=multilabel", "--name", "mine"]
    assert run([*words, "--out", str(tmp_path / "out"), "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert (value["rows"], value["name"], value["layers"]) == (60, "mine", [])


def test_embeddings_alone_are_trained_on_without_labels(tmp_path, capsys):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "image.npy", rng.standard_normal((50, 6)).astype(np.float32))
    np.save(tmp_path / "text.npy", rng.standard_normal((50, 4)).astype(np.float32))
    words = ["data", "prepare", str(tmp_path), "--as", "arrays", "--set", f"image={tmp_path / 'image.npy'}"]
    assert run([*words, "--set", f"text={tmp_path / 'text.npy'}", "--out", str(tmp_path / "out")]) == 0
    words = ["train", "djsrh", str(tmp_path / "out"), "--bits", "8", "--set", "epochs=1", "--set", "affine=false"]
    assert run([*words, "--out", str(tmp_path / "run")]) == 0
    assert "trained in" in told(capsys)


def test_what_is_kept_by_default_can_be_refused(tmp_path, capsys):
    np.savez(tmp_path / "a.npz", image=np.eye(9, 4), text=np.ones((9, 2)))
    words = ["data", "prepare", str(tmp_path / "a.npz"), "--query", "2", "--out", str(tmp_path / "out")]
    assert run([*words, "--refuse", "zero-features"]) == 2
    assert "zero-features: 5 pairs" in told(capsys)
    assert run(words) == 0
    assert "kept: 5 pairs (zero-features)" in told(capsys)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["prepare", "nowhere", "--out", "x"], "nowhere"),
        (["prepare", "synthetic", "--out", "x", "--skip", "ugly-picture"], "kind must be one of missing-picture"),
        (
            ["prepare", "synthetic", "--out", "x", "--skip", "leak", "--keep", "leak"],
            "leak must get one of --skip, --keep and --refuse, got two",
        ),
        (["prepare", "synthetic", "--out", "x", "--keep", "duplicate-id"], "duplicate-id cannot be kept"),
        (["prepare", "synthetic", "--out", "x", "--split", "dcmh"], "dcmh is for mirflickr25k"),
        (["prepare", "synthetic", "--out", "x", "--split", "dcmh", "--query", "3"], "query and train are for a split"),
        (["prepare", "synthetic", "--out", "x", "--set", "colour=red"], "synthetic has the options"),
        (["formats", "zip"], "layout must be one of arrays"),
        (["info", "synthetic", "--verify"], "verify is for prepared folders, got synthetic"),
    ],
)
def test_one_line_for_bad_input(words, line, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(["data", *words]) == 2
    said = told(capsys)
    assert line in said
    assert said.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_taken_place_is_told_before_the_work(photos, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").touch()
    assert run(["data", "prepare", str(photos), "--out", str(tmp_path / "out")]) == 2  # not one word of its problems
    assert "must be new or empty, it holds thesis.tex" in told(capsys)


def test_how_a_split_was_drawn_is_told(tmp_path, capsys):
    assert run(["data", "prepare", "synthetic", "--set", "pairs=60", "--query", "6", "--out", str(tmp_path / "a")]) == 0
    assert "6 queries drawn by hashes of the ids, seed 0" in told(capsys)


def test_lists(capsys):
    for what in ("formats", "splits", "list"):
        assert run(["data", what, "--json"]) == 0
        assert len(json.loads(capsys.readouterr().out)) > 5
    assert run(["data", "formats", "coco"]) == 0
    assert "parts=" in told(capsys)


def test_gathered_of_a_data_set_without_pictures_and_labels():
    rng = np.random.default_rng(0)
    plain = PairedDataset.from_arrays(rng.random((9, 3)), rng.random((9, 2)), query=[0, 1])
    gathered = gathered_of(plain)
    assert (gathered.labels, gathered.pictures, gathered.texts) == (None, None, None)
    np.testing.assert_array_equal(gathered.splits["own"].query, [0, 1])
