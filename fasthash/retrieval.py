"""A model, two indexes and the items behind them: words find pictures, a picture finds words."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash import search
from fasthash._files import replace_file
from fasthash._raw_inputs import model_inputs
from fasthash.data import PairedDataset, load, names
from fasthash.models import HashModel
from fasthash.search import BinaryIndex

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Item:
    """What is shown of an indexed pair."""

    id: str
    text: str  # raw text, empty where the data set has none
    label: str  # class names, comma separated, empty where unlabelled
    picture: str  # where it lies (a path, or archive:member), empty where the data set has features only


@dataclass(frozen=True)
class Found:
    """One hit: the item, its row in the index, and the Hamming distance in bits."""

    item: Item
    row: int
    distance: int


class Retriever:
    """Exact cross-modal search over the items of a data set.

    Args:
        model: encodes the queries.
        images, texts: indexes of the items' image codes and text codes, ids being rows of ``items``.
        items: what stands behind each row.
    """

    def __init__(self, model: HashModel, images: BinaryIndex, texts: BinaryIndex, items: list[Item]) -> None:
        model.require_hamming("Retriever")
        if not len(images) == len(texts) == len(items):
            raise ValueError(
                f"Retriever: {len(images)} image codes, {len(texts)} text codes, {len(items)} items differ"
            )
        if not model.bits == images.bits == texts.bits:
            raise ValueError(f"Retriever: model {model.bits}, images {images.bits} and texts {texts.bits} bits differ")
        self.model, self.images, self.texts, self.items = model, images, texts, items

    @classmethod
    def build(cls, model: HashModel, data: PairedDataset) -> Retriever:
        """Encode every row of a data set, queries included, each modality by its own tower."""
        model.require_hamming("Retriever")  # before everything is encoded
        images, texts = BinaryIndex(model.bits), BinaryIndex(model.bits)
        images.add(model.encode_image(model_inputs(model, data, "image")))
        texts.add(model.encode_text(model_inputs(model, data, "text")))
        return cls(model, images, texts, _items(data))

    def search_text(self, text: str, k: int = 10) -> list[Found]:
        """Items whose picture's code is nearest to the code of a text."""
        if not text.strip():
            raise ValueError("search: the text is empty")
        return self._search(self.model.encode_text([text]), self.images, k)

    def search_image(self, picture: Any, k: int = 10) -> list[Found]:
        """Items whose text's code is nearest to the code of a picture (path, PIL image, or uint8 [h, w, 3])."""
        return self._search(self.model.encode_image([picture]), self.texts, k)

    def search_row(self, row: int, k: int = 10, *, side: str = "image") -> list[Found]:
        """As above with an indexed row as query: its picture's code against texts, or its text's the other way."""
        if not 0 <= row < len(self.items):
            raise ValueError(f"search: row must be from 0 to {len(self.items) - 1}, got {row}")
        if side not in ("image", "text"):
            raise ValueError(f"search: side must be image or text, got {side!r}")
        own, other = (self.images, self.texts) if side == "image" else (self.texts, self.images)
        return self._search(np.ascontiguousarray(own.codes[row : row + 1]), other, k)

    def _search(self, query: NDArray[np.uint8], index: BinaryIndex, k: int) -> list[Found]:
        distances, rows = index.search(query, min(k, len(index)))
        pairs = zip(distances[0].tolist(), rows[0].tolist(), strict=True)
        return [Found(self.items[row], row, distance) for distance, row in pairs]

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write images.safetensors, texts.safetensors and items.json; the model is saved by itself."""
        folder = Path(folder)
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"index: {folder} must be a folder, got a file")
        folder.mkdir(parents=True, exist_ok=True)
        self.images.save(folder / "images.safetensors")
        self.texts.save(folder / "texts.safetensors")
        value = {"format": "fasthash.items", "version": FORMAT_VERSION, "items": [asdict(item) for item in self.items]}
        text = json.dumps(value, ensure_ascii=False)
        replace_file(folder / "items.json", lambda path: path.write_text(text, encoding="utf-8"))

    @classmethod
    def load(cls, model: HashModel, folder: str | os.PathLike[str]) -> Retriever:
        """Read what `save` wrote; the indexes stay memory-mapped."""
        folder = Path(folder)
        path = folder / "items.json"
        if not path.exists():
            raise FileNotFoundError(f"search: no index at {folder}: build it with `fasthash index build`")
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
            items = [Item(**item) for item in value["items"]]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"search: {path} is damaged: {error}") from None
        images, texts = (_index(folder / f"{side}.safetensors") for side in ("images", "texts"))
        return cls(model, images, texts, items)


def _index(path: Path) -> BinaryIndex:
    index = search.load(path)
    if not isinstance(index, BinaryIndex):
        raise ValueError(f"search: {path} must be an index file, got a folder of shards")
    return index


def data_of(model: HashModel) -> PairedDataset:
    """The data set a model was trained on, loaded with the same options.

    Raises:
        ValueError: it has no known name, or what is here now differs from what the model was trained on.
    """
    name = str(model.info.get("data"))
    if name not in names() and "folder" not in model.info.get("data_options", {}):
        raise ValueError(f"the model was trained on {name!r}, which is no known data set: name one (--data)")
    data = load(name, **model.info.get("data_options", {}))
    trained, here = model.info.get("data_checksum"), data.checksum()
    if trained != here:
        raise ValueError(
            f"{name} is not what the model was trained on (checksum {trained}, here {here}): name it (--data {name})"
            " to use it all the same"
        )
    return data


def _items(data: PairedDataset) -> list[Item]:
    labels = [""] * len(data)
    if data.labels is not None:
        labels = [", ".join(data.class_names[c] for c in np.flatnonzero(row)) for row in data.labels]
    texts = data.texts or ("",) * len(data)
    pictures = ["" if picture is None else str(picture) for picture in data.pictures or [None] * len(data)]
    return [Item(*columns) for columns in zip(data.ids, texts, labels, pictures, strict=True)]
