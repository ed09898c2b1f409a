"""Searches on the page of a comparison come from the codes of its cells."""

from fasthash import data, search
from fasthash.compare import curves, run_compare
from fasthash.report.comparison_searches import HITS


def test_searches_are_answered_by_the_codes_kept(make_plan, in_process, tmp_path):
    rows = [*make_plan().model_dump(mode="json")["rows"], "ridge", {"method": "cca", "bits": [4]}]
    compared = run_compare(make_plan(rows=rows, bits=[4, 8], seeds=[1, 0]), tmp_path, progress=False)
    (part,) = compared.shown.data
    assert {(query.method, query.bits) for query in part.searches.queries} == {("djsrh", 8), ("random", 8)}
    small = data.load("synthetic", pairs=120, image_width=12, text_width=9)
    query_ids = [small.ids[row] for row in small.split.query]
    folders = {(row, cell.bits, cell.seed): cell.folder for _, row, cell in compared.cells}
    for query in part.searches.queries:
        codes = curves.read_codes(tmp_path / "cells" / folders[query.method, 8, 1], 8)
        asks, items = codes.pair("i2t" if query.kind == "image" else "t2i")
        place = query_ids.index(query.text)
        distances, places = search.knn(asks[place : place + 1], items, HITS, bits=8)
        assert [hit.distance for hit in query.hits] == distances[0].tolist()
        assert [hit.text for hit in query.hits] == [small.ids[small.split.database[p]] for p in places[0]]
    page = (tmp_path / "index.html").read_text()
    assert page.count('<article class="query card"') == len({(q.kind, q.group, q.text) for q in part.searches.queries})


def test_real_values_alone_have_no_searches(make_plan, in_process, tmp_path):
    compared = run_compare(make_plan(rows=["ridge"]), tmp_path, progress=False)
    assert compared.searches == {}
    assert 'id="data-0-searches"' not in (tmp_path / "index.html").read_text()
