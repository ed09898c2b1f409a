"""What goes wrong with tables of PostgreSQL is one line, and leaves a database as it was."""

import numpy as np
import psycopg
import pytest
from interop_indexes import assert_same, made

from fasthash.interop import postgres

CODES = np.zeros((2, 8), np.uint8)


def tables(connection):
    return [name for (name,) in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([(np.array([3, 3]), CODES)], r"could not create unique index .*Key \(id\)=\(3\) is duplicated"),
        ([(np.array([3, -4]), CODES)], "ids must not be negative, got -4"),
        ([(np.array([3, 2**63], np.uint64), CODES)], "ids must fit int64, got 9223372036854775808"),
        ([(np.array([3]), CODES)], "ids must be int64 [2] like packed"),
        ([(np.array([3, 4]), CODES[:, :7])], "packed must be [n, 8] for 60 bits, got shape (2, 7)"),
        ([(np.array([3, 4]), CODES + 1)], "packed row 0 has a non-zero padding bit after bit 60"),
        ([CODES], "rows must be an iterable of (ids, packed), it gave ndarray"),
    ],
)
def test_rows_that_are_none(rows, message, connection):
    good = (np.arange(100, 102), CODES)
    with pytest.raises((ValueError, TypeError)) as caught:
        postgres.write([good, *rows], connection, "codes", bits=60)
    assert str(caught.value).startswith("postgres.write: ")
    if ".*" in message:
        assert caught.match(message)
    else:
        assert message in str(caught.value)
    assert tables(connection) == []


def test_rows_that_break_off(connection):
    def rows():
        yield np.arange(2), CODES
        raise KeyboardInterrupt

    index = made(64, 5)
    postgres.write(index, connection, "codes")
    for mode in ("append", "overwrite"):
        with pytest.raises(KeyboardInterrupt):
            postgres.write(rows(), connection, "codes", bits=64, mode=mode)
    assert_same(postgres.read(connection, "codes"), index)
    assert tables(connection) == ["codes"]


@pytest.mark.parametrize("mode", ["create", "append", "overwrite"])
def test_connection_lost_midway(mode, connection, postgres_server):
    index = made(64, 5)
    if mode != "create":
        postgres.write(index, connection, "codes")
    own = psycopg.connect(postgres_server.conninfo())

    def rows():
        yield np.arange(2**40, 2**40 + 2), CODES
        connection.execute("SELECT pg_terminate_backend(%s, 60000)", (own.info.backend_pid,))
        for i in range(100):  # what is sent to nobody shows after a while
            yield np.arange(i * 50_000, (i + 1) * 50_000), np.zeros((50_000, 8), np.uint8)

    with pytest.raises(RuntimeError, match="postgres.write: .*terminating connection|closed") as caught:
        postgres.write(rows(), own, "codes", bits=64, mode=mode)
    assert "\n" not in str(caught.value)
    with pytest.raises(RuntimeError, match="postgres.read: the connection is (lost|closed)"):
        postgres.read(own, "codes")
    if mode == "create":
        assert tables(connection) == []
    else:
        assert_same(postgres.read(connection, "codes"), index)


def test_one_connection_for_reading_and_writing_at_once(connection):
    index = made(64, 5)
    postgres.write(index, connection, "codes")
    with pytest.raises(RuntimeError, match="TableCodes.batches: the connection is in the middle of another COPY"):
        postgres.write(postgres.table_codes(connection, "codes"), connection, "copied")
    assert_same(postgres.read(connection, "codes"), index)
    assert tables(connection) == ["codes"]


def test_other_length(connection):
    postgres.write(made(64, 5), connection, "codes")
    with pytest.raises(ValueError, match="postgres.write: table codes holds codes of 64 bits, expected 60"):
        postgres.write(made(60, 5), connection, "codes", mode="append")
    with pytest.raises(ValueError, match="postgres.read: table codes holds codes of 64 bits, expected 65"):
        postgres.read(connection, "codes", 65)
    with pytest.raises(ValueError, match=r"postgres.search: queries must be \[n, 8\] for 64 bits, got shape \(1, 9\)"):
        postgres.search(connection, "codes", np.zeros((1, 9), np.uint8), 1)
    with pytest.raises(ValueError, match="postgres.write: bits must be 60 as of the rows, got 64"):
        postgres.write(made(60, 5), connection, "codes", bits=64, mode="append")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("id bigint, name text", "table codes must have a column 'code', it has id, name"),
        ("id text, code bit(8)", "column 'id' of table codes must be smallint/integer/bigint, got text"),
        ("id bigint, code bytea", "column 'code' of table codes must be bit(1) to bit(4096), got bytea"),
        ("id bigint, code bit varying(8)", "must be bit(1) to bit(4096), got bit varying(8)"),
        ("id bigint, code bit(64001)", "must be bit(1) to bit(4096), got bit(64001)"),
    ],
)
def test_tables_of_other_columns(columns, message, connection):
    connection.execute(f"CREATE TABLE codes ({columns})")
    for call in (postgres.read, postgres.table_codes):
        with pytest.raises(ValueError) as caught:
            call(connection, "codes")
        assert message in str(caught.value)


def test_tables_that_cannot_be_appended_to(connection):
    connection.execute(
        "CREATE TABLE loose (id bigint, code bit(9)); CREATE TABLE short (id int PRIMARY KEY, code bit(9))"
    )
    connection.execute("CREATE UNIQUE INDEX ON loose (id) WHERE id > 5")
    for name, message in (
        ("loose", "table loose has no unique index on id: an id could be there twice"),
        ("short", "column 'id' of table short must be bigint for this, got integer"),
    ):
        with pytest.raises(ValueError, match=f"postgres.write: {message}"):
            postgres.write(made(9, 3), connection, name, mode="append")
    connection.execute("CREATE UNIQUE INDEX ON loose (id)")
    assert postgres.write(made(9, 3), connection, "loose", mode="append") == 3


@pytest.mark.parametrize(
    ("comment", "message"),
    [
        ('{"format": "fasthash.codes", "version": 2, "bits": 9}', "version 2, this fasthash reads up to 1"),
        ('{"format": "fasthash.codes", "version": 1}', "damaged"),
        ('{"format": "fasthash.codes", "version": 1, "bits": 9, "bit_order": "least"}', "bit_order"),
    ],
)
def test_comment_of_other_rules(comment, message, connection):
    postgres.write(made(9, 3), connection, "codes")
    connection.execute(psycopg.sql.SQL("COMMENT ON TABLE codes IS {}").format(comment))
    with pytest.raises(ValueError, match=f"postgres.read: .*the comment of table codes.*{message}") as caught:
        postgres.read(connection, "codes")
    assert "\n" not in str(caught.value)


def test_comment_of_another_length(connection):
    postgres.write(made(9, 3), connection, "codes")
    connection.execute("ALTER TABLE codes ALTER COLUMN code TYPE bit(12) USING (code || B'000')::bit(12)")
    with pytest.raises(ValueError, match="the comment of table codes says codes of 9 bits, the column holds 12"):
        postgres.search(connection, "codes", np.zeros((1, 2), np.uint8), 1)


def test_ids_of_others(connection):
    connection.execute("CREATE TABLE codes (id bigint, code bit(8)); INSERT INTO codes VALUES (5, B'00000000')")
    connection.execute("INSERT INTO codes VALUES (5, B'00000001')")
    with pytest.raises(ValueError, match="postgres.read: id 5 is twice in ids"):
        postgres.read(connection, "codes")
    connection.execute("UPDATE codes SET id = -1")
    with pytest.raises(ValueError, match="postgres.read: ids must not be negative, got -1"):
        postgres.read(connection, "codes")


def test_missing_privileges(connection, postgres_server):
    postgres.write(made(9, 3), connection, "codes")
    connection.execute("CREATE ROLE reader LOGIN; GRANT USAGE ON SCHEMA public TO reader")
    try:
        conninfo = postgres_server.conninfo(user="reader")
        for call in (
            lambda: postgres.write(made(9, 3), conninfo, "mine"),
            lambda: postgres.read(conninfo, "codes"),
            lambda: postgres.search(conninfo, "codes", np.zeros((1, 2), np.uint8), 1),
            lambda: postgres.write(made(9, 3), conninfo, "codes", mode="append"),
            lambda: postgres.create_index(conninfo, "codes", postgres.HNSW()),
        ):
            with pytest.raises(RuntimeError, match=r"postgres\.\w+: (permission denied|must be owner)") as caught:
                call()
            assert "\n" not in str(caught.value)
    finally:
        connection.execute("DROP OWNED BY reader; DROP ROLE reader")


def test_index_that_cannot_be_built_leaves_no_table(connection):
    connection.execute("SET maintenance_work_mem = '1MB'")
    try:
        with pytest.raises(RuntimeError, match="postgres.write: .*memory required is"):
            postgres.write(made(4096, 300), connection, "codes", approximate=postgres.IVFFlat(lists=2000))
    finally:
        connection.execute("RESET maintenance_work_mem")
    assert tables(connection) == []
