"""Raw pictures and texts in place of features: the rows a backbone trains on, and what a trained model encodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, Protocol, TypeVar, overload

import numpy as np
import torch
from numpy.typing import NDArray

from fasthash.data import PairedDataset
from fasthash.models import FeatureView, HashModel, Rows, backbones
from fasthash.models.pictures import PictureRows
from fasthash.models.tokens import TokenRows

FEATURES = "features"
T = TypeVar("T")


class Taken(Sequence[T], Generic[T]):
    """Some items of a sequence, in the order given, made when they are asked for.

    Args:
        items: N of them.
        rows: int64 [n], from 0 to N - 1.
    """

    def __init__(self, items: Sequence[T], rows: NDArray[np.int64]) -> None:
        self.items, self.rows = items, rows

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, i: int) -> T: ...

    @overload
    def __getitem__(self, i: slice) -> Taken[T]: ...

    def __getitem__(self, i: Any) -> Any:
        return Taken(self.items, self.rows[i]) if isinstance(i, slice) else self.items[self.rows[i]]


class BackboneOptions(Protocol):
    """The options of a method that choose its backbones."""

    @property
    def backbone_scale(self) -> float: ...

    @property
    def image_backbone(self) -> str: ...

    @property
    def image_weights(self) -> str | None: ...

    @property
    def image_transform(self) -> str: ...

    @property
    def text_backbone(self) -> str: ...


def check_inputs(op: str, data: PairedDataset, options: BackboneOptions) -> None:
    """ValueError, one line that says what to do, unless the data set has what the options train on."""
    for side, spec in (("image", options.image_backbone), ("text", options.text_backbone)):
        if spec == FEATURES:
            data.features(side, op=op, instead=f", or choose --set {side}_backbone=...")
            continue
        raw: Sequence[Any] | None = data.pictures if side == "image" else data.texts
        what = "picture" if side == "image" else "text"
        if raw is None:
            raise ValueError(f"{op}: {side}_backbone {spec} needs raw {what}s, {data.name} has features only")
        bare = np.array([i for i, item in enumerate(raw) if item is None], np.int64)
        bare = bare[np.isin(bare, np.concatenate([data.split.query, data.split.database, data.split.train]))]
        if len(bare):
            raise ValueError(
                f"{op}: {side}_backbone {spec} needs a {what} of every pair, {len(bare)} of {data.name} have none, "
                f"the first is row {bare[0]} (id {data.ids[bare[0]]})"
            )


def raw_rows(side: str, data: PairedDataset, options: BackboneOptions, device: torch.device, seed: int) -> Rows | None:
    """The raw training rows of a side under the backbone its option names; None for "features".

    Args:
        side: image or text.
        data: has ``pictures`` or ``texts``.
        options: of the method. A ``backbone_scale`` of 0 freezes the backbone.
        device: of training.
        seed: of the augmentation.
    Raises:
        ValueError, FileNotFoundError, RuntimeError: one line: weights or a package are missing.
    """
    spec = options.image_backbone if side == "image" else options.text_backbone
    if spec == FEATURES:
        if side == "image" and options.image_weights is not None:
            raise ValueError("image_weights is for an image_backbone, got image_backbone features")
        return None
    raw = data.pictures if side == "image" else data.texts
    assert raw is not None  # see check_inputs
    if side == "image":
        made = backbones.build(spec, weights=options.image_weights, transform=options.image_transform)
    else:
        made = backbones.build(spec, side="text")
    made = made.to(device)
    if options.backbone_scale == 0:
        made.freeze()
    items: Sequence[Any] = Taken(raw, data.split.train)
    if isinstance(made, backbones.PictureBackbone):
        return PictureRows(items, made, device, seed=seed)
    return TokenRows(items, made, device)  # type: ignore[arg-type]


def model_inputs(model: HashModel, data: PairedDataset, side: str, rows: NDArray[np.int64] | None = None) -> Any:
    """What a model encodes of a data set's rows (default all): features, or a sequence of raw pictures or texts.

    Nothing is copied: rows of features and raw items are read while they are encoded. A model trained on features gets
    raw items where the data set has nothing else, and it knows the way from them to features.

    Raises:
        ValueError: the model was trained on raw items, and the data set has none; or on features, likewise.
    """
    features, raw = (data.image, data.pictures) if side == "image" else (data.text, data.texts)
    wanted, extractor = model.takes(side), model.image_extractor if side == "image" else model.text_extractor
    if wanted == FEATURES and (features is not None or extractor is None):
        features = data.features(side, op="encode")
        return features if rows is None else FeatureView(features, rows)
    if raw is None:
        raise ValueError(f"the model was trained on raw {wanted}, {data.name} has features only")
    items: Sequence[Any] = raw
    return items if rows is None else Taken(items, rows)
