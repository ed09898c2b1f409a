"""``fasthash index export``, ``import`` and ``info``: every place, both ways, and what they refuse."""

import json
import signal
import subprocess
import sys

import numpy as np
import pytest
from interop_indexes import assert_same, made, queries_of

from fasthash.cli._run import run
from fasthash.interop import transfer
from fasthash.search import BinaryIndex, Shards, load, write_shards

TARGETS = {
    "a.safetensors": None,
    "a.faiss": "faiss",
    "a.usearch": "usearch",
    "a.parquet": "pyarrow",
    "folder": None,
    "lance:base#codes": "lancedb",
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made(64, 300).save("own.safetensors")
    made(63, 300).save("odd.safetensors")
    return tmp_path


def names(place):
    return sorted(path.name for path in place.iterdir())


def whole(codes):
    index = BinaryIndex(codes.bits)
    for ids, rows in codes.batches():
        index.add(rows, ids)
    return index


@pytest.mark.parametrize("source", ["own.safetensors", "odd.safetensors"])
@pytest.mark.parametrize("target", TARGETS)
def test_there_and_back(target, source, place, capsys):
    if TARGETS[target]:
        pytest.importorskip(TARGETS[target])
    pad = ["--pad"] if target.endswith(".faiss") and source == "odd.safetensors" else []
    bits = ["--bits", "63"] if pad else []
    assert run(["index", "export", source, target, *pad]) == 0
    assert run(["index", "import", target, "back.safetensors", *bits]) == 0
    assert run(["index", "import", target, "shards", *bits]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out.splitlines()[0].startswith(f"{target}: 300 codes of ")
    assert (place / "back.safetensors").read_bytes() == (place / source).read_bytes()
    assert isinstance(load("shards"), Shards)
    assert_same(whole(load("shards")), load(source))


@pytest.mark.parametrize(("target", "kind"), [("a.faiss", "hnsw"), ("a.faiss", "ivf"), ("lance:base#t", "ivf")])
def test_kinds(target, kind, place):
    pytest.importorskip("lancedb" if "lance" in target else "faiss")
    assert run(["index", "export", "own.safetensors", target, "--kind", kind]) == 0
    assert run(["index", "import", target, "back.safetensors"]) == 0
    assert (place / "back.safetensors").read_bytes() == (place / "own.safetensors").read_bytes()
    if target == "a.faiss":
        import faiss

        live = faiss.read_index_binary(target)
        inner = faiss.downcast_IndexBinary(live.index) if kind == "hnsw" else live
        assert type(inner).__name__ == {"hnsw": "IndexBinaryHNSW", "ivf": "IndexBinaryIVF"}[kind]


def test_shards_and_runs_are_sources(place):
    index = load("own.safetensors")
    write_shards("shards", index.batches(64), 64, rows_per_shard=100)
    assert run(["index", "export", "shards", "a.parquet"]) == 0
    assert_same(whole(transfer.open_codes("a.parquet")), index)
    folder = place / "run" / "index"
    folder.mkdir(parents=True)
    made(64, 9).save(folder / "images.safetensors")
    made(64, 9, seed=5).save(folder / "texts.safetensors")
    (folder / "items.json").write_text("{}")
    for source in ("run", "run/index"):
        for side, seed in (("image", 0), ("text", 5)):
            target = f"{side}.faiss"
            assert run(["index", "export", source, target, "--side", side, "--overwrite"]) == 0
            assert_same(load(target), made(64, 9, seed=seed))


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivf"])
def test_tables_of_postgresql(kind, place, connection, postgres_server, capsys):
    from psycopg import conninfo

    said = conninfo.conninfo_to_dict(postgres_server.conninfo())
    uri = f"postgresql:///{said.pop('dbname', 'postgres')}?{'&'.join(f'{k}={v}' for k, v in said.items())}#codes"
    assert run(["index", "export", "odd.safetensors", uri, "--kind", kind]) == 0
    assert run(["index", "import", uri, "back.safetensors"]) == 0
    assert (place / "back.safetensors").read_bytes() == (place / "odd.safetensors").read_bytes()
    made_indexes = connection.execute("SELECT indexdef FROM pg_indexes WHERE tablename = 'codes'").fetchall()
    assert {"flat": "btree", "hnsw": "hnsw", "ivf": "ivfflat"}[kind] in str(made_indexes)
    capsys.readouterr()
    assert run(["index", "export", "own.safetensors", uri]) == 2
    assert "table codes is there already" in capsys.readouterr().err
    assert run(["index", "export", "own.safetensors", uri, "--overwrite"]) == 0
    assert_same(whole(transfer.open_codes(uri)), load("own.safetensors"))


def test_arrays_of_codes_are_taken_in(place):
    np.save("codes.npy", made(63, 20).codes)
    assert run(["index", "import", "codes.npy", "new.safetensors", "--bits", "63"]) == 0
    found = load("new.safetensors")
    assert (found.bits, found.ids.tolist()) == (63, list(range(20)))
    np.testing.assert_array_equal(found.codes, made(63, 20).codes)


def test_json_and_info(place, capsys):
    assert run(["index", "export", "own.safetensors", "a.parquet", "--json"]) == 0
    want = {"source": "own.safetensors", "target": "a.parquet", "codes": 300, "bits": 64}
    assert json.loads(capsys.readouterr().out) == want
    ids = load("own.safetensors").ids
    known = {"bits": 64, "codes": 300, "first_id": int(ids[0]), "last_id": 2**63 - 1}
    for path, where in (("own.safetensors", "index file"), ("a.parquet", "Parquet")):
        assert run(["index", "info", path, "--json"]) == 0
        said = json.loads(capsys.readouterr().out)
        assert known.items() <= said.items()
        assert (said["place"], said["bytes"]) == (where, (place / path).stat().st_size)
    write_shards("shards", load("own.safetensors").batches(64), 64, rows_per_shard=100)
    assert run(["index", "info", "shards"]) == 0
    lines = capsys.readouterr().out
    assert "Shards" in lines
    assert str(ids[0]) in lines
    BinaryIndex(8).save("none.safetensors")
    assert transfer.describe("none.safetensors")["first_id"] is None


REFUSED = {
    "export own.safetensors there.faiss": "there.faiss exists already; overwrite replaces it",
    "export own.safetensors a.foo": "address must be one of lance:FOLDER#TABLE, postgresql://...#TABLE, FILE.faiss",
    "export own.safetensors a.npy": "array has no ids and is read only: a.npy",
    "export odd.safetensors a.faiss": "whole bytes only, got 63 bits; pad fills them up",
    "export own.safetensors a.parquet --kind hnsw": "kind of Parquet must be left out, got 'hnsw'",
    "export own.safetensors a.faiss --kind lsh": "kind of FAISS must be flat or hnsw or ivf, got 'lsh'",
    "export own.safetensors a.usearch --pad": "pad is for FAISS alone, USearch holds codes of any length",
    "export own.safetensors lance:base": "address must end in #TABLE, got 'base'",
    "export own.safetensors missing/a.parquet": "cannot write missing/a.parquet: the folder ",
    "export none.safetensors a.faiss": "no index file at none.safetensors",
    "export a.parquet a.faiss": "SOURCE must be an index, shards or a run, got a.parquet: see index import",
    "export own.safetensors a.faiss --side both": "side must be image or text, got 'both'",
    "import there.faiss a.faiss": "TARGET must be FILE.safetensors or a folder for shards, got a.faiss",
    "import there.faiss own.safetensors": "own.safetensors exists already",
    "import there.faiss a.safetensors --bits 50": "codes of 50 bits have 7 bytes, got codes of 8",
    "import own.safetensors a.safetensors --bits 50": "own.safetensors has codes of 64 bits, got bits 50",
    "import cut.faiss a.safetensors": "cut.faiss is no sound file of FAISS: ",
    "import cut.usearch a.safetensors": "cut.usearch is no sound file of USearch: ",
    "import cut.parquet a.safetensors": "cut.parquet is no sound Parquet file: ",
    "import none.usearch a.safetensors": "no file at none.usearch",
    "import lance:base#none a.safetensors": "base has no table 'none'",
    "info nothing.faiss": "no index file at nothing.faiss",
}


@pytest.mark.parametrize("words", REFUSED)
def test_refused_in_one_line_and_nothing_is_left(words, place, capsys):
    load("own.safetensors")
    transfer.write_codes(load("own.safetensors"), "there.faiss")
    for name, kind in (("cut.faiss", "hnsw"), ("cut.usearch", None), ("cut.parquet", None)):
        if name.split(".")[1] in words:
            transfer.write_codes(load("own.safetensors"), name, kind=kind)
            content = (place / name).read_bytes()
            (place / name).write_bytes(content[: len(content) // 2])
    before = names(place)
    assert run(["index", *words.split()]) == 2
    said = capsys.readouterr()
    assert REFUSED[words] in said.err
    assert len(said.err.splitlines()) == 1
    assert said.out == ""
    assert set(names(place)) - set(before) <= {"base"}  # a database without a table


@pytest.mark.parametrize("target", ["a.safetensors", "a.faiss", "a.usearch", "a.parquet", "folder", "lance:base#t"])
def test_what_fails_midway_leaves_what_was_there(target, place):
    class Broken:
        bits = 64

        def __len__(self):
            return 300

        def batches(self, size=1):
            yield np.arange(5), np.zeros((5, 8), np.uint8)
            raise OSError("the disk is gone")

    index = made(64, 20)
    transfer.write_codes(index, target)
    before = names(place)
    for overwrite in (False, True):
        with pytest.raises((OSError, ValueError)):
            transfer.write_codes(Broken(), target, overwrite=overwrite)
        assert_same(whole(transfer.open_codes(target)), index)
    assert names(place) == before


def test_a_password_is_not_shown():
    assert transfer.shown("postgresql://me:secret@host/db#t") == "postgresql://me:***@host/db#t"
    assert transfer.shown("lance:folder#t") == "lance:folder#t"


@pytest.mark.parametrize(
    ("address", "want"),
    [
        ("postgresql://host/db?password=secret#t", "postgresql://host/db?password=***#t"),
        ("postgresql://me:secret@host/db?password=secret#t", "postgresql://me:***@host/db?password=***#t"),
        ("postgresql://h:5/db?a=1&password=s@cr#t&host=b#t", "postgresql://h:5/db?a=1&password=***&host=b#t"),
        ("postgresql://h/db?pass%77ord=secret&sslpassword=secret", "postgresql://h/db?pass%77ord=***&sslpassword=***"),
        ("postgresql://me@h:5/db?host=b#t", "postgresql://me@h:5/db?host=b#t"),
    ],
)
def test_a_password_in_the_parameters_is_not_shown(address, want):
    assert transfer.shown(address) == want


@pytest.mark.parametrize(
    ("target", "kind", "module"),
    [("a.faiss", "hnsw", "faiss"), ("a.usearch", None, "usearch"), ("a.faiss", "flat", "")],
)
def test_a_full_disk_is_an_oserror_and_leaves_what_was_there(target, kind, module, place):
    resource = pytest.importorskip("resource")
    if module:
        pytest.importorskip(module)
    transfer.write_codes(made(64, 20), target, kind=kind)
    before, content = names(place), (place / target).read_bytes()
    index, limits = made(64, 3000), resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16384, limits[1]))
    try:
        with pytest.raises(OSError):
            transfer.write_codes(index, target, kind=kind, overwrite=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert names(place) == before
    assert (place / target).read_bytes() == content


def test_an_exported_index_answers_as_its_source(place):
    faiss = pytest.importorskip("faiss")
    index, queries = load("own.safetensors"), queries_of(load("own.safetensors"))
    transfer.write_codes(index, "a.faiss")
    found, _ = faiss.read_index_binary("a.faiss").search(queries, 10)
    np.testing.assert_array_equal(found, index.search(queries, 10)[0])


def test_modules_are_imported_at_their_first_use():
    code = (
        "import sys, fasthash.interop.transfer, fasthash.interop as i; i.faiss, i.usearch, i.lance, i.arrow;"
        "i.sentence_transformers;"
        "names = ('faiss', 'usearch', 'lancedb', 'pyarrow', 'sentence_transformers', 'torch', 'psycopg');"
        "print([name for name in names if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
