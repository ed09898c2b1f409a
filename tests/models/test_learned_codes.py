"""Codes from training in place of those of the encoders, and their file."""

import numpy as np
import pytest

from fasthash import codes
from fasthash.models.learned import FILE, LearnedCodes


@pytest.fixture
def learned():
    rng = np.random.default_rng(8)
    return LearnedCodes.of(rng.standard_normal((5, 12)), np.array([7, 2, 9, 4, 0]))


def test_of_takes_zero_as_plus_one():
    made = LearnedCodes.of(np.array([[0.0, -1.0, 2.0]]), np.array([0]))
    assert (codes.unpack(made.packed, 3) == [[1, -1, 1]]).all()


def test_replace_changes_the_rows_that_were_trained_on_alone(learned):
    rows = np.array([9, 1, 0, 8, 7, 3])
    before = np.full((6, 2), 255, np.uint8)
    after = learned.replace(before, rows)
    place = {row: i for i, row in enumerate(learned.rows)}
    for row, was, made in zip(rows, before, after, strict=True):
        assert (made == (learned.packed[place[row]] if row in place else was)).all()
    assert (before == 255).all()


def test_replace_knows_no_row_beyond_the_largest(learned):
    before = np.zeros((1, 2), np.uint8)
    assert (learned.replace(before, np.array([10])) == before).all()


def test_the_file_gives_them_back(learned, tmp_path):
    assert LearnedCodes.load(tmp_path) is None
    learned.save(tmp_path)
    again = LearnedCodes.load(tmp_path)
    assert again.bits == learned.bits
    assert (again.rows == learned.rows).all()
    assert (again.packed == learned.packed).all()


def test_a_truncated_file_is_refused_in_a_line(learned, tmp_path):
    learned.save(tmp_path)
    path = tmp_path / FILE
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ValueError, match=r"learned codes: .* cannot be read") as caught:
        LearnedCodes.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_codes_and_rows_of_different_numbers_are_refused(learned, tmp_path):
    LearnedCodes(learned.bits, learned.rows[:3], learned.packed).save(tmp_path)
    with pytest.raises(ValueError, match="is damaged"):
        LearnedCodes.load(tmp_path)
