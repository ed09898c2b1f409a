"""CLIP and models of its kind, by name or folder through transformers: the networks of DCGH and its relatives.

Radford et al.: Learning Transferable Visual Models From Natural Language Supervision, ICML 2021. ViT-B/32 gives 512
features for a picture and for a text; each tower keeps its own half of the model.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fasthash.features._packages import require
from fasthash.models.backbones._base import Backbone, PictureBackbone, channels
from fasthash.models.backbones._files import RANDOM
from fasthash.models.backbones._transform import PictureTransform, clip_transform
from fasthash.models.tokens import LENGTH, Tokenizer

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # CLIP's own
BICUBIC = 3  # PIL's number, as preprocessing files have it
UNMASKED = ("clip", "siglip", "siglip2")  # trained without an attention mask; 0 is a word of CLIP's


class ClipImage(PictureBackbone):
    """Pixels uint8 [m, 3, size, size] -> pooled embedding [m, width]; regions are the patches' last hidden states."""

    kind = "clip_image"

    def __init__(self, model: nn.Module, transform: PictureTransform, mean: Any, std: Any) -> None:
        super().__init__(transform, channels(*mean), channels(*std))
        vision: Any = model.config.vision_config  # type: ignore[union-attr]
        self.patches = (vision.image_size // vision.patch_size) ** 2
        self.network = _half(model, "text")
        size = transform.size
        self.width, self.local_shape = _shapes(self, torch.zeros(1, 3, size, size, dtype=torch.uint8))

    def maps(self, x: Tensor) -> Any:
        made: Any = self.network.get_image_features(pixel_values=self.scaled(x))  # type: ignore[operator]
        return made

    def pool(self, maps: Any) -> Tensor:
        return maps.pooler_output

    def split(self, maps: Any) -> Tensor:
        return maps.last_hidden_state[:, -self.patches :]  # without the class token in front, where there is one

    @classmethod
    def build(cls, argument: str, weights: str | None, *, transform: str = "consistent", **options: Any) -> ClipImage:
        """``argument``: a model's name or folder; ``weights``: None for its own, or "random" for its shape alone.

        Args:
            transform: "consistent": scale and middle cut for all pictures; "official": queries and database squeezed,
                as the released codes of the CLIP family do.
        """
        model = _load(argument, weights)
        found = _preprocessing(argument)
        size = model.config.vision_config.image_size
        view = clip_transform(size, transform, bicubic=found.get("resample", BICUBIC) == BICUBIC)  # type: ignore[arg-type]
        return cls(model, view, found.get("image_mean", MEAN), found.get("image_std", STD))

    def config(self) -> dict[str, Any]:
        return {
            "kind": self.kind, "model": _config(self.network), "transform": self.transform.to_dict(),
            "mean": self.mean.flatten().tolist(), "std": self.std.flatten().tolist(),
        }  # fmt: skip

    @classmethod
    def from_config(cls, config: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> ClipImage:
        transform = PictureTransform.from_dict(config["transform"])
        return cls(_empty(config["model"]), transform, config["mean"], config["std"])


class ClipText(Backbone):
    """Tokens int64 [m, length] -> pooled embedding [m, width]; regions are all tokens' last hidden states."""

    kind = "clip_text"
    takes = "texts"

    def __init__(self, model: nn.Module, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.network = _half(model, "vision")
        config: Any = model.config
        self.masked = config.model_type not in UNMASKED
        self.whole = config.model_type.startswith("siglip")
        self.width, self.local_shape = _shapes(self, torch.from_numpy(tokenizer.encode([""])))

    def maps(self, x: Tensor) -> Any:
        if x.dtype != torch.int64 or x.ndim != 2 or x.shape[1] != self.tokenizer.length:
            raise ValueError(f"clip: tokens must be int64 [m, {self.tokenizer.length}], got {x.dtype} {tuple(x.shape)}")
        return self._maps(x)

    def _maps(self, x: Tensor) -> Any:
        mask = self.tokenizer.mask(x).long() if self.masked else None
        made: Any = self.network.get_text_features(input_ids=x, attention_mask=mask)  # type: ignore[operator]
        return made

    def shortened(self, tokens: Tensor) -> Tensor:
        """Tokens [m, length] without the padding that the whole batch shares, for `short`."""
        if self.whole:
            return tokens
        return tokens[:, : max(1, int(self.tokenizer.mask(tokens).sum(dim=1).max()))]

    def short(self, x: Tensor) -> Tensor:
        """Features [m, width] of `shortened` tokens: up to rounding, those of all the tokens.

        What follows a text's end is not looked at. SigLIP's networks look at all places, and get them.
        """
        return self.pool(self._maps(x))

    def pool(self, maps: Any) -> Tensor:
        return maps.pooler_output

    def split(self, maps: Any) -> Tensor:
        return maps.last_hidden_state

    @classmethod
    def build(cls, argument: str, weights: str | None, *, full: bool = False, **options: Any) -> ClipText:
        """As `ClipImage.build`; the model's folder must hold its tokenizer too.

        Args:
            full: take texts of the model's own length (CLIP: 77 tokens); else of `LENGTH`, as the CLIP family does.
        """
        model = _load(argument, weights)
        kind, length = model.config.model_type, model.config.text_config.max_position_embeddings
        if not kind.startswith("siglip"):  # which knows full length alone
            most = length if kind == "clip" else length - 2  # some models number their places from 2
            length = most if full else min(length - 2, LENGTH)
        return cls(model, _tokenizer(argument, model.config, length))

    def config(self) -> dict[str, Any]:
        return {"kind": self.kind, "model": _config(self.network), "tokenizer": self.tokenizer.config()}

    def tensors(self) -> dict[str, NDArray[Any]]:
        return self.tokenizer.tensors()

    @classmethod
    def from_config(cls, config: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> ClipText:
        return cls(_empty(config["model"]), Tokenizer.from_config(config["tokenizer"], tensors))


def _transformers() -> Any:
    library = require("transformers", "transformers", "backbones", "the backbone clip")
    if int(library.__version__.partition(".")[0]) < 5:  # its models gave bare embeddings before
        raise RuntimeError(f"the backbone clip needs transformers 5 or later, got {library.__version__}")
    return library


def _load(name: str, weights: str | None) -> Any:
    """The whole model in float32.

    Raises:
        ValueError: no name, or it cannot be found or read. RuntimeError: transformers is not installed.
    """
    if not name:
        raise ValueError("clip: needs a model, as in clip:openai/clip-vit-base-patch32 or clip:FOLDER")
    if weights not in (None, RANDOM):
        raise ValueError(f"clip: the weights are those of clip:NAME or clip:FOLDER, not image_weights={weights!r}")
    library = _transformers()
    lacks: Collection[str] = ()
    try:
        if weights == RANDOM:
            model = library.AutoModel.from_config(library.AutoConfig.from_pretrained(name))
        else:
            with no_bars(library):
                model, info = library.AutoModel.from_pretrained(name, dtype=torch.float32, output_loading_info=True)
            lacks = info["missing_keys"]
    except Exception as error:  # no network, no such model, a damaged file: each raises its own
        raise ValueError(f"clip: {name} cannot be loaded: {_line(error)}") from None
    if lacks:  # they would start at random
        raise ValueError(f"clip: {name} lacks {len(lacks)} of its model's weights, {min(lacks)} among them")
    if not hasattr(model, "get_image_features") or not hasattr(model.config, "vision_config"):
        raise ValueError(f"clip: {name} is no model of pictures and texts, got {model.config.model_type}")
    if not hasattr(model.config.vision_config, "image_size"):
        raise ValueError(f"clip: {name} takes pictures of any shape, which is not supported: {model.config.model_type}")
    return model


@contextmanager
def no_bars(library: Any) -> Iterator[None]:
    """Without transformers' own progress bars, which would stand among ours."""
    logging = library.utils.logging
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _empty(config: Mapping[str, Any]) -> Any:
    """A model of this shape; its weights are made and then overwritten, without a number from the random stream."""
    library = _transformers()
    values = dict(config)
    try:
        with torch.random.fork_rng():
            return library.AutoModel.from_config(library.AutoConfig.for_model(values.pop("model_type"), **values))
    except Exception as error:
        raise ValueError(f"clip: the stored model cannot be built again: {_line(error)}") from None


def _config(model: Any) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(model.config.to_json_string(use_diff=False))
    return {key: value for key, value in values.items() if not key.startswith("_")}


def _half(model: nn.Module, other: str) -> nn.Module:
    """The model without its other side, whose features are never asked for."""
    for name in (f"{other}_model", "text_projection" if other == "text" else "visual_projection"):
        if hasattr(model, name):
            delattr(model, name)
    for name in ("logit_scale", "logit_bias"):
        if hasattr(model, name):
            delattr(model, name)
    return model


@torch.no_grad()
def _shapes(backbone: Backbone, x: Tensor) -> tuple[int, tuple[int, int]]:
    """Width and local shape, as one input shows them: each family says its widths in fields of its own."""
    was_training = backbone.training
    features, local = backbone.eval().both(x)
    backbone.train(was_training)
    return features.shape[1], (local.shape[1], local.shape[2])


def _preprocessing(name: str) -> dict[str, Any]:
    """What the model's own files say of its pictures; {} where they say nothing."""
    for file in ("preprocessor_config.json", "processor_config.json"):
        path = _file(name, file)
        if path is not None:
            values: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
            return values.get("image_processor", values)
    return {}


def _file(name: str, file: str) -> str | None:
    if os.path.isdir(name):
        path = os.path.join(name, file)
        return path if os.path.isfile(path) else None
    quiet = ("gated_repo", "missing_entries", "connection_errors")
    found: str | None = _transformers().utils.cached_file(
        name, file, **{f"_raise_exceptions_for_{what}": False for what in quiet}
    )
    return found


def _tokenizer(name: str, config: Any, length: int) -> Tokenizer:
    try:
        loaded = _transformers().AutoTokenizer.from_pretrained(name)
    except Exception as error:
        raise ValueError(f"clip: the tokenizer of {name} cannot be loaded: {_line(error)}") from None
    fast = getattr(loaded, "backend_tokenizer", None)
    if fast is None:
        raise ValueError(f"clip: {name} has no tokenizer file of the package tokenizers (tokenizer.json)")
    start = next((i for i in (loaded.bos_token_id, loaded.cls_token_id) if i is not None), None)
    end = next((i for i in (loaded.eos_token_id, loaded.sep_token_id) if i is not None), None)
    if config.model_type.startswith("siglip"):
        start = None
    # zero padded in the CLIP family's codes: its attention looks back only, so what follows the end does not count
    pad = 0 if config.model_type == "clip" else loaded.pad_token_id or 0
    return Tokenizer(fast.to_str(), length=length, start=start, end=end, pad=pad)


def _line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
