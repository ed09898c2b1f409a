"""Raw pictures and texts in place of features: the rows a backbone trains on, and what a trained model encodes."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from fasthash.data import PairedDataset
from fasthash.models import HashModel, Rows, backbones
from fasthash.models.pictures import PictureRows
from fasthash.models.tokens import TokenRows

FEATURES = "features"


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


def raw_rows(side: str, data: PairedDataset, options: BackboneOptions, device: torch.device, seed: int) -> Rows | None:
    """The raw training rows of a side under the backbone its option names; None for "features".

    Args:
        side: image or text.
        data: has ``pictures`` or ``texts``.
        options: of the method. A ``backbone_scale`` of 0 freezes the backbone.
        device: of training.
        seed: of the augmentation.
    Raises:
        ValueError, FileNotFoundError, RuntimeError: one line: raw items, weights or a package are missing.
    """
    spec = options.image_backbone if side == "image" else options.text_backbone
    if spec == FEATURES:
        if side == "image" and options.image_weights is not None:
            raise ValueError("image_weights is for an image_backbone, got image_backbone features")
        return None
    raw = data.pictures if side == "image" else data.texts
    what = "pictures" if side == "image" else "texts"
    if raw is None:
        raise ValueError(f"{side}_backbone {spec} needs raw {what}, {data.name} has features only")
    if side == "image":
        made = backbones.build(spec, weights=options.image_weights, transform=options.image_transform)
    else:
        made = backbones.build(spec, side="text")
    made = made.to(device)
    if options.backbone_scale == 0:
        made.freeze()
    items = [raw[i] for i in data.split.train]
    if isinstance(made, backbones.PictureBackbone):
        return PictureRows(items, made, device, seed=seed)
    return TokenRows(items, made, device)  # type: ignore[arg-type]


def model_inputs(model: HashModel, data: PairedDataset, side: str, rows: NDArray[np.int64] | None = None) -> Any:
    """What a model encodes of a data set's rows (default all): features, or a list of raw pictures or texts.

    Raises:
        ValueError: the model was trained on raw items, and the data set has none.
    """
    wanted = model.takes(side)
    if wanted == FEATURES:
        features = data.image if side == "image" else data.text
        return features if rows is None else features[rows]
    raw = data.pictures if wanted == "pictures" else data.texts
    if raw is None:
        raise ValueError(f"the model was trained on raw {wanted}, {data.name} has features only")
    return list(raw) if rows is None else [raw[i] for i in rows]
