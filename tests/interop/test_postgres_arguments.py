"""Arguments, connections and servers that PostgreSQL's functions cannot work with are one line."""

import numpy as np
import psycopg
import pytest
from interop_indexes import made, without

from fasthash.interop import _postgres_copy as copying
from fasthash.interop import _postgres_queries as queries_of
from fasthash.interop import postgres
from fasthash.interop._postgres_connection import transaction


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("a.b.c", "table must be 'table' or 'schema.table', got 'a.b.c'"),
        ("", "table must be a name of 1 to 63 bytes, got ''"),
        ("public.", "table must be a name of 1 to 63 bytes, got ''"),
        ("ä" * 32, "table must be a name of 1 to 63 bytes"),
        ("a\0b", "table must be a name of 1 to 63 bytes"),
        (5, "table must be a name, got int"),
        ("gone", "there is no table gone"),
        ("nowhere.codes", "there is no table nowhere.codes"),
    ],
)
def test_names_that_are_none(table, message, connection):
    with pytest.raises((ValueError, TypeError), match=message):
        postgres.read(connection, table)


def test_schema_that_is_not_there(connection):
    with pytest.raises(ValueError, match='postgres.write: schema "nowhere" does not exist'):
        postgres.write(made(9, 3), connection, "nowhere.codes")
    with pytest.raises(ValueError, match="postgres.write: id_column and column must be two, got 'x' for both"):
        postgres.write(made(9, 3), connection, "codes", id_column="x", column="x")


def test_connections_that_are_none(tmp_path):
    for call in (
        lambda given: postgres.write(made(9, 3), given, "codes"),
        lambda given: postgres.read(given, "codes"),
    ):
        with pytest.raises(RuntimeError, match="cannot connect: ") as caught:
            call(f"host={tmp_path} password=secret")
        assert "\n" not in str(caught.value)
        assert "secret" not in str(caught.value)
        with pytest.raises(ValueError, match="connection is no valid conninfo string or URI") as caught:
            call("postgresql://me:secret%zz@nowhere/codes")
        assert "secret" not in str(caught.value)
        with pytest.raises(TypeError, match="must be a psycopg.Connection or a conninfo string, got builtins.int"):
            call(5)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"k": 0}, "k must be a whole number"),
        ({"ef_search": 50}, "ef_search and probes are for exact=False"),
        ({"extension": "pg_trgm"}, "extension must be 'vector', 'none' or None, got 'pg_trgm'"),
        ({"exact": False, "extension": "none"}, "extension is for exact=True, got 'none'"),
        ({"exact": False, "ef_search": 4}, "ef_search must be a whole number from 5 to 1000, got 4"),
        ({"exact": False, "k": 1001}, "k must be a whole number from 1 to 1000, got 1001"),
        ({"exact": False, "probes": 2}, "probes is for an IVFFlat index, table codes has HNSW: give ef_search"),
        ({"exact": False, "table": "lists", "ef_search": 9}, "ef_search is for an HNSW index, table lists has IVFFlat"),
        ({"exact": False, "table": "lists", "probes": 0}, "probes must be a whole number from 1 to 32768, got 0"),
        ({"exact": False, "table": "bare"}, "table bare has no HNSW or IVFFlat index of bit_hamming_ops"),
        ({"queries": np.zeros((0, 8), np.uint8)}, "queries must have at least one row"),
    ],
)
def test_searches_that_are_none(asked, message, connection):
    index = made(64, 9)
    postgres.write(index, connection, "codes", approximate=postgres.HNSW())
    postgres.write(index, connection, "lists", approximate=postgres.IVFFlat())
    postgres.write(index, connection, "bare")
    connection.execute("CREATE INDEX ON bare USING hnsw (code bit_jaccard_ops)")
    asked = {"table": "codes", "queries": index.codes[:1], "k": 5} | asked
    with pytest.raises(ValueError) as caught:
        postgres.search(connection, **asked)
    assert message in str(caught.value)


def test_arguments_of_writing(connection):
    for options, message in (
        ({"mode": "replace"}, "mode must be one of create, append, overwrite, got 'replace'"),
        ({"approximate": "hnsw"}, r"approximate must be HNSW\(...\) or IVFFlat\(...\), got str"),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            postgres.write(made(9, 3), connection, "codes", **options)
    with pytest.raises(ValueError, match="bits is needed with an iterable"):
        postgres.write([], connection, "codes")
    with pytest.raises(TypeError, match="rows must be an index or an iterable of .ids, packed., got int"):
        postgres.write(5, connection, "codes")
    with pytest.raises(TypeError, match="approximate must be HNSW"):
        postgres.create_index(connection, "codes", None)
    for made_wrong, message in (
        (lambda: postgres.HNSW(m=1), "HNSW: m must be a whole number from 2 to 100, got 1"),
        (lambda: postgres.HNSW(m=50, ef_construction=64), "HNSW: ef_construction must be a whole number from 100"),
        (lambda: postgres.IVFFlat(0), "IVFFlat: lists must be a whole number from 1 to 32768, got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            made_wrong()
    assert connection.execute("SELECT FROM pg_tables WHERE schemaname = 'public'").fetchall() == []


def test_older_servers_and_extensions(connection, monkeypatch):
    postgres.write(made(9, 3), connection, "codes")
    connection.execute("UPDATE pg_extension SET extversion = '0.6.2' WHERE extname = 'vector'")
    try:
        with pytest.raises(RuntimeError, match=r"pgvector 0.6.2 has no Hamming distance of bits: update it to 0.7"):
            postgres.search(connection, "codes", np.zeros((1, 2), np.uint8), 1, extension="vector")
        distances, _ = postgres.search(connection, "codes", np.zeros((1, 2), np.uint8), 1)  # by bit_count
        assert distances[0, 0] <= 9
    finally:
        connection.execute("UPDATE pg_extension SET extversion = '0.8.2' WHERE extname = 'vector'")
    monkeypatch.setattr(queries_of, "_WITH_COUNT", 990000)
    with pytest.raises(RuntimeError, match=r"PostgreSQL \d+ without pgvector counts no bits: 14 or later does"):
        postgres.range_search(connection, "codes", np.zeros((1, 2), np.uint8), 1, extension="none")


def test_without_psycopg(monkeypatch):
    without(monkeypatch, "psycopg")
    with pytest.raises(
        RuntimeError, match=r"postgres.read needs the package psycopg: pip install 'fasthash\[postgres\]'"
    ):
        postgres.read("host=nowhere", "codes")


def test_stream_of_copy():
    index = made(65, 50)
    whole = copying.HEADER + copying.sent(index.ids, index.codes, 65) + copying.TRAILER
    for cut in (1, 7, 36, 1000, len(whole)):  # wherever the server cuts it
        blocks = [whole[at : at + cut] for at in range(0, len(whole), cut)]
        parts = list(copying.received(blocks, 65, 8, "read"))
        assert max(len(ids) for ids, _ in parts) <= 8
        np.testing.assert_array_equal(np.concatenate([ids for ids, _ in parts]), index.ids)
        np.testing.assert_array_equal(np.concatenate([codes for _, codes in parts]), index.codes)
    for damaged in (b"", whole[:30], whole[:-1], whole[:-3] + copying.TRAILER):
        with pytest.raises(RuntimeError, match="read: the rows that PostgreSQL sent end too early"):
            list(copying.received([damaged], 65, 8, "read"))
    with pytest.raises(RuntimeError, match="read: PostgreSQL sent rows that are no codes of 66 bits"):
        list(copying.received([whole], 66, 8, "read"))


def test_a_transaction_that_failed_before(postgres_server):
    with psycopg.connect(postgres_server.conninfo()) as own:
        with pytest.raises(psycopg.errors.UndefinedTable):
            own.execute("SELECT * FROM gone")
        with pytest.raises(RuntimeError, match="postgres.read: "):
            postgres.read(own, "codes")
        own.rollback()
        with transaction(own, "test") as cursor:
            assert cursor.execute("SELECT 1").fetchone() == (1,)
