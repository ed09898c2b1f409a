"""Tables of PostgreSQL keep every bit and id, also those that others made; a write is whole or not at all."""

import json

import numpy as np
import psycopg
import pytest
from hypothesis import given
from interop_indexes import FEW, LENGTHS, assert_same, indexes, made

from fasthash.interop import postgres
from fasthash.search import BinaryIndex, MultiIndex, load, storage, write_shards


@FEW
@given(index=indexes())
def test_round_trip(index, connection, new_table):
    table = new_table()
    assert postgres.write(index, connection, table) == len(index)
    assert_same(postgres.read(connection, table), index)
    connection.execute(f"DROP TABLE {table}")


@pytest.mark.parametrize("bits", LENGTHS)
def test_first_bit_is_the_first_character(bits, connection):
    index = made(bits, 20)
    postgres.write(index, connection, "codes")
    want = ["".join(map(str, row)) for row in np.unpackbits(index.codes, axis=1, count=bits)]
    found = connection.execute("SELECT id, code::text, get_bit(code, 0) FROM codes ORDER BY id").fetchall()
    assert [row[:2] for row in found] == list(zip(index.ids.tolist(), want, strict=True))
    assert [row[2] for row in found] == (index.codes[:, 0] >> 7).tolist()
    # and from SQL of others
    connection.execute(f"CREATE TABLE theirs (id int, code bit({bits}))")
    connection.execute("INSERT INTO theirs SELECT row_number() OVER (ORDER BY id), code FROM codes")
    theirs = postgres.read(connection, "theirs")
    np.testing.assert_array_equal(theirs.codes, index.codes)
    np.testing.assert_array_equal(theirs.ids, np.arange(1, 21))


def test_table_says_what_index_files_say(connection):
    postgres.write(made(65, 3), connection, "codes")
    (comment,) = connection.execute("SELECT obj_description('codes'::regclass)").fetchone()
    assert json.loads(comment) == {"format": "fasthash.codes", "version": 1, "bits": 65, **storage._RULES}
    columns = connection.execute(
        "SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute"
        " WHERE attrelid = 'codes'::regclass AND attnum > 0"
    ).fetchall()
    assert columns == [("id", "bigint", True), ("code", "bit(65)", True)]
    (key,) = connection.execute(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'codes'::regclass AND contype = 'p'"
    ).fetchone()
    assert key == "PRIMARY KEY (id)"


def test_hundred_thousand_rows(connection, plain):
    index = made(64, 100_000)
    seen = []
    assert postgres.write(index, connection, "codes", progress=lambda *state: seen.append(state)) == 100_000
    assert seen[-1] == (100_000, 100_000)
    assert_same(postgres.read(connection, "codes", 64, progress=lambda *state: seen.append(state)), index)
    assert seen[-1] == (100_000, 100_000)
    stream = postgres.table_codes(connection, "codes")
    assert (stream.bits, len(stream)) == (64, 100_000)
    parts = list(stream.batches(30_000))
    assert max(len(ids) for ids, _ in parts) <= 30_000
    np.testing.assert_array_equal(np.concatenate([ids for ids, _ in parts]), index.ids)
    np.testing.assert_array_equal(np.concatenate([codes for _, codes in parts]), index.codes)
    # from one database to another
    assert postgres.write(stream, plain, "copied") == 100_000
    assert_same(postgres.read(plain, "copied"), index)


def test_from_shards_a_multi_index_and_a_stream(connection, tmp_path):
    index = made(72, 500)
    shards = write_shards(tmp_path / "shards", index.batches(), 72, rows_per_shard=120)
    multi = MultiIndex(72)
    multi.add(index.codes, index.ids)
    backwards = [(index.ids[i : i + 7][::-1], index.codes[i : i + 7][::-1]) for i in range(490, -1, -7)]
    for rows, bits in ((shards, None), (multi, 72), ([*backwards, (index.ids[497:], index.codes[497:])], 72)):
        postgres.write(rows, connection, "codes", bits=bits, mode="overwrite")
        assert_same(postgres.read(connection, "codes"), index)
    write_shards(tmp_path / "back", postgres.table_codes(connection, "codes").batches(99), 72)
    assert_same(load(tmp_path / "back").indexes[0], index)


def test_append(connection):
    first, second = made(64, 50, sparse=False), made(64, 10)
    with pytest.raises(ValueError, match="postgres.write: there is no table codes"):
        postgres.write(first, connection, "codes", mode="append")
    postgres.write(first, connection, "codes")
    late = BinaryIndex(64)
    late.add(second.codes, second.ids // 2 + 100)
    assert postgres.write(late, connection, "codes", mode="append") == 10
    both = BinaryIndex(64)
    both.add(np.concatenate([first.codes, late.codes]), np.concatenate([first.ids, late.ids]))
    assert_same(postgres.read(connection, "codes"), both)
    with pytest.raises(ValueError, match=r"postgres.write: duplicate key .*Key \(id\)=\(\d+\) already exists"):
        postgres.write(late, connection, "codes", mode="append")
    assert_same(postgres.read(connection, "codes"), both)


def test_overwrite(connection):
    old, new = made(64, 30), made(9, 20)
    postgres.write(old, connection, "codes")
    with pytest.raises(ValueError, match="postgres.write: table codes is there already; append or overwrite"):
        postgres.write(new, connection, "codes")
    with pytest.raises(ValueError, match="postgres.write: ids must not be negative, got -1"):
        postgres.write([(np.array([-1]), new.codes[:1])], connection, "codes", bits=9, mode="overwrite")
    assert_same(postgres.read(connection, "codes"), old)
    postgres.write(new, connection, "codes", mode="overwrite")
    assert_same(postgres.read(connection, "codes"), new)


def test_a_table_is_not_overwritten_by_its_own_rows(connection, postgres_server):
    index = made(64, 10)
    postgres.write(index, connection, "codes")
    for place in (connection, postgres_server.conninfo()):
        with pytest.raises(ValueError, match="rows are those of table codes itself, which 'overwrite' drops first"):
            postgres.write(postgres.table_codes(place, "codes"), place, "codes", mode="overwrite")
    assert_same(postgres.read(connection, "codes"), index)


def test_conninfo_and_transactions_of_others(connection, postgres_server):
    index = made(64, 10)
    postgres.write(index, postgres_server.conninfo(), "by_name")
    assert_same(postgres.read(postgres_server.conninfo(), "by_name"), index)
    uri = "postgresql://postgres@/postgres?" + postgres_server.conninfo().split()[0]
    assert_same(postgres.read(uri, "by_name"), index)
    with psycopg.connect(postgres_server.conninfo(), row_factory=psycopg.rows.dict_row) as other:
        postgres.write(index, other, "kept")  # in a transaction of its own: committed
        assert other.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        other.execute("SELECT 1")  # begins one of ours
        postgres.write(index, other, "undone")
        assert_same(postgres.read(other, "undone"), index)
        with pytest.raises(ValueError, match="no table gone"):
            postgres.read(other, "gone")
        assert_same(postgres.read(other, "undone"), index)  # still usable
        other.rollback()
    assert_same(postgres.read(connection, "kept"), index)
    with pytest.raises(ValueError, match="postgres.read: there is no table undone"):
        postgres.read(connection, "undone")


@pytest.mark.parametrize("name", ["Codes", 'a "quoted" one', "100%s %(x)s", "select", "; DROP TABLE x; --", "ÄÖ"])
def test_any_name(name, connection):
    index = made(9, 20)
    connection.execute('CREATE SCHEMA "My Schema"')
    for table in (name, f"My Schema.{name}"):
        postgres.write(index, connection, table, id_column=f"{name}.id", column=name, approximate=postgres.IVFFlat())
        assert_same(postgres.read(connection, table, id_column=f"{name}.id", column=name), index)
        for exact in (True, False):
            found = postgres.search(
                connection, table, index.codes[:3], 20, exact=exact, id_column=f"{name}.id", column=name
            )
            np.testing.assert_array_equal(found, index.search(index.codes[:3], 20))
    (tables,) = connection.execute(
        "SELECT count(*) FROM pg_class WHERE relname = %s AND relkind = 'r'", (name,)
    ).fetchone()
    assert tables == 2


def test_tables_of_others(connection):
    index = made(12, 30, sparse=False)
    postgres.write(index, connection, "codes")
    connection.execute("COMMENT ON TABLE codes IS 'nearest neighbours of cats'")
    connection.execute("CREATE TABLE parts (id bigint PRIMARY KEY, code bit(12), name text) PARTITION BY HASH (id)")
    connection.execute("CREATE TABLE part_0 PARTITION OF parts FOR VALUES WITH (MODULUS 2, REMAINDER 0)")
    connection.execute("CREATE TABLE part_1 PARTITION OF parts FOR VALUES WITH (MODULUS 2, REMAINDER 1)")
    postgres.write(index, connection, "parts", mode="append")
    connection.execute("INSERT INTO parts VALUES (99, NULL, 'no code')")
    connection.execute("CREATE VIEW seen AS SELECT id::smallint AS number, code AS bits FROM parts WHERE name IS NULL")
    assert_same(postgres.read(connection, "codes"), index)
    assert_same(postgres.read(connection, "parts"), index)
    assert_same(postgres.read(connection, "seen", id_column="number", column="bits"), index)
    assert len(postgres.table_codes(connection, "parts")) == 30
    connection.execute("COMMENT ON TABLE parts IS '[1]'")
    D, ids = postgres.search(connection, "parts", index.codes[:1], 31)
    assert (D[0, 30], ids[0, 30]) == (2147483647, -1)


def test_an_iteration_given_up_leaves_the_connection_usable(connection):
    postgres.write(made(64, 10_000), connection, "codes")
    rows = postgres.table_codes(connection, "codes").batches(10)
    assert len(next(rows)[0]) == 10
    rows.close()
    assert len(postgres.table_codes(connection, "codes")) == 10_000
