"""The lines on docs/interop.md about PostgreSQL run as they stand."""

import re
from pathlib import Path

import numpy as np
from interop_indexes import assert_same, made, queries_of

from fasthash.interop import postgres

PAGE = Path(__file__).parents[2] / "docs" / "interop.md"


def blocks(language):
    section = re.search(r"^## PostgreSQL\n(.*?)^## ", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    assert section, "docs/interop.md has no section PostgreSQL"
    return re.findall(rf"```{language}\n(.*?)```", section[1], re.S)


def test_the_lines_run(connection, postgres_server):
    index, more = made(64, 900, sparse=False), made(64, 900)
    names = {"index": index, "more": more, "queries": queries_of(index), "dsn": postgres_server.conninfo()}
    first, second = blocks("python")
    exec(compile(first, "docs/interop.md, PostgreSQL", "exec"), names)
    both = made(64, 900, sparse=False)
    both.add(more.codes, more.ids)
    assert_same(names["again"], both)
    for name, want in zip(("lims", "D", "I"), both.range_search(names["queries"], 12), strict=True):
        np.testing.assert_array_equal(names[name], want)
    exec(compile(second, "docs/interop.md, PostgreSQL", "exec"), names)
    assert names["D"].shape == (5, 10)


def test_the_statements_answer(connection):
    index = made(64, 900, sparse=False)
    postgres.write(index, connection, "codes")
    query = np.packbits(np.tile([0, 1], 32))[None]
    near, ids = index.search(query, 10)
    _, _, within = index.range_search(query, 12)
    answers = []
    for block in blocks("sql"):
        for statement in block.split(";"):
            if statement.strip():
                answer = connection.execute(statement)
                if answer.description:
                    answers.append(answer.fetchall())
    through_graph, by_function, by_count, in_radius = answers
    connection.execute("RESET hnsw.ef_search")
    assert [distance for _, distance in through_graph] == sorted(distance for _, distance in through_graph)
    assert by_function == by_count == list(zip(ids[0].tolist(), near[0].tolist(), strict=True))
    assert [row[0] for row in in_radius] == sorted(within.tolist())
