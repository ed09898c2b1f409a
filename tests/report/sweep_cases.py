"""A sweep small enough to be read: one option as a line, two as a map."""

from fasthash.report.comparison import Value
from fasthash.report.sweep import Line, Map, SettingRow, SweepPage

X, Y = ("0", "0.5", "1"), ("0.2", "0.4")


def values(*means):
    return [None if mean is None else Value(mean, 0.01) for mean in means]


def make_line(names=X, preset="0.5", i2t=(0.5, 0.6, None), t2i=(0.4, 0.45, 0.5)):
    return Line("beta", names, {"i2t": values(*i2t), "t2i": values(*t2i)}, preset, "at eta=0.2")


def make_map():
    points = [values(0.3, 0.4, 0.35), values(0.31, None, 0.2)]
    return Map(("beta", X), ("eta", Y), {"i2t": points, "t2i": points[::-1]}, ("1", "0.2"))


def make_sweep(**parts):
    point = {"i2t": Value(0.6, 0.01), "t2i": Value(0.45, 0.02), "mean": Value(0.525, 0.01, True)}
    rows = [SettingRow(("0.5", "none"), point, "best", 41.0), SettingRow(("0", "<b>"), {}, "2 of 2 runs failed")]
    whole = {
        "title": "djsrh on wiki: beta", "lead": "Best of 2 settings.", "measure": "mAP over the whole database",
        "options": ("beta", "eta"), "rows": rows, "lines": [make_line()], "maps": [make_map()], "facts": [("runs", 4)],
        "about": "54 queries.", "failures": [("beta=0, seed 0", "loss <is> nan")],
        "provenance": {"command": "fasthash sweep 'x'"},
    }  # fmt: skip
    return SweepPage(**(whole | parts))
