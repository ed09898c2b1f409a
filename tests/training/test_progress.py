"""The progress display: what a log file and an error get of it."""

import pytest

from fasthash._progress import TrainingProgress

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
