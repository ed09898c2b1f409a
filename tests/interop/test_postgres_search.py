"""Answers of PostgreSQL, with pgvector and without, are those of BinaryIndex; an HNSW index may miss codes."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from interop_indexes import FEW, LENGTHS, indexes, made, queries_of

from fasthash.interop import postgres
from fasthash.search import BinaryIndex


def assert_answers(got, want):
    for mine, theirs in zip(got, want, strict=True):
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)


@FEW
@given(index=indexes(least=1), k=st.integers(1, 70), extension=st.sampled_from(["vector", "none", None]))
def test_search(index, k, extension, connection):
    queries = np.concatenate([queries_of(index), index.codes[:2]])
    postgres.write(index, connection, "codes", mode="overwrite")
    found = postgres.search(connection, "codes", queries, k, extension=extension)
    assert_answers(found, index.search(queries, k))


@pytest.mark.parametrize("extension", ["vector", "none"])
@pytest.mark.parametrize("bits", LENGTHS)
def test_range_search(bits, extension, connection):
    index = made(bits, 60)
    queries = np.concatenate([queries_of(index), index.codes[:2]])
    postgres.write(index, connection, "codes")
    nearest = int(index.search(queries[:1], 1)[0][0, 0])
    for radius in (0, nearest, nearest + 1, bits, 10**12):  # the very radius of a code: it is in
        found = postgres.range_search(connection, "codes", queries, radius, extension=extension)
        assert_answers(found, index.range_search(queries, radius))
        assert radius < nearest or found[0][1] > 0


def test_without_pgvector(plain):
    index = made(65, 300)
    postgres.write(index, plain, "codes")
    queries = queries_of(index)
    assert_answers(postgres.search(plain, "codes", queries, 9), index.search(queries, 9))
    assert_answers(postgres.range_search(plain, "codes", queries, 30), index.range_search(queries, 30))
    for asked in ({"extension": "vector"}, {"exact": False}):
        with pytest.raises(RuntimeError, match="postgres.search: the database has no pgvector: run CREATE EXTENSION"):
            postgres.search(plain, "codes", queries, 9, **asked)
    with pytest.raises(RuntimeError, match="postgres.create_index: the database has no pgvector"):
        postgres.create_index(plain, "codes", postgres.HNSW())
    with pytest.raises(RuntimeError, match="postgres.write: the database has no pgvector"):
        postgres.write(index, plain, "other", approximate=postgres.IVFFlat())
    with pytest.raises(ValueError, match="no table other"):  # nothing of it is left
        postgres.read(plain, "other")


def test_pgvector_in_another_schema(connection):
    index = made(64, 100)
    connection.execute('CREATE SCHEMA "50%s off"; ALTER EXTENSION vector SET SCHEMA "50%s off"')
    postgres.write(index, connection, "codes", approximate=postgres.HNSW())
    for asked in ({}, {"extension": "vector"}, {"exact": False}):
        found = postgres.search(connection, "codes", index.codes[:4], 1, **asked)
        assert (found[0] == 0).all()
    lims, _, _ = postgres.range_search(connection, "codes", index.codes[:4], 64)
    assert lims.tolist() == [0, 100, 200, 300, 400]


def clustered(bits, count, seed=0):
    """Codes a few flipped bits away from centres, with random ids; queries likewise."""
    rng = np.random.default_rng(seed)
    centres = rng.random((count // 50, bits)) < 0.5
    flipped = rng.random((count + 40, bits)) < 0.1
    signs = centres[rng.integers(0, len(centres), len(flipped))] ^ flipped
    index = BinaryIndex(bits)
    index.add(np.packbits(signs[:count], axis=1), rng.choice(2**40, count, replace=False))
    return index, np.packbits(signs[count:], axis=1)


def plan(connection, order):
    """What the server does for the 10 nearest."""
    query = f"SELECT id FROM codes ORDER BY {order} LIMIT 10"
    return " ".join(line for (line,) in connection.execute(f"EXPLAIN {query}"))


def test_hnsw(connection):
    index, queries = clustered(64, 3000)
    postgres.write(index, connection, "codes", approximate=postgres.HNSW(m=8, ef_construction=40))
    (made_as,) = connection.execute("SELECT indexdef FROM pg_indexes WHERE indexdef LIKE '%hnsw%'").fetchone()
    assert "USING hnsw (code bit_hamming_ops) WITH (m='8', ef_construction='40')" in made_as
    want = index.search(queries, 10)
    connection.execute("SET enable_seqscan = off")  # the table is small
    try:
        found = postgres.search(connection, "codes", queries, 10, exact=False, ef_search=200)
        least = postgres.search(connection, "codes", queries, 10, exact=False, ef_search=10)
        exact = postgres.search(connection, "codes", queries, 10)
        # the operator with a second key still goes through the graph, sorted afterwards: no exact search
        both = plan(connection, "code <~> repeat('01', 32)::bit(64), id")
        alone = plan(connection, "hamming_distance(code, repeat('01', 32)::bit(64)), id")
    finally:
        connection.execute("RESET enable_seqscan")
    assert_answers(exact, want)
    assert "Incremental Sort" in both
    assert "_code_idx" in both
    assert "_code_idx" not in alone
    assert (found[0] <= want[0][:, -1:]).mean() > 0.9  # whichever of equal ones; 1.0 as a rule
    for distances, ids in (found, least):
        order = np.lexsort((ids, distances))
        np.testing.assert_array_equal(order, np.arange(10) + np.zeros_like(order))
        rows = np.searchsorted(index.ids, ids)
        pairs = np.unpackbits(index.codes[rows] ^ queries[:, None], axis=2).sum(axis=2)
        np.testing.assert_array_equal(distances, pairs)


def test_a_poor_graph_misses_codes(connection):
    index, queries = made(64, 3000), queries_of(made(64, 1), 100)
    postgres.write(index, connection, "codes", approximate=postgres.HNSW(m=2, ef_construction=4))
    connection.execute("SET enable_seqscan = off; SET hnsw.ef_search = 1")
    try:
        found = postgres.search(connection, "codes", queries, 1, exact=False)
        exact = postgres.search(connection, "codes", queries, 1)
    finally:
        connection.execute("RESET enable_seqscan; RESET hnsw.ef_search")
    want = index.search(queries, 1)
    assert_answers(exact, want)
    assert (found[0] > want[0]).any()


def test_ivfflat(connection):
    index, queries = clustered(64, 3000)
    postgres.write(index, connection, "codes")
    postgres.create_index(connection, "codes", postgres.IVFFlat(lists=7))
    connection.execute("SET enable_seqscan = off")
    try:
        few = postgres.search(connection, "codes", queries, 2000, exact=False, probes=1)
        every = postgres.search(connection, "codes", queries, 10, exact=False, probes=7)
    finally:
        connection.execute("RESET enable_seqscan")
    assert (few[1] == -1).any()  # one list has fewer
    assert ((few[0] == 2147483647) == (few[1] == -1)).all()
    np.testing.assert_array_equal(every[0], index.search(queries, 10)[0])  # ties at the last distance are its choice
    assert connection.execute("SHOW ivfflat.probes").fetchone() == ("1",)  # the setting was for this search
    (rest,) = connection.execute("SELECT count(*) FROM pg_indexes WHERE indexdef LIKE '%(lists=''7'')%'").fetchone()
    assert rest == 1


def test_settings_of_the_connection_are_kept(connection):
    index, queries = clustered(64, 400)
    postgres.write(index, connection, "codes", approximate=postgres.HNSW())
    connection.execute("SET hnsw.ef_search = 77")
    try:
        postgres.search(connection, "codes", queries, 200, exact=False)
        assert connection.execute("SHOW hnsw.ef_search").fetchone() == ("77",)
    finally:
        connection.execute("RESET hnsw.ef_search")


def test_lists_that_suit_the_rows():
    sizes = (0, 999, 5000, 1_000_000, 4_000_000, 10**12)
    assert [postgres.IVFFlat().for_rows(n) for n in sizes] == [1, 1, 5, 1000, 2000, 32768]
    assert postgres.IVFFlat(3).for_rows(10**6) == 3


def test_torch_queries(connection):
    index = made(64, 30)
    postgres.write(index, connection, "codes")
    found = postgres.search(connection, "codes", torch.from_numpy(np.array(index.codes[:3])), 2)
    assert [x.dtype for x in found] == [torch.int32, torch.int64]
    assert_answers([x.numpy() for x in found], index.search(index.codes[:3], 2))


def test_an_empty_table_has_no_hits(connection):
    postgres.write(made(9, 0), connection, "codes", approximate=postgres.HNSW())
    queries = np.zeros((300, 2), np.uint8)  # more than are sent at once
    for exact in (True, False):
        distances, ids = postgres.search(connection, "codes", queries, 2, exact=exact)
        assert (distances == 2147483647).all()
        assert (ids == -1).all()
        assert ids.shape == (300, 2)
    lims, distances, ids = postgres.range_search(connection, "codes", queries, 9)
    assert (lims.tolist(), len(distances), len(ids)) == ([0] * 301, 0, 0)


def test_many_queries(connection):
    index = made(16, 100)
    queries = queries_of(index, 600)
    postgres.write(index, connection, "codes")
    assert_answers(postgres.search(connection, "codes", queries, 3), index.search(queries, 3))
    assert_answers(postgres.range_search(connection, "codes", queries, 4), index.range_search(queries, 4))
