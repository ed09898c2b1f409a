"""The page of `embedding_codes`: tables of what is kept of the float search."""

from __future__ import annotations

from typing import Any

import numpy as np

DIRECTIONS = ("i2i", "t2t", "i2t", "t2i")
MEASURES = {
    "hamming": "Recall@10 of the float search: Hamming ranking alone",
    "rescored": "The same after `search.rescore` of the first 100: the query before its sign against -1/+1 codes",
    "reranked": "The same after the first 100 are ranked by the float embeddings, which then stay on disk",
}
HEAD = """# From embeddings to codes: what is kept of the float search

Embeddings: images, 1280-d features of EfficientNet-Lite0; texts, 384-d of all-MiniLM-L6-v2. Neither was trained here,
and they share no space. The float search that is to be kept, its first 10 of the database for each held-out query:

- i2i, t2t: by the cosine of the embeddings as they come;
- i2t, t2i: by the cosine in a joint space: regularised canonical correlation analysis of the training pairs,
  coordinates times their correlations, no labels; the ridge was chosen on held-out training pairs.

Random rotation and ITQ: unit rows, less their training mean; **a code for each column's own space** (images, texts,
both in the joint space), so that to serve all four columns two codes are kept of each item. float_neighbours and djsrh:
**one code of an item serves all four columns**; across=0 and within=0 are trained for two of the columns each. Where
there are more bits than an embedding has numbers, random rotation is random projections, and ITQ is left out.

Mean and standard deviation over seeds. Recall of Hamming ranking counts codes at the distance of the tenth in
expectation over their order; the first 100 are by (distance, id). mAP by labels: Hamming ranking, ties in expectation.
The best of each column among codes of one length is bold.
"""


def page(sets: list[dict[str, Any]], rows: list[dict[str, Any]], about: list[str]) -> str:
    """Markdown from what `embedding_codes` measured."""
    lines = [HEAD, *about, ""]
    for one in sets:
        own = sorted((row for row in rows if row["data"] == one["data"]), key=lambda row: row["bits"])
        lines += [f"## {one['data']}", "", _about(one), ""]
        for kind, title in MEASURES.items():
            lines += [f"### {title}", "", *_table(own, kind), ""]
        lines += ["### mAP by labels, Hamming ranking", "", *_table(own, "map", one["map"]), ""]
    return "\n".join(lines)


def _about(one: dict[str, Any]) -> str:
    sizes = one["sizes"]
    floats = ", ".join(f"{side} {4 * width:,} bytes" for side, width in one["widths"].items())
    return (
        f"{sizes['query']:,} queries, {sizes['database']:,} items in the database, {sizes['train']:,} training pairs. "
        f"The floats of an item: {floats}."
    )


def _table(rows: list[dict[str, Any]], kind: str, floats: dict[str, float] | None = None) -> list[str]:
    lines = ["| bits | bytes | method | " + " | ".join(DIRECTIONS) + " |", "|---|---|---|" + "---|" * len(DIRECTIONS)]
    for row in rows:
        peers = [peer[kind] for peer in rows if peer["bits"] == row["bits"]]
        best = {d: max(np.mean(peer[d]) for peer in peers if d in peer) for d in row[kind]}
        cells = [_cell(row[kind][d], bool(np.mean(row[kind][d]) == best[d])) if d in best else "–" for d in DIRECTIONS]
        lines.append(f"| {row['bits']} | {row['bits'] // 8} | {row['method']} | {' | '.join(cells)} |")
    if floats is not None:
        lines.append("| | | float search | " + " | ".join(f"{floats[d]:.3f}" for d in DIRECTIONS) + " |")
    return lines


def _cell(values: list[float], best: bool) -> str:
    spread = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
    text = f"{np.mean(values):.3f}{spread}"
    return f"**{text}**" if best else text
