"""The plan of a database of any size: what the lines say, and the script from end to end. No time is asserted."""

import json
import math

import numpy as np
import pytest
import scale
import scale_model
import scale_pages
from measured import RESULTS
from scale_model import COLD, EVALUATE, OPEN, STEPS, WRITE, Model, Row

from fasthash.search import BinaryIndex, MultiIndex, write_shards


def rows(bits=64, sizes=(1_000, 10_000, 100_000), wrong=1.0):
    """Every step on a line of its own; ``wrong`` bends the largest size."""
    found = []
    for n in sizes:
        factor = wrong if n == sizes[-1] else 1.0
        seconds = {
            WRITE: 0.5 + 1e-4 * n, OPEN: 0.25, COLD: 0.1 + 3e-4 * n, EVALUATE: 1e-3 * n,
            "batch 1": 0.1 + 1e-4 * n, "batch 16": 0.2 + 1e-4 * n, "batch 1024": 1.0 + 2e-3 * n,
        }  # fmt: skip
        found += [Row(bits, n, step, factor * value) for step, value in seconds.items()]
    return [*found, Row(bits, scale_model.MANY, scale_model.OPEN_MANY, 0.25 + 31 * 0.01)]


def test_lines_go_through_the_two_smaller_sizes():
    model = Model(rows(), 64)
    assert model.fitted == (1_000, 10_000)
    for row in model.rows[:-1]:
        assert model.seconds(row.step, row.codes) == pytest.approx(row.seconds)
    assert {row.codes for row, _, _ in model.checked()} == {100_000}
    assert len(model.checked()) == len(STEPS)
    assert all(abs(error) < 1e-9 for _, _, error in model.checked())
    off = Model(rows(wrong=2.0), 64)
    assert all(error == pytest.approx(-0.5) for _, _, error in off.checked())


def test_a_line_never_begins_below_zero():
    assert scale_model.fit((10, 1.0), (20, 4.0)) == scale_model.Line(0.0, 0.2)
    assert scale_model.fit((10, 4.0), (20, 1.0)) == scale_model.Line(0.0, 0.05)  # noise: never faster with more codes
    line = scale_model.fit((10, 3.0), (20, 4.0))
    assert (line.fixed, line.per_code) == (pytest.approx(2.0), pytest.approx(0.1))


def test_batches_between_and_beyond_those_measured():
    model = Model(rows(), 64)
    n = 50_000
    for batch in scale_model.BATCHES:
        assert model.batch_seconds(n, batch) == pytest.approx(model.seconds(f"batch {batch}", n))
    found = [model.batch_seconds(n, batch) for batch in (1, 4, 16, 100, 1024, 2048)]
    assert found == sorted(found)
    assert found[-1] == pytest.approx(2 * found[-2])
    disk = model.seconds(COLD, n) - model.seconds("batch 1", n)
    assert model.streamed_seconds(n, 1024) == pytest.approx(model.batch_seconds(n, 1024) + disk)


def test_opening_goes_by_the_number_of_shards():
    model = Model(rows(), 64)
    assert model.seconds(OPEN, 1) == model.seconds(OPEN, 16_777_216) == pytest.approx(0.25)
    assert model.seconds(OPEN, 16_777_217) == pytest.approx(0.26)


@pytest.mark.parametrize("bits", [64, 128, 13])
def test_bytes_are_those_of_the_files_and_tables(tmp_path, bits):
    n = 3_000
    codes = np.zeros((n, -(-bits // 8)), np.uint8)
    taken = scale_model.count_bytes(n, bits)
    shards = write_shards(tmp_path / "s", [codes], bits)
    assert len(shards.indexes) == taken.shards == 1
    assert 0 < sum(path.stat().st_size for path in (tmp_path / "s").glob("*.safetensors")) - taken.codes < 1000
    assert taken.ids == BinaryIndex.from_codes(codes, bits).ids.nbytes
    index = MultiIndex(bits)
    index.add(codes)
    index.build()
    assert taken.tables == index.table_bytes
    assert scale_model.count_bytes(2**32, 64).tables is None


def test_number_of_machines():
    assert scale_model.nodes_for(100, 1000, 1.0, 9.0) == 1  # 10 s for 1,000 queries: just enough
    assert scale_model.nodes_for(101, 1000, 1.0, 9.0) == 2
    for nodes in (scale_model.nodes_for(rate, 64, 0.01, 3.0) for rate in (1, 50, 500, 5000)):
        assert nodes >= 1
    rate, nodes = 500, scale_model.nodes_for(500, 64, 0.01, 3.0)
    assert 64 / (0.01 + 3.0 / nodes) >= rate > 64 / (0.01 + 3.0 / (nodes - 1))
    with pytest.raises(ValueError, match="^scale: batches of 64 cannot come at 1e\\+06 queries a second; take larger"):
        scale_model.nodes_for(1e6, 64, 0.01, 3.0)


def test_plan_in_words():
    wanted = scale_pages.Wanted(10**9, 64, 0.001, 1024, 10**9, hour=2.0, month=0.5)
    text = "\n".join(scale_pages.plan(Model(rows(wrong=1.25), 64), wanted, ["- machine: one"]))
    seconds = 1.0 + 2e-3 * 1e9
    hours = 1e6 / 1024 * seconds / 3600
    assert "codes 8 GB in 60 shards; ids 8 GB unless they are in a row" in text
    assert "8 machines of 8 shards (the memory decides)" in text
    assert f"machine-hours: {hours:.3g} in memory" in text
    assert f"price: {2 * hours:.3g} in memory" in text
    assert "the disk, a month: 4" in text
    assert "checked, up to 100,000 codes: 20%" in text
    assert "- machine: one" in text


def test_lengths_that_were_not_measured_are_refused():
    with pytest.raises(ValueError, match="^scale: bits must be a length measured at two sizes, got 32 .measured: 64.$"):
        Model(rows(), 32)


def test_from_end_to_end(tmp_path, monkeypatch, capsys):
    scratch, out = tmp_path / "scratch", tmp_path / "out"
    scratch.mkdir()
    monkeypatch.setattr(scale, "CHECKED", {64: (30_000_000,), 128: ()})
    scale.main(["--quick", "--out", str(out), "--scratch", str(scratch)])
    assert list(scratch.iterdir()) == []
    found = json.loads((out / "scale.json").read_text())["rows"]
    assert {(row["bits"], row["codes"], row["step"]) for row in found} == {
        (bits, n, step) for bits, n in ((64, 1_000), (64, 10_000), (64, 30_000), (128, 1_000), (128, 10_000))
        for step in STEPS
    } | {(bits, scale_model.MANY, scale_model.OPEN_MANY) for bits in (64, 128)}  # fmt: skip
    assert all(row["seconds"] > 0 and math.isfinite(row["seconds"]) for row in found)
    text = (out / "scale.md").read_text()
    assert text.count("| fitted | |") == 4 * len(STEPS)
    assert text.count("%") == 2 + len(STEPS)  # the errors, and the largest of each length
    capsys.readouterr()
    scale.main(["--codes", "1e9", "--bits", "128", "--out", str(out), "--price-per-hour", "1"])
    printed = capsys.readouterr().out
    assert printed.startswith("1,000,000,000 codes of 128 bits")
    assert "- machine: " in printed
    for more, message in (
        (
            ("--batch", "1", "--queries-per-second", "1e9"),
            "scale: batches of 1 cannot come at 1e\\+09 queries a second",
        ),
        (("--bits", "32"), "scale: bits must be a length measured at two sizes, got 32"),
    ):
        with pytest.raises(SystemExit, match=f"^{message}"):
            scale.main(["--codes", "1e9", "--out", str(out), *more])


def test_quick_runs_stay_out_of_the_results(capsys):
    with pytest.raises(SystemExit):
        scale.main(["--quick"])
    assert "benchmarks/results is for measurements" in capsys.readouterr().err
    with pytest.raises(OSError, match="^scale: .* MiB are needed"):
        scale.measure_all([(64, 10**17)], None)


@pytest.mark.parametrize("name", ["codes", "queries-per-second", "batch", "memory-gb", "price-per-hour"])
@pytest.mark.parametrize("value", ["0", "-3", "inf", "nan", "many"])
def test_wrong_numbers_are_refused(capsys, name, value):
    with pytest.raises(SystemExit) as caught:
        scale.main(["--codes", "1e9", f"--{name}={value}"])
    assert caught.value.code == 2
    assert f"argument --{name}: invalid" in capsys.readouterr().err


def test_the_plan_stands_on_what_is_committed():
    described, measured = scale_model.load(RESULTS / scale.DATA)
    for bits in scale.BITS:
        model = Model(measured, bits)
        assert model.fitted == scale_model.FITTED
        assert model.checked()
    assert scale_pages.page(described, measured) == (RESULTS / "scale.md").read_text()
