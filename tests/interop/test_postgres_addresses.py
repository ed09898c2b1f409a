"""Tables as addresses: on the command line, without showing a password."""

import json

import pytest
from interop_indexes import assert_same, made

from fasthash.cli._run import run
from fasthash.interop import postgres
from fasthash.search import load


@pytest.fixture
def address(connection, postgres_server):
    return f"postgresql://postgres:secret@/postgres?{postgres_server.conninfo().split()[0]}"


def test_there_and_back(address, connection, tmp_path, capsys):
    index = made(65, 100)
    index.save(tmp_path / "codes.safetensors")
    for kind, method in (("flat", None), ("hnsw", "hnsw"), ("ivf", "ivfflat")):
        target = f"{address}#public.{kind}_codes"
        assert run(["index", "export", str(tmp_path / "codes.safetensors"), target, "--kind", kind, "--json"]) == 0
        shown = capsys.readouterr().out
        assert "secret" not in shown
        assert (json.loads(shown)["codes"], json.loads(shown)["bits"]) == (100, 65)
        assert_same(postgres.read(connection, f"{kind}_codes"), index)
        definitions = connection.execute("SELECT indexdef FROM pg_indexes WHERE tablename = %s", (f"{kind}_codes",))
        assert sum(f"USING {method}" in definition for (definition,) in definitions) == (method is not None)
    assert run(["index", "import", f"{address}#flat_codes", str(tmp_path / "back.safetensors")]) == 0
    assert_same(load(tmp_path / "back.safetensors"), index)
    assert "secret" not in capsys.readouterr().out


def test_a_table_that_is_there(address, tmp_path, capsys):
    made(65, 100).save(tmp_path / "old.safetensors")
    made(9, 10).save(tmp_path / "new.safetensors")
    target = f"{address}#codes"
    assert run(["index", "export", str(tmp_path / "old.safetensors"), target]) == 0
    assert run(["index", "export", str(tmp_path / "new.safetensors"), target]) == 2
    said = capsys.readouterr().err
    assert "table codes is there already" in said
    assert "secret" not in said
    assert run(["index", "export", str(tmp_path / "new.safetensors"), target, "--overwrite"]) == 0
    assert run(["index", "info", target, "--json"]) == 0
    shown = capsys.readouterr().out
    assert "secret" not in shown
    assert '"bits": 9' in shown


def test_no_table(address, capsys):
    for asked, message in ((f"{address}#gone", "there is no table gone"), (address, "#TABLE")):
        assert run(["index", "info", asked]) == 2
        said = capsys.readouterr().err
        assert message in said
        assert "secret" not in said
