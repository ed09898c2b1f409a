"""Everything that is measured of codes: a model's own, or anybody's out of the files they are kept in."""

from fasthash.features.array_files import SUFFIXES, FileArray
from fasthash.scoring._forms import FORMS, LABEL_FORMS
from fasthash.scoring._found import CodeScores, Direction
from fasthash.scoring._measures import measures_of
from fasthash.scoring._score import Wanted, score_files, score_model
from fasthash.scoring._sources import ROLES, of_archive

__all__ = [
    "FORMS", "LABEL_FORMS", "ROLES", "SUFFIXES", "CodeScores", "Direction", "FileArray", "Wanted", "measures_of",
    "of_archive", "score_files", "score_model",
]  # fmt: skip
