"""Results as files, each whole or not at all."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fasthash._files import replace_file


def write_text(path: Path, text: str) -> Path:
    """Write a text file; returns its path."""
    replace_file(path, lambda beside: beside.write_text(text, encoding="utf-8", newline=""))
    return path


def write_json(path: Path, value: Any) -> Path:
    """Write one JSON value; returns the path."""
    return write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def csv_text(columns: Sequence[str], records: Sequence[dict[str, Any]]) -> str:
    """Records as CSV under a line of names; None is empty, other keys of a record are left out."""
    lines = io.StringIO()
    writer = csv.DictWriter(lines, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return lines.getvalue()
