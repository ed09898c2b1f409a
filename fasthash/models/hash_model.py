"""The trained thing: encodes pictures, texts or features to packed codes; saved as safetensors + config.json."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fasthash import codes, features
from fasthash._arguments import whole_number
from fasthash._files import replace_file
from fasthash._native import is_torch, like
from fasthash.models import backbones
from fasthash.models.encoder import Encoder, build_encoder
from fasthash.models.mapped import FeatureView, of_array
from fasthash.models.pictures import PictureRows, announced
from fasthash.models.tokens import TokenRows

FORMAT_VERSION = 1
BATCH = 4096  # rows through a tower at once: bounds the memory of wide hidden layers
RAW_BATCH = 64  # pictures or texts through a backbone at once
MAX_BATCH = 1 << 30


class HashModel(nn.Module):
    """Two encoders, and the extractors that turn raw pictures and texts into what the encoders were trained on.

    Args:
        image, text: encoders of the same number of bits; one with a backbone takes raw pictures or texts, nothing else.
        image_extractor, text_extractor: from ``fasthash.features``; None when only features can be encoded.
        info: what should be known about its making (method, data, seed, options); JSON-able.
    """

    kind: ClassVar[str] = "hamming"  # in config.json, so that `load` makes one of the same class

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _MODELS[cls.kind] = cls

    def __init__(
        self,
        image: Encoder,
        text: Encoder,
        *,
        image_extractor: features.Extractor | None = None,
        text_extractor: features.Extractor | None = None,
        info: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if image.config.bits != text.config.bits:
            raise ValueError(
                f"HashModel: image and text must have the same bits, got {image.config.bits} and {text.config.bits}"
            )
        self.image, self.text = image, text
        # a backbone takes the raw items itself; an extractor beside it would only be one more thing to install
        self.image_extractor = image_extractor if image.backbone is None else None
        self.text_extractor = text_extractor if text.backbone is None else None
        self.info = info or {}

    @property
    def bits(self) -> int:
        """Code length."""
        return self.image.config.bits

    def shape(self) -> dict[str, Any]:
        """JSON-able: what `of_shape` needs beside the encoders to make a model that weights are filled into."""
        return {}

    @classmethod
    def of_shape(cls, shape: dict[str, Any], image: Encoder, text: Encoder, **others: Any) -> HashModel:
        """A model of the shape that `shape` told; ``others`` as of the class."""
        return cls(image, text, **others)

    def pack(self, h: Tensor) -> NDArray[np.uint8]:
        """Codes uint8 [n, ceil(bits / 8)] of what an encoder makes."""
        made: NDArray[np.uint8] = codes.pack(h.cpu().numpy())
        return made

    def require_hamming(self, op: str) -> None:
        """ValueError, in one line that starts with ``op``, where codes are no codes for Hamming distances."""

    def takes(self, side: str) -> str:
        """What a side ("image" or "text") encodes without an extractor: "features", "pictures" or "texts"."""
        backbone = (self.image if side == "image" else self.text).backbone
        return "features" if backbone is None else backbone.takes

    def encode_image(self, items: Any, *, batch_size: int | None = None) -> Any:
        """Packed codes of images.

        Args:
            items: features [n, width] (NumPy or torch), or a list of pictures: paths, PIL images or uint8 [h, w, 3].
                They are read part by part: a memory map, a `FeatureView` of some rows of one, or a sequence that makes
                its items when they are asked for, takes no more memory than its codes.
            batch_size: rows through the networks at once; None: 4096 rows of features, 64 raw items of a model that
                was trained on them. It changes memory and speed, and codes where rounding decides on a sign.
        Returns:
            uint8 [n, ceil(bits / 8)]; torch when features came as torch, NumPy otherwise.
        Raises:
            ValueError: wrong width, NaN, pictures given to a model trained on features without a known extractor, or
                features given to one that was trained on pictures; a batch size below 1.
        """
        return self._encode("image", self.image, self.image_extractor, items, batch_size=batch_size)

    def encode_text(self, items: Any, *, batch_size: int | None = None) -> Any:
        """Packed codes of texts: a list of strings, or features [n, width]. All else as `encode_image`."""
        return self._encode("text", self.text, self.text_extractor, items, batch_size=batch_size)

    def relax_image(self, items: Any) -> Any:
        """Codes of images before their sign, as queries for `search.rescore`; items and errors as `encode_image`.

        Returns:
            float32 [n, bits]; torch when features came as torch, NumPy otherwise.
        """
        return self._encode("image", self.image, self.image_extractor, items, relaxed=True)

    def relax_text(self, items: Any) -> Any:
        """Codes of texts before their sign; as `relax_image`."""
        return self._encode("text", self.text, self.text_extractor, items, relaxed=True)

    def _encode(
        self,
        side: str,
        tower: Encoder,
        extractor: features.Extractor | None,
        items: Any,
        *,
        relaxed: bool = False,
        batch_size: int | None = None,
    ) -> Any:
        op = f"{'relax' if relaxed else 'encode'}_{side}"
        if batch_size is not None:
            batch_size = whole_number(batch_size, 1, MAX_BATCH, op, "batch_size")
        ready = is_torch(items) or isinstance(items, FeatureView) or (isinstance(items, np.ndarray) and items.ndim == 2)
        if not ready:
            if isinstance(items, (str, os.PathLike)) or not hasattr(items, "__iter__"):
                raise ValueError(f"{op}: expected a list of {side}s or a feature array, got one {type(items).__name__}")
            items = items if isinstance(items, Sequence) else list(items)
        if tower.backbone is not None:
            if ready:
                raise ValueError(f"{op}: this model was trained on raw {side}s: pass a list of {side}s, not features")
            parts = self._inputs_from_raw(tower, items, batch_size or RAW_BATCH)
        else:
            if not ready and extractor is None:
                raise ValueError(
                    f"{op}: this model was trained on ready-made {side} features and knows no way from raw {side}s to"
                    " them: pass features"
                )
            if ready:
                _check_width(op, tower, items)
            parts = self._inputs(op, tower, items, None if ready else extractor, batch_size or BATCH)
        if len(items) == 0:
            raise ValueError(f"{op}: nothing to encode, got {'0 rows' if ready else 'an empty list'}")
        made = self._made(tower, len(items), parts, relaxed)
        return like(made, items) if is_torch(items) else made

    @staticmethod
    def _inputs(
        op: str, tower: Encoder, items: Any, extractor: features.Extractor | None, batch: int
    ) -> Iterator[Tensor]:
        """Features, or those of raw items, on the tower's device, checked, a part at a time."""
        for start in range(0, len(items), batch):
            part = items[start : start + batch]
            if extractor is not None:
                part = extractor.encode(list(part))
                _check_width(op, tower, part)
            rows = part if is_torch(part) else of_array(part)
            if not torch.isfinite(rows).all():
                bad = start + int((~torch.isfinite(rows).all(dim=1)).nonzero()[0])
                raise ValueError(f"{op}: features of row {bad} are not finite")
            yield rows.to(tower.mean.device, torch.float32)

    @staticmethod
    def _inputs_from_raw(tower: Encoder, items: Sequence[Any], batch: int) -> Iterator[Tensor]:
        """Pixels of pictures, decoded in threads a batch ahead of the network, or tokens of texts."""
        device = tower.mean.device
        if isinstance(tower.backbone, backbones.PictureBackbone):
            rows = PictureRows(items, tower.backbone, device, train=False, cache_bytes=0)
            with closing(rows):
                batches = announced(torch.arange(len(items)).split(batch), rows.announce)
                yield from map(rows.take, batches)
        else:
            yield from TokenRows(items, tower.backbone, device).tokens.split(batch)  # type: ignore[arg-type]

    def _made(self, tower: Encoder, n: int, parts: Iterator[Tensor], relaxed: bool) -> NDArray[Any]:
        """Codes of n rows: packed as soon as a part is made, so that no relaxed code is kept; or those, float32."""
        width, dtype = (tower.config.bits, np.float32) if relaxed else (-(-self.bits // 8), np.uint8)
        out: NDArray[Any] = np.empty((n, width), dtype)
        start = 0
        was_training = self.training
        self.eval()
        try:
            with torch.inference_mode():
                for part in parts:
                    h = tower(part)
                    # as it is where it is finer: a tiny number must not lose its sign
                    h = h if h.dtype == torch.float64 else h.float()
                    made = h.cpu().numpy() if relaxed else self.pack(h)
                    out[start : start + len(made)] = made
                    start += len(made)
        finally:
            self.train(was_training)
        return out

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write ``model.safetensors`` and ``config.json`` into a folder, each whole or not at all."""
        safetensors = _safetensors()
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tensors: dict[str, Tensor] = {}
        seen: set[int] = set()
        for name, value in self.state_dict().items():
            tensors[name] = value.detach().cpu().contiguous()
            if tensors[name].data_ptr() in seen:  # both encoders may hold one module: each has it in the file
                tensors[name] = tensors[name].clone()
            seen.add(tensors[name].data_ptr())
        config: dict[str, Any] = {"format": "fasthash.model", "version": FORMAT_VERSION, "bits": self.bits}
        config |= {"image": self.image.config.to_dict(), "text": self.text.config.to_dict(), "info": self.info}
        if self.kind != HashModel.kind:
            config["model"] = {"kind": self.kind, **self.shape()}
        for side, extractor in (("image", self.image_extractor), ("text", self.text_extractor)):
            config[f"{side}_extractor"] = None if extractor is None else extractor.config()
            if extractor is not None:
                for name, array in extractor.tensors().items():
                    tensors[f"{side}_extractor.{name}"] = torch.from_numpy(np.ascontiguousarray(array))
        for side, tower in (("image", self.image), ("text", self.text)):
            own = {} if tower.backbone is None else tower.backbone.tensors()
            tensors |= {f"{side}_backbone.{name}": torch.from_numpy(array.copy()) for name, array in own.items()}
        replace_file(folder / "model.safetensors", lambda path: safetensors.save_file(tensors, str(path)))
        text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
        replace_file(folder / "config.json", lambda path: path.write_text(text, encoding="utf-8"))

    @classmethod
    def load(cls, folder: str | os.PathLike[str], device: str | torch.device = "cpu") -> HashModel:
        """Read a model that `save` wrote.

        Raises:
            FileNotFoundError: a file is missing. ValueError: it is truncated, foreign, or from a newer version.
        """
        folder = Path(folder)
        config = _read_config(folder)
        tensors = _read_tensors(folder / "model.safetensors")
        extractors = {}
        for side in ("image", "text"):
            spec, own = config[f"{side}_extractor"], _take(tensors, f"{side}_extractor.")
            extractors[side] = None if spec is None else features.from_config(spec, own)
        try:
            towers = [build_encoder(config[side], _take(tensors, f"{side}_backbone.")) for side in ("image", "text")]
        except (TypeError, KeyError) as error:
            raise ValueError(f"HashModel.load: {folder}/config.json describes no encoder: {error}") from None
        model = _empty(folder, config, *towers, image_extractor=extractors["image"], text_extractor=extractors["text"])
        if not isinstance(model, cls):
            raise ValueError(f"{cls.__name__}.load: {folder} holds a {type(model).__name__}")
        try:
            model.load_state_dict(tensors)
        except RuntimeError as error:
            line = " ".join(str(error).split())
            raise ValueError(f"HashModel.load: {folder}/model.safetensors does not fit config.json: {line}") from None
        return model.to(device).eval()


_MODELS: dict[str, type[HashModel]] = {HashModel.kind: HashModel}  # by kind


def _empty(folder: Path, config: dict[str, Any], image: Encoder, text: Encoder, **extractors: Any) -> HashModel:
    """The model that a config describes, its weights still to be loaded."""
    shape = config.get("model", {"kind": HashModel.kind})
    try:
        return _MODELS[shape["kind"]].of_shape(shape, image, text, info=config["info"], **extractors)
    except (TypeError, KeyError) as error:
        raise ValueError(f"HashModel.load: {folder}/config.json describes no model: {error}") from None


def _check_width(op: str, tower: Encoder, items: Any) -> None:
    if len(items.shape) != 2 or items.shape[1] != tower.config.width:
        raise ValueError(f"{op}: features must be [n, {tower.config.width}] as in training, got {tuple(items.shape)}")


def _take(tensors: dict[str, Tensor], prefix: str) -> dict[str, Any]:
    """The arrays under a prefix, taken out of ``tensors``."""
    return {name.removeprefix(prefix): tensors.pop(name).numpy() for name in list(tensors) if name.startswith(prefix)}


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"HashModel.load: no model at {folder}: config.json is missing") from None
    except ValueError as error:
        raise ValueError(f"HashModel.load: {path} is not JSON: {error}") from None
    if not isinstance(config, dict) or config.get("format") != "fasthash.model":
        raise ValueError(f"HashModel.load: {path} is not a fasthash model's config")
    needed = {"version": int, "bits": int, "image": dict, "text": dict, "info": dict}
    wrong = [key for key, kind in needed.items() if not isinstance(config.get(key), kind)]
    wrong += [key for key in ("image_extractor", "text_extractor") if key not in config]
    if wrong:
        raise ValueError(f"HashModel.load: {path} is damaged: {', '.join(wrong)} missing or of the wrong kind")
    if config["version"] > FORMAT_VERSION:
        raise ValueError(
            f"HashModel.load: {path} has format version {config['version']}, this fasthash reads up to {FORMAT_VERSION}"
        )
    return config


def _read_tensors(path: Path) -> dict[str, Tensor]:
    safetensors = _safetensors()
    try:
        return safetensors.load_file(str(path))
    except FileNotFoundError:
        raise FileNotFoundError(f"HashModel.load: {path} is missing") from None
    except Exception as error:  # safetensors raises its own class for truncated and foreign files
        raise ValueError(f"HashModel.load: {path} cannot be read: {error}") from None


def _safetensors() -> Any:
    try:
        import safetensors.torch
    except ImportError:
        raise RuntimeError("models are stored with the package safetensors: pip install 'fasthash[learn]'") from None
    return safetensors.torch
