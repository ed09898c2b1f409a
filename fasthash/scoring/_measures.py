"""Names of protocols and of papers, rules for ties and a cut -> what to measure, by name."""

from __future__ import annotations

from collections.abc import Sequence

from fasthash import metrics
from fasthash.metrics import Measure
from fasthash.scoring._forms import OP

TIES = ("expected", "stable")  # unless told otherwise


def measures_of(
    protocols: Sequence[str], ties: Sequence[str] | None = None, k: int | None = None, no_relevant: str = "zero"
) -> dict[str, Measure]:
    """Every protocol under every rule for ties, and every paper as it measures: name -> `metrics.Measure`.

    Args:
        protocols: names of `metrics.protocols()`, of `metrics.papers()`, or "papers" for all of these.
        ties: rules of `metrics.TIES`, for the protocols; a paper has its own. None: expected and stable.
        k: the cut of those protocols that have one; None: their default.
        no_relevant: of the protocols.
    Raises:
        ValueError, TypeError: an unknown name, or a k or ties that nothing takes.
    """
    known = {protocol.name: protocol for protocol in metrics.protocols()}
    papers = metrics.papers()
    chosen = [name for given in protocols for name in (papers if given == "papers" else (given,))]
    for name in chosen:
        if name not in known and name not in papers:
            every = ", ".join([*known, *papers])
            raise ValueError(f"{OP}: protocol must be one of {every}, or papers for all of these, got {name!r}")
    if k is not None and not any(name in known and known[name].default_k is not None for name in chosen):
        cut = ", ".join(name for name, protocol in known.items() if protocol.default_k is not None)
        raise ValueError(f"{OP}: k is the cut of {cut}, none of which is asked for")
    if ties is not None and not any(name in known for name in chosen):
        raise ValueError(f"{OP}: ties are of protocols, papers have their own, and only papers are asked for")
    found: dict[str, Measure] = {}
    for name in chosen:
        if name in papers:
            found[name] = papers[name].measure
            continue
        for rule in TIES if ties is None else ties:
            measure = Measure(name, rule, None if known[name].default_k is None else k, no_relevant)
            found[_name(measure)] = measure
    return found


def _name(measure: Measure) -> str:
    """map_all, map_at_50, map_at_50_hitonly_stable, map_first_5000_relevant."""
    name = measure.protocol if measure.cut is None else measure.protocol.replace("_k", f"_{measure.cut}", 1)
    return name if measure.ties == "expected" else f"{name}_{measure.ties}"
