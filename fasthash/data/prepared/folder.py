"""A prepared folder: any data set in one layout, features memory-mapped, everything else read when asked for."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash._files import replace_file
from fasthash.data.dataset import PairedDataset
from fasthash.data.prepared._items import Items
from fasthash.data.prepared._record import (
    FILE,
    SIDES,
    FeatureFacts,
    Record,
    check_files,
    facts_of,
    read_record,
    write_record,
)
from fasthash.data.splits import Split
from fasthash.data.tree import LabelTree, Layer
from fasthash.features import Extractor, from_config
from fasthash.features._packages import require
from fasthash.features.base import is_known
from fasthash.features.matrix_file import map_matrix

OPTIONS = {
    "image": "which set of image features; default the first that was made",
    "text": "which set of text features; default the first that was made",
    "split": "which split; default the first",
    "captions": "join (all captions of a pair, default) or first: the raw text of a pair with several",
}
NAME = re.compile(r"[\w.-]+")
LABELS = "labels.safetensors"


def is_prepared(path: str | os.PathLike[str]) -> bool:
    """Whether a folder holds a prepared data set."""
    return (Path(path).expanduser() / FILE).is_file()


class Folder:
    """What `write` made: see docs/prepared_data.md for the layout.

    Args:
        path: of the folder.
    Raises:
        FileNotFoundError, ValueError: a file is missing, damaged or of another size than ``dataset.json`` says.
    """

    def __init__(self, path: str | os.PathLike[str], *, op: str = "data.load") -> None:
        self.path = Path(path).expanduser().absolute()
        self.op = op
        self.record: Record = read_record(self.path, op)
        check_files(self.path, self.record, op=op)

    def __repr__(self) -> str:
        return f"Folder({str(self.path)!r}: {self.record.name}, {self.rows} pairs)"

    @property
    def rows(self) -> int:
        """Number of pairs."""
        return self.record.rows

    @property
    def items(self) -> Items:
        """Ids, pictures, captions."""
        return Items(self.path, self.rows, self.record.columns)

    def verify(self) -> None:
        """Compare every file with its checksum; reads all of them.

        Raises:
            FileNotFoundError, ValueError: the first file that is not what was written.
        """
        check_files(self.path, self.record, contents=True, op=self.op)

    def split(self, name: str | None = None) -> Split:
        """A split by name; default the first."""
        name = self._chosen("split", name, self.record.splits)
        parts = self._tensors(f"splits/{name}.safetensors", ("query", "database", "train"))
        return Split(*(parts[part].astype(np.int64) for part in ("query", "database", "train")))

    def labels(self) -> tuple[NDArray[np.uint8] | None, LabelTree | None]:
        """Multi-hot labels uint8 [n, c], and the tree where there is one; labels are then its finest layer."""
        if not self.record.labels:
            return None, None
        wanted = ["labels", *(f"layer.{layer.name}" for layer in self.record.layers)]
        found = self._tensors(LABELS, wanted)
        layers = tuple(Layer(x.name, x.classes, found[f"layer.{x.name}"]) for x in self.record.layers)
        return found["labels"], LabelTree(layers) if layers else None

    def features(self, side: str, name: str | None = None) -> NDArray[np.float32] | None:
        """Features float32 [n, width], read-only and memory-mapped; None where the side has none.

        Raises:
            ValueError: no such set, or a damaged file.
        """
        sets = self.record.features(side)
        if not sets and name is None:
            return None
        return map_matrix(self._set(side, self._chosen(side, name, sets), ".safetensors"), op=self.op)

    def extractor(self, side: str, name: str | None = None) -> Extractor | None:
        """What makes such features of new items; None where it was not kept, or is not known or not installed here."""
        sets = self.record.features(side)
        if not sets and name is None:
            return None
        name = self._chosen(side, name, sets)
        if not sets[name].extractor:
            return None
        path = self._set(side, name, ".extractor.json")
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(f"{self.op}: {path} is damaged: {error}") from None
        arrays = self._set(side, name, ".extractor.safetensors")
        if not is_known(config.get("kind")):  # a class of somebody's own, which is not known here
            return None
        tensors = self._tensors(arrays.relative_to(self.path).as_posix(), None) if arrays.exists() else {}
        try:
            return from_config(config, tensors)
        except RuntimeError:  # the package that makes them is not here: the features are there all the same
            return None

    def add_features(
        self,
        side: str,
        name: str,
        matrix: Path,
        encoder: Mapping[str, Any],
        *,
        extractor: Extractor | None = None,
        fitted_on: str | None = None,
        overwrite: bool = False,
    ) -> None:
        """Take a finished matrix file in as a set of features.

        Args:
            side: image or text.
            name: of the set: letters, digits, "-", "_" and ".".
            matrix: a file of `features.matrix_file`, float32 [n, width]; it is moved.
            encoder: JSON-able description of what made it, with "kind".
            extractor: makes such features of new items; kept beside them.
            fitted_on: the split whose training rows the encoder was fitted on, for encoders that are fitted.
            overwrite: take the place of a set of this name.
        Raises:
            ValueError: the set is there already, or the matrix has another number of rows.
        """
        self.check_set(side, name, overwrite=overwrite)
        features = map_matrix(matrix, op=self.op)
        if len(features) != self.rows:
            raise ValueError(f"{self.op}: {side} features {name} must have {self.rows} rows, got {len(features)}")
        width = int(features.shape[1])
        del features
        (self.path / "features" / side).mkdir(parents=True, exist_ok=True)
        target = self._set(side, name, ".safetensors")
        changed = [target]
        os.replace(matrix, target)
        if extractor is not None:
            changed += keep_extractor(extractor, self._set(side, name, ""))
        facts = FeatureFacts(width=width, encoder=dict(encoder), fitted_on=fitted_on, extractor=extractor is not None)
        self._update(side, name, facts, changed)

    def check_set(self, side: str, name: str, *, overwrite: bool = False) -> None:
        """ValueError unless a set of features may get this name."""
        if side not in SIDES:
            raise ValueError(f"{self.op}: side must be image or text, got {side!r}")
        if not NAME.fullmatch(name) or name.startswith("."):
            raise ValueError(f"{self.op}: a name of features must be letters, digits, '-', '_' and '.', got {name!r}")
        if name in read_record(self.path, self.op).features(side) and not overwrite:
            raise ValueError(
                f"{self.op}: {self.record.name} has {side} features {name} already, made in another way: --overwrite"
                " replaces them, --name OTHER keeps both"
            )

    def load(
        self, *, image: str | None = None, text: str | None = None, split: str | None = None, captions: str = "join"
    ) -> PairedDataset:
        """The data set; options as in `OPTIONS`. What was checked when the folder was made is not checked again.

        Raises:
            ValueError: an unknown set or split; features that were fitted on another split.
        """
        record, items = self.record, self.items
        split_name = self._chosen("split", split, record.splits)
        notes = (*record.notes, *record.splits[split_name].notes)
        for side, name in (("image", image), ("text", text)):
            self._check_fit(side, name, split_name)
        labels, tree = self.labels()
        texts = items.texts(captions)
        wanted = {"image": image, "text": text}
        digests = {side: self._digest(side, wanted[side]) for side in SIDES if record.features(side)}
        return PairedDataset.checked(
            digests=digests, name=record.name, ids=items.ids, image=self.features("image", image),
            text=self.features("text", text), split=self.split(split_name), labels=labels,
            class_names=record.class_names, tree=tree, pictures=items.pictures, texts=texts,
            image_extractor=self.extractor("image", image), text_extractor=self.extractor("text", text), notes=notes,
            source=record.source, licence=record.licence,
        )  # fmt: skip

    def _digest(self, side: str, name: str | None) -> str:
        """SHA-256 of the file of a set, as ``dataset.json`` has it."""
        path = self._set(side, self._chosen(side, name, self.record.features(side)), ".safetensors")
        return self.record.files[path.relative_to(self.path).as_posix()].sha256

    def _check_fit(self, side: str, name: str | None, split: str) -> None:
        """Features fitted on the training rows of another split may have seen this one's queries."""
        sets = self.record.features(side)
        if not sets and name is None:
            return
        name = self._chosen(side, name, sets)
        fitted = sets[name].fitted_on
        if fitted is not None and fitted != split:
            raise ValueError(
                f"{self.op}: {side} features {name} were fitted on the training rows of split {fitted}, the split asked"
                f" for is {split}: make others with `fasthash embed {self.path} --{side} ... --split {split}`"
            )

    def _chosen(self, what: str, name: str | None, known: Mapping[str, Any]) -> str:
        if name is None and known:
            return next(iter(known))
        if name is None or name not in known:
            held = ", ".join(known) or f"none: `fasthash embed {self.path} --{what} ENCODER` makes some"
            what = what if what == "split" else f"{what} features"
            raise ValueError(f"{self.op}: {self.record.name} has the {what}: {held}; got {name!r}")
        return name

    def _set(self, side: str, name: str, suffix: str) -> Path:
        return self.path / "features" / side / f"{name}{suffix}"

    def _tensors(self, file: str, names: Any) -> dict[str, NDArray[Any]]:
        """Arrays of a safetensors file; all of them where ``names`` is None."""
        safetensors = require("safetensors", "safetensors", "data", "prepared data")
        path = self.path / file
        try:
            with safetensors.safe_open(str(path), framework="np") as arrays:
                return {name: arrays.get_tensor(name) for name in (names or arrays.keys())}
        except (safetensors.SafetensorError, OSError) as error:
            raise ValueError(f"{self.op}: {path} is damaged: {str(error).splitlines()[0]}") from None

    def _update(self, side: str, name: str, facts: FeatureFacts, changed: list[Path]) -> None:
        """Name the set in ``dataset.json``, as it stands now: another process may have added one meanwhile."""
        record = read_record(self.path, self.op)
        prefix = self._set(side, name, "").relative_to(self.path).as_posix()
        gone = {f"{prefix}{suffix}" for suffix in (".safetensors", ".extractor.json", ".extractor.safetensors")}
        files = {path: facts for path, facts in record.files.items() if path not in gone}
        files |= {path.relative_to(self.path).as_posix(): facts_of(path) for path in changed}
        sets = {**record.features(side), name: facts}
        self.record = record.model_copy(update={side: sets, "files": files})
        write_record(self.path, self.record)


def keep_extractor(extractor: Extractor, stem: Path) -> list[Path]:
    """Write what makes a set of features beside it: ``<stem>.extractor.json``, and its arrays where it has some."""
    save = require("safetensors.numpy", "safetensors", "data", "prepared data").save
    text = json.dumps(extractor.config(), ensure_ascii=False) + "\n"
    path, arrays = (stem.with_name(f"{stem.name}.extractor.{kind}") for kind in ("json", "safetensors"))
    replace_file(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    tensors = extractor.tensors()
    if not tensors:
        arrays.unlink(missing_ok=True)
        return [path]
    data = save({key: np.ascontiguousarray(value) for key, value in tensors.items()})
    replace_file(arrays, lambda temporary: temporary.write_bytes(data))
    return [path, arrays]
