"""A comparison's rows beside a published table: which of our values go with it, and how they were measured."""

from __future__ import annotations

from pathlib import Path

from fasthash.compare._files import write_text
from fasthash.compare.compared import Compared, DataFacts
from fasthash.evaluation import DIRECTIONS
from fasthash.published import Beside, Ours, PublishedTable, Setting, beside

# what the cells measure: name -> metric, k, as tables name them
_MEASURED = {"map_all": ("map_all", None), "map_at_50": ("map_at_k", 50)}
_TIES = "in expectation, the exact mean over all orders"
_EPOCH = "the last; the queries play no part"


def beside_published(compared: Compared, table: PublishedTable) -> Beside:
    """The table with every row of codes of the comparison in it, by the measure closest to the table's own."""
    wanted = (table.protocol.metric, table.protocol.k)
    measure = next((name for name, measured in _MEASURED.items() if measured == wanted), "map_all")
    plan, results = compared.plan, compared.results
    found = []
    for data in compared.data:
        for row in plan.rows_of(data):
            if results.is_real(data, row.label):
                continue
            for bits in plan.bits_of(row):
                for direction in DIRECTIONS:
                    one = results.series(data, row.label, bits, measure, direction)
                    if one is not None:
                        found.append(Ours(data, row.label, bits, direction, one.mean, one.spread, like=row.item.name))
    settings = [_setting(compared, facts, measure) for facts in compared.data.values()]
    return beside(table, found, settings)


def write_beside(shown: Beside, folder: Path) -> Path:
    """Write ``<table>.md``; returns its path."""
    return write_text(folder / f"{shown.table.name}.md", shown.markdown())


def _setting(compared: Compared, facts: DataFacts, measure: str) -> Setting:
    metric, k = _MEASURED[measure]
    image, text = (
        f"{'raw items' if width is None else f'{width} {kind} features'}{_networks(compared, facts.label, side)}"
        for side, width, kind in zip(("image", "text"), facts.widths, facts.features, strict=True)
    )
    return Setting(
        data=facts.label, query=facts.queries, train=facts.train, database=facts.database, classes=facts.base_classes,
        image=image, text=text, metric=metric, k=k, ties=_TIES, seeds=len(compared.plan.seeds), epoch=_EPOCH,
        train_in_database=facts.train_in_database,
        relevance="a common label of the finest layer" if facts.tree else "a common label",
    )  # fmt: skip


def _networks(compared: Compared, data: str, side: str) -> str:
    """Which rows are trained on raw pictures or texts instead, in words."""
    option = f"{side}_backbone"
    raw = {
        row: str(cell.options[option])
        for label, row, cell in compared.cells
        if label == data and cell.options.get(option, "features") != "features"
    }
    return "".join(f"; {row}: {network}, trained along" for row, network in raw.items())
