"""What is encoded: Parquet, folders of pictures, shards; ids and keys; rows that cannot be read."""

import io
import json
import os
import tarfile

import numpy as np
import pytest
from encode_work import (
    BITS,
    WIDTH,
    draw,
    features_model,
    here,  # noqa: F401  (a fixture)
    raw_model,
    read,
    whole_features,
    write_features,
)

from fasthash.distributed.encoding import encode
from fasthash.distributed.encoding._parquet import ParquetReader
from fasthash.distributed.encoding._sources import Span
from fasthash.interop.arrow import read_parquet
from fasthash.search import load

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")
pytestmark = pytest.mark.usefixtures("here")
TEXTS = ["red heart", "blue", "", "car red red", "tree", "heart car", "blue blue tree", "red"]


def in_one_process(model, items, side="image"):
    return (model.encode_image if side == "image" else model.encode_text)(items)


def test_features_over_files_and_row_groups(tmp_path):
    x, model = whole_features(70), features_model()
    write_features(tmp_path / "in" / "b.parquet", x[:33], row_group_size=10, id=np.arange(500, 533))
    write_features(tmp_path / "in" / "c" / "a.parquet", x[33:34], id=np.array([7]))
    write_features(tmp_path / "in" / "d.parquet", x[34:], row_group_size=9, id=np.arange(100, 136, dtype=np.uint32))
    write_features(tmp_path / "in" / ".hidden.parquet", x, id=np.arange(70))
    with pytest.raises(ValueError, match=r"d\.parquet must have the columns and types of .*b\.parquet"):
        encode(tmp_path / "in", model, out=tmp_path / "out")
    write_features(tmp_path / "in" / "d.parquet", x[34:], row_group_size=9, id=np.arange(100, 136))
    seen = []
    made = encode(tmp_path / "in", model, out=tmp_path / "out", rows_per_file=16, progress=lambda *at: seen.append(at))
    ids, codes, keys, manifest = read(tmp_path / "out")
    assert np.array_equal(ids, [*range(500, 533), 7, *range(100, 136)])
    assert np.array_equal(codes, in_one_process(model, x))
    assert keys is None
    assert [part["rows"] for part in manifest["parts"]] == [16] * 4 + [6]
    assert [(f["name"], f["first_row"]) for f in manifest["files"]] == [
        ("b.parquet", 0),
        ("c/a.parquet", 33),
        ("d.parquet", 34),
    ]
    assert seen[0] == (0, 70)
    assert seen[-1] == (70, 70)
    assert (made.rows, made.computed, made.skipped, made.restarts, made.bits) == (70, 70, 0, 0, BITS)


def bytes_read():
    """By this process, from files."""
    try:
        with open("/proc/self/io") as file:
            return int(next(line for line in file if line.startswith("rchar")).split()[1])
    except OSError:
        pytest.skip("this system does not count what a process reads")


def test_a_large_row_group_is_not_read_at_once(tmp_path):
    x = np.random.default_rng(0).standard_normal((100_000, 20 * WIDTH)).astype(np.float32)
    path = write_features(tmp_path / "x.parquet", x)
    assert parquet.read_metadata(path).num_row_groups == 1
    reader, before = ParquetReader("features", "features", x.shape[1], None, False), bytes_read()
    (rows,) = reader.read([Span(str(path), 0, 500, 0)], 512)
    assert np.array_equal(rows.items, x[:500])
    assert bytes_read() - before < path.stat().st_size / 4, "else an actor holds all of it"


def test_schema_says_how_codes_are_to_be_read(tmp_path):
    write_features(tmp_path / "x.parquet", whole_features(5))
    encode(tmp_path / "x.parquet", features_model(), out=tmp_path / "out", side="text")
    (part,) = (tmp_path / "out").glob("*.parquet")
    schema = parquet.read_schema(part)
    assert schema.field("id").type == pa.int64()
    assert schema.field("code").type == pa.binary(2)
    said = {key.decode(): value.decode() for key, value in schema.metadata.items()}
    manifest = json.loads((tmp_path / "out" / "encode.json").read_text())
    assert said["bits"] == str(BITS)
    assert said["side"] == "text"
    assert said["model"] == manifest["key"]["model"]
    assert said["bit_order"] == "most significant first"
    assert said["zero_rule"] == "h >= 0 is bit 1"
    index = read_parquet(tmp_path / "out")
    assert np.array_equal(next(index.batches())[1], features_model().encode_text(whole_features(5)))


@pytest.mark.parametrize("kind", ["list", "double", "half"])
def test_features_in_other_types(tmp_path, kind):
    x, model = whole_features(9), features_model()
    types = {"list": pa.list_(pa.float32()), "double": pa.list_(pa.float64(), WIDTH), "half": pa.list_(pa.float16())}
    cells = [row.astype(np.float16) for row in x] if kind == "half" else x.tolist()
    parquet.write_table(pa.table({"embedding": pa.array(cells, types[kind]), "n": range(9)}), tmp_path / "x.parquet")
    encode(tmp_path / "x.parquet", model, out=tmp_path / "out")
    assert np.array_equal(read(tmp_path / "out")[1], in_one_process(model, x))


@pytest.mark.parametrize("form", ["bytes", "path", "struct"])
def test_pictures_in_parquet(tmp_path, form):
    paths, model = draw(tmp_path / "in", [f"p/{i}.png" for i in range(8)]), raw_model()
    contents, names = [path.read_bytes() for path in paths], [f"p/{i}.png" for i in range(8)]
    structs = [{"bytes": None if i % 2 else c, "path": n} for i, (c, n) in enumerate(zip(contents, names, strict=True))]
    cells = {"bytes": contents, "path": names, "struct": structs}[form]
    parquet.write_table(pa.table({"image": cells, "id": [f"id {i}" for i in range(8)]}), tmp_path / "in" / "x.parquet")
    encode(tmp_path / "in", model, out=tmp_path / "out", rows_per_file=3)
    ids, codes, keys, _ = read(tmp_path / "out")
    assert np.array_equal(codes, in_one_process(model, paths))
    assert np.array_equal(ids, range(8))
    assert keys == [f"id {i}" for i in range(8)]


def test_texts_in_parquet(tmp_path):
    model = raw_model()
    several = [text.split() for text in TEXTS]
    dictionary = pa.array([t or "tree" for t in TEXTS]).dictionary_encode()
    parquet.write_table(pa.table({"caption": TEXTS, "words": several, "kind": dictionary}), tmp_path / "x.parquet")
    want = in_one_process(model, TEXTS, "text")
    for column in (None, "words"):
        encode(tmp_path / "x.parquet", model, out=tmp_path / str(column), side="text", column=column, rows_per_file=5)
        assert np.array_equal(read(tmp_path / str(column))[1], want)


def test_a_folder_of_pictures_keeps_its_names(tmp_path):
    names = ["b/2.png", "a.jpg", "b/10.png", "c.png"]
    draw(tmp_path / "in", names)
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    model = raw_model()
    encode(tmp_path / "in", model, out=tmp_path / "out", rows_per_file=3)
    ids, codes, keys, _ = read(tmp_path / "out")
    assert keys == sorted(names)
    assert np.array_equal(ids, range(4))
    assert np.array_equal(codes, in_one_process(model, [tmp_path / "in" / name for name in sorted(names)]))


@pytest.fixture
def shards(tmp_path):
    """Two webdataset shards of 5 and 3 keys; some texts in a .txt, others in the .json."""
    paths = draw(tmp_path / "drawn", [f"{i}.png" for i in range(8)])
    (tmp_path / "in").mkdir()
    for name, rows in (("s-1.tar", range(5, 8)), ("s-0.tar", range(5))):
        with tarfile.open(tmp_path / "in" / name, "w") as tar:
            for i in rows:
                text = json.dumps({"caption": TEXTS[i]}) if i % 2 else TEXTS[i]
                members = {"png": paths[i].read_bytes(), ("json" if i % 2 else "txt"): text.encode()}
                for suffix, content in members.items():
                    info = tarfile.TarInfo(f"k{i}.{suffix}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
    return tmp_path / "in", paths


def test_webdataset_shards(tmp_path, shards):
    folder, paths = shards
    model = raw_model()
    for side, items in (("image", paths), ("text", TEXTS)):
        encode(folder, model, out=tmp_path / side, side=side, rows_per_file=3)
        ids, codes, keys, _ = read(tmp_path / side)
        assert np.array_equal(codes, in_one_process(model, items, side))
        assert np.array_equal(ids, range(8))
        assert keys == [f"k{i}" for i in range(8)]


def test_damaged_pictures(tmp_path):
    paths, model = draw(tmp_path / "in", [f"{i}.png" for i in range(9)]), raw_model()
    paths[4].write_bytes(paths[4].read_bytes()[:60])
    paths[7].write_bytes(b"")
    with pytest.raises(ValueError, match=r"4\.png: .*not a readable picture.*damaged='skip'"):
        encode(tmp_path / "in", model, out=tmp_path / "out", rows_per_file=3)
    made = encode(tmp_path / "in", model, out=tmp_path / "out", rows_per_file=3, damaged="skip")
    ids, codes, keys, manifest = read(tmp_path / "out")
    good = [i for i in range(9) if i not in (4, 7)]
    assert np.array_equal(ids, good)
    assert keys == [f"{i}.png" for i in good]
    assert np.array_equal(codes, in_one_process(model, [paths[i] for i in good]))
    assert (made.rows, made.skipped, made.computed) == (7, 2, 6), "the first three were done before"
    assert [row["id"] for row in manifest["damaged"]] == [4, 7]
    assert "4.png" in manifest["damaged"][0]["place"]


def test_damaged_features_and_empty_cells(tmp_path):
    x, model = whole_features(7), features_model()
    cells = x.tolist()
    cells[1], cells[2], cells[3], cells[4] = None, cells[2][:3], [np.nan] * WIDTH, [1e300] * WIDTH
    parquet.write_table(pa.table({"features": pa.array(cells, pa.list_(pa.float64()))}), tmp_path / "x.parquet")
    with pytest.raises(ValueError, match=r"x\.parquet row 1: the row has none"):
        encode(tmp_path / "x.parquet", model, out=tmp_path / "out")
    encode(tmp_path / "x.parquet", model, out=tmp_path / "out", damaged="skip")
    ids, codes, _, manifest = read(tmp_path / "out")
    assert np.array_equal(ids, [0, 5, 6])
    assert np.array_equal(codes, in_one_process(model, x[[0, 5, 6]]))
    why = [row["why"] for row in manifest["damaged"]]
    assert "3 features, the model was trained on 6" in why[1]
    assert "not finite" in why[2]
    assert "not finite" in why[3]


def test_a_part_of_damaged_rows_alone(tmp_path):
    paths = draw(tmp_path / "in", [f"{i}.png" for i in range(4)])
    for path in paths[:2]:
        path.write_bytes(b"no picture")
    made = encode(tmp_path / "in", raw_model(), out=tmp_path / "out", rows_per_file=2, damaged="skip", shards=9)
    assert (made.rows, made.skipped) == (2, 2)
    assert np.array_equal(read(tmp_path / "out")[0], [2, 3])
    assert len(load(made.shards).indexes) == 2, "no more shards than codes"


def test_ids_that_cannot_be(tmp_path):
    x = whole_features(4)
    write_features(tmp_path / "in" / "a.parquet", x, id=np.array([3, 1, 2, 0]))
    write_features(tmp_path / "in" / "b.parquet", x, id=np.array([9, 8, 1, 7]))
    with pytest.raises(ValueError, match=r"id 1 is given twice: .*a\.parquet row 1 and .*b\.parquet row 2"):
        encode(tmp_path / "in", features_model(), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    encode(tmp_path / "in", features_model(), out=tmp_path / "out", id_column="none")
    assert np.array_equal(read(tmp_path / "out")[0], range(8))
    write_features(tmp_path / "n.parquet", x, id=np.array([3, -1, 2, 0]))
    with pytest.raises(ValueError, match="from 0 to 2.63 - 1, got -1"):
        encode(tmp_path / "n.parquet", features_model(), out=tmp_path / "other")
    write_features(tmp_path / "f.parquet", x, id=np.ones(4))
    with pytest.raises(ValueError, match="id_column id must hold integers or strings, got double"):
        encode(tmp_path / "f.parquet", features_model(), out=tmp_path / "other")


def test_an_empty_corpus(tmp_path):
    (tmp_path / "in").mkdir()
    with pytest.raises(FileNotFoundError, match=r"nothing to encode: .* has no files \.parquet"):
        encode(tmp_path / "in", features_model(), out=tmp_path / "out")
    write_features(tmp_path / "in" / "x.parquet", whole_features(0))
    with pytest.raises(ValueError, match="nothing to encode: .* has 0 rows"):
        encode(tmp_path / "in", features_model(), out=tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="no such file or folder: .*missing"):
        encode(tmp_path / "missing", features_model(), out=tmp_path / "out")


def test_several_places(tmp_path, shards):
    folder, x, model = tmp_path / "p", whole_features(6), features_model()
    first, second = (write_features(folder / f"{name}.parquet", x) for name in "ab")
    encode([second, first], model, out=tmp_path / "out")
    assert len(read(tmp_path / "out")[0]) == 12
    for places, line in (
        ([folder, shards[0]], r"files of one kind: .*in has no parquet files"),
        ([first, folder], r"a\.parquet is given twice, with .*p$"),
        ([first, second, first], r"a\.parquet is given twice, with .*a\.parquet"),
    ):
        with pytest.raises(ValueError, match=line):
            encode(places, model, out=tmp_path / "other")


def test_links_in_a_folder_of_pictures(tmp_path):
    (path,) = draw(tmp_path / "in", ["a/0.png"])
    (tmp_path / "in" / "a" / "up").symlink_to("..")
    (tmp_path / "in" / "gone.png").symlink_to("nowhere.png")
    with pytest.raises(ValueError, match=r"gone\.png: .*damaged='skip'"):
        encode(tmp_path / "in", raw_model(), out=tmp_path / "out")
    made = encode(tmp_path / "in", raw_model(), out=tmp_path / "out", damaged="skip")
    assert (made.rows, made.skipped) == (1, 1)
    assert read(tmp_path / "out")[2] == ["a/0.png"]
    assert np.array_equal(read(tmp_path / "out")[1], raw_model().encode_image([path]))


def test_names_that_are_no_text(tmp_path, shards):
    paths = draw(tmp_path / "named", ["Ä日.png"])
    encode(tmp_path / "named", raw_model(), out=tmp_path / "out")
    assert read(tmp_path / "out")[2] == ["Ä日.png"]
    try:
        paths[0].rename(os.fsdecode(os.fsencode(tmp_path / "named") + b"/\xff.png"))
    except OSError:
        pytest.skip("this file system has no such names")
    with pytest.raises(ValueError, match=r"names must be UTF-8, got \\udcff\.png in .*named"):
        encode(tmp_path / "named", raw_model(), out=tmp_path / "other")
    with tarfile.open(shards[0] / "s-0.tar", "w") as tar:
        tar.add(shards[1][0], "\udcff.png")
    with pytest.raises(ValueError, match=r"names must be UTF-8, got \\udcff in .*s-0\.tar"):
        encode(shards[0], raw_model(), out=tmp_path / "other")


def test_columns_and_files_that_do_not_fit(tmp_path):
    path = write_features(tmp_path / "in" / "x.parquet", whole_features(3), text=["a"] * 3, vector=[[1.0]] * 3)
    out = tmp_path / "out"
    with pytest.raises(ValueError, match=r"several may be meant \(vector, features\)"):
        encode(path, features_model(), out=out)
    with pytest.raises(ValueError, match="column must be one of text, vector, features in .*, got 'other'"):
        encode(path, features_model(), out=out, column="other")
    with pytest.raises(ValueError, match="column text must hold features for this model, got string"):
        encode(path, features_model(), out=out, column="text")
    with pytest.raises(ValueError, match="out must lie outside of the corpus"):
        encode(tmp_path / "in", features_model(), out=tmp_path / "in" / "codes", column="features")
    draw(tmp_path / "p", ["a.png"])
    with pytest.raises(ValueError, match="has pictures, this model takes features as its image side"):
        encode(tmp_path / "p", features_model(), out=out)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"x\.parquet is no sound Parquet file"):
        encode(path, features_model(), out=out, column="features")


def test_arguments(tmp_path):
    path, model = write_features(tmp_path / "x.parquet", whole_features(3)), features_model()
    for options, line in (
        ({"side": "left"}, "side must be image or text, got 'left'"),
        ({"damaged": "zeros"}, "damaged must be refuse or skip, got 'zeros'"),
        ({"kind": "zip"}, "kind must be one of parquet, webdataset, pictures, got 'zip'"),
        ({"batch_size": 0}, "batch_size must be a whole number"),
        ({"gpus": -1}, "gpus must be a number from 0, got -1"),
        ({"shards": 0}, "shards must be a whole number"),
    ):
        with pytest.raises(ValueError, match=line):
            encode(path, model, out=tmp_path / "out", **options)
    with pytest.raises(TypeError, match="dataset must be paths or a ray.data.Dataset, got int"):
        encode(3, model, out=tmp_path / "out")
    with pytest.raises(TypeError, match="model must be a HashModel or the folder of a run, got dict"):
        encode(path, {}, out=tmp_path / "out")
