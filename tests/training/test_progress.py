"""The progress display: what a log file and an error get of it."""

import pytest

from fasthash._progress import RowProgress, TrainingProgress

ENTRY = {"epoch": 1, "loss_joint": 0.25, "i2t": 0.5, "t2i": 0.625, "seconds": 1.0}


def test_shows_epochs_losses_and_map_and_ends_its_line(capsys):
    with TrainingProgress("djsrh 8 bits on small", 2, show=True) as bar:
        bar.advance_to(0, [])
        bar.epoch_done(ENTRY)
        bar.epoch_done({"epoch": 2, "loss_joint": 0.125})
    shown = capsys.readouterr().err
    assert "djsrh 8 bits on small" in shown
    assert "2/2" in shown
    assert "loss joint 0.125 · mAP i→t 0.500 t→i 0.625" in shown
    assert shown.endswith("\n")


def test_an_error_leaves_no_line_of_its_own(capsys):
    def broken():
        with TrainingProgress("title", 2, show=True) as bar:
            bar.epoch_done(ENTRY)
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        broken()
    assert capsys.readouterr().err.count("\n") <= 1


def test_silent_when_told(capsys):
    with TrainingProgress("title", 2, show=False) as bar:
        bar.epoch_done(ENTRY)
    assert capsys.readouterr().err == ""


def test_rows_show_their_speed_without_those_that_were_there(capsys, monkeypatch):
    clock = iter([100.0, 102.0, 104.0])
    monkeypatch.setattr("fasthash._progress.time.monotonic", lambda: next(clock))
    monkeypatch.setenv("FORCE_COLOR", "1")  # as a terminal
    monkeypatch.setenv("COLUMNS", "100")
    with RowProgress("text features clip", 5000, 1000, True) as bar:
        bar.done(1000)
        bar.done(2000)
        bar._bar.refresh()
        shown = capsys.readouterr().err
    assert "text features clip" in shown
    assert "2000/5000" in shown
    assert "500/s, 0:00:06 left" in shown


def test_rows_tell_a_callback_and_a_log_file_nothing(capsys):
    told = []
    with RowProgress("rows", 10, 4, lambda done, total: told.append((done, total))) as bar:
        bar.done(4)
        bar.done(10)
    assert told == [(4, 10), (10, 10)]
    for show in (True, False):
        with RowProgress("rows", 10, 0, show) as bar:
            bar.done(10)
    assert capsys.readouterr().err == ""
