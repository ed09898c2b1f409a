"""The losses of fasthash in a training loop of your own, with nothing else of fasthash's training.

python examples/own_training_loop.py        seconds; learns 32-bit codes of made-up image and text features
"""

import torch
from torch import Tensor, nn

from fasthash import codes, losses, metrics

ROWS, CLASSES, BITS = 2000, 8, 32


def make_pairs(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Features of images [n, 64] and texts [n, 48] that are noisy views of their labels, and the labels [n, c]."""
    g = torch.Generator().manual_seed(seed)
    labels = (torch.rand(ROWS, CLASSES, generator=g) < 0.1).float()
    labels[torch.arange(ROWS), torch.randint(CLASSES, (ROWS,), generator=g)] = 1  # at least one
    image, text = (labels @ torch.randn(CLASSES, width, generator=g) for width in (64, 48))
    return image + torch.randn(image.shape, generator=g), text + torch.randn(text.shape, generator=g), labels


def tower(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, 128), nn.ReLU(), nn.Linear(128, BITS), nn.Tanh())


def main() -> None:
    torch.manual_seed(0)
    image, text, labels = make_pairs()
    model = nn.ModuleDict({"image": tower(64), "text": tower(48)})
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    nll, quantization, balance = losses.PairwiseNLL(reduction="mean"), losses.Quantization(), losses.CodeBalance()
    for epoch in range(10):
        total = 0.0
        for rows in torch.randperm(ROWS).split(250):
            h_image, h_text = model["image"](image[rows]), model["text"](text[rows])
            code = torch.where(h_image + h_text >= 0, 1.0, -1.0)  # what both should become
            loss = nll(h_image, h_text, labels[rows], labels[rows])
            loss = loss + 1e-5 * (quantization(h_image, code) + quantization(h_text, code))
            loss = loss + 1e-6 * (balance(h_image) + balance(h_text))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows) / ROWS
        print(f"epoch {epoch + 1:2}  loss {total:.4f}")
    with torch.no_grad():
        packed = codes.pack(model["image"](image)), codes.pack(model["text"](text))
    scores = metrics.evaluate(*packed, labels, labels, bits=BITS)
    print(f"mAP of the texts found by an image: {scores.value:.3f}")


if __name__ == "__main__":
    main()
