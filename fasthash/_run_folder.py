"""The files of a training run: what was asked, how it went, where to go on, what came out."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import torch

from fasthash._files import replace_file

CHECKPOINT = "checkpoint.ckpt"


RESULT = ("model.safetensors", "config.json", "history.csv", "scores.json")
FREE = ("processes",)  # what may change from one sitting to the next: the result stays the same, to rounding


class RunFolder:
    """``run.json`` (what was asked), ``history.csv``, ``checkpoint.ckpt`` until the run ends, then ``scores.json``.

    Nothing is written before `begin`, so a request that fails at once leaves no trace.

    Raises:
        ValueError: the folder is a file, or holds another run, or holds one already and ``resume`` is False.
    """

    def __init__(self, folder: str | Path, request: dict[str, Any], *, resume: bool) -> None:
        self.folder = Path(folder)
        self._tensorboard: Any = None
        self.request = json.loads(json.dumps(request))  # tuples become lists, as they will on reading back
        if self.folder.exists() and not self.folder.is_dir():
            raise ValueError(f"train: out must be a folder, got the file {self.folder}")
        before = self._read_request()
        if not any((self.folder / name).exists() for name in (CHECKPOINT, *RESULT)):
            return  # nothing was ever reached here: a new request may take the folder
        if before is None:
            raise ValueError(f"train: out {self.folder} holds files of a run but no run.json; name another folder")
        if not resume:
            raise ValueError(
                f"train: out {self.folder} already holds a run; resume it (--resume) or name another folder"
            )
        if _fixed(before) != _fixed(self.request):
            was = "; ".join(_differences(_fixed(before), _fixed(self.request))) or "it was asked for by another version"
            raise ValueError(f"train: cannot resume {self.folder}: {was}")

    def begin(self) -> None:
        """Make the folder and say in it what was asked."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.write_json("run.json", self.request)

    def _read_request(self) -> dict[str, Any] | None:
        path = self.folder / "run.json"
        if not path.exists():
            return None
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"train: {path} is damaged: {error}") from None
        if not isinstance(value, dict):
            raise ValueError(f"train: {path} is damaged: expected an object, got {type(value).__name__}")
        return value

    @property
    def finished(self) -> bool:
        """Whether everything a run leaves is there; when a part is missing it is trained again."""
        return all((self.folder / name).exists() for name in RESULT)

    def write_json(self, name: str, value: Any) -> None:
        text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
        replace_file(self.folder / name, lambda path: path.write_text(text, encoding="utf-8"))

    def write_history(self, history: list[dict[str, Any]]) -> None:
        """Rewrite history.csv: it is small, and a resumed run must not repeat lines."""
        columns = list(dict.fromkeys(key for row in history for key in row))

        def write(path: Path) -> None:
            with path.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, columns)
                writer.writeheader()
                writer.writerows(history)

        replace_file(self.folder / "history.csv", write)

    def read_history(self) -> list[dict[str, Any]]:
        """history.csv back as numbers."""
        return read_history(self.folder)

    def log(self, history: list[dict[str, Any]]) -> None:
        """Write history.csv anew and the last entry to the TensorBoard log, which is live while the run goes on."""
        self.write_history(history)
        entry = history[-1]
        if self._tensorboard is None:
            try:
                from lightning_fabric.loggers import TensorBoardLogger

                # purge_step: an interrupted run may have logged epochs that its checkpoint does not know
                self._tensorboard = TensorBoardLogger(
                    self.folder, name="tensorboard", version="", purge_step=entry["epoch"]
                )
            except ModuleNotFoundError as error:
                raise RuntimeError(f"the TensorBoard log needs {error.name}: pip install 'fasthash[learn]'") from None
        self._tensorboard.log_metrics({k: v for k, v in entry.items() if k != "epoch"}, step=entry["epoch"])

    def close(self) -> None:
        """Flush the TensorBoard log."""
        if self._tensorboard is not None:
            self._tensorboard.finalize("success")

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Tensors and plain values; by one process alone, which `Fabric.save`, a meeting of all, does not allow."""
        replace_file(self.folder / CHECKPOINT, lambda path: torch.save(state, path))

    def load_checkpoint(self, *, mapped: bool = False) -> dict[str, Any] | None:
        """The last checkpoint on the CPU, or None; only tensors and plain values are unpickled.

        Args:
            mapped: its tensors stay in the file until they are read.
        """
        path = self.folder / CHECKPOINT
        if not path.exists():
            return None
        try:
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
        except Exception as error:  # a damaged zip raises several kinds
            line = " ".join(str(error).split())[:200]
            raise ValueError(f"train: {path} cannot be read ({line}); delete it to start over") from None

    def drop_checkpoint(self) -> None:
        (self.folder / CHECKPOINT).unlink(missing_ok=True)


def read_history(folder: Path) -> list[dict[str, Any]]:
    """history.csv of a run's folder as numbers, empty cells left out."""
    path = folder / "history.csv"
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return [{k: int(v) if k == "epoch" else float(v) for k, v in row.items() if v} for row in rows]
    except (ValueError, TypeError, csv.Error) as error:
        raise ValueError(f"train: {path} is damaged: {error}") from None


def _fixed(request: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in request.items() if key not in FREE}


def _differences(before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> list[str]:
    """What differs, option by option: "bits was 8, now 16"."""
    found = []
    for key in dict.fromkeys([*now, *before]):
        was, is_ = before.get(key), now.get(key)
        if isinstance(was, dict) and isinstance(is_, dict):
            found += _differences(was, is_, f"{key} ")
        elif was != is_:
            found.append(f"{prefix}{key} was {was!r}, now {is_!r}")
    return found
