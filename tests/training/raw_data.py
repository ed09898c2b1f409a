"""Drawn signs with their names: 40 pictures of four shapes in four colours, on a ground of its own each."""

import numpy as np
from PIL import Image, ImageDraw

from fasthash.data import LabelTree, PairedDataset
from fasthash.features import BagOfWords, Picture

COLOURS = {"red": (220, 30, 30), "green": (30, 180, 40), "blue": (40, 60, 220), "sun": (240, 210, 20)}
SHAPES = ("moon", "flag", "face", "hand")


def draw(colour, shape, seed):
    rng = np.random.default_rng(seed)
    ground = tuple(int(x) for x in rng.integers(200, 256, 3))
    image = Image.new("RGB", (24, 28), ground)
    pen = ImageDraw.Draw(image)
    x, y = (int(v) for v in rng.integers(2, 6, 2))
    box = (x, y, x + 15, y + 16)
    if shape == "moon":
        pen.ellipse(box, fill=colour)
    elif shape == "flag":
        pen.rectangle(box, fill=colour)
    elif shape == "face":
        pen.polygon([(x, y + 16), (x + 8, y), (x + 15, y + 16)], fill=colour)
    else:
        pen.line([(x, y), (x + 15, y + 16)], fill=colour, width=5)
    return image


def make(folder, n=40, draws=True):
    """Eight queries and 32 pairs to train on; features are a bag of words and the pictures' mean colours.

    Without ``draws`` the folder's pictures are read as they are.
    """
    pictures, texts, colours = [], [], []
    for i in range(n):
        colour, shape = list(COLOURS)[i % 4], SHAPES[i // 4 % 4]
        path = folder / f"{i}.png"
        if draws:
            draw(COLOURS[colour], shape, i).save(path)
        pictures.append(Picture(path))
        texts.append(f"{colour} {shape}")
        colours.append(colour)
    words = BagOfWords.fit(texts[8:], weighting="binary", norm=None)
    image = np.stack([np.asarray(p.open(), np.float32).mean(axis=(0, 1)) / 255 for p in pictures])
    warm = ["warm" if c in ("red", "sun") else "cold" for c in colours]
    tree = LabelTree.from_names(group=warm, colour=colours)
    return PairedDataset.from_arrays(
        image, words.encode(texts), query=np.arange(8), labels=tree.layers[-1].one_hot, tree=tree,
        class_names=tree.layers[-1].classes, pictures=tuple(pictures), texts=tuple(texts), text_extractor=words,
        name="signs",
    )  # fmt: skip
