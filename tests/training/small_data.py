"""A data set small enough to train on in a second: three classes, two views, one of them noisy."""

import numpy as np

from fasthash.data import PairedDataset

FAST = {
    "djsrh": {"epochs": 4, "text_hidden": (16,), "batch_size": 16, "lr_image": 0.05, "lr_text": 0.05},
    "dcmh": {
        "epochs": 5, "batch_size": 16, "optimizer": "adamw", "lr_first": 1e-2, "lr_last": 1e-3, "dropout": 0.2,
        "image_hidden": (16,), "text_hidden": (16,), "init_std": None, "gamma": 0.1, "eta": 0.001,
    },
}  # fmt: skip
LONGER = {"djsrh": {"epochs": 40}, "dcmh": {"epochs": 20}}  # enough to have learnt the three classes


def make(n=90, labelled=True, seed=0):
    rng = np.random.default_rng(seed)
    ids = np.arange(n) % 3
    means = rng.standard_normal((3, 12)), rng.standard_normal((3, 9))
    image, text = (np.abs(m[ids] + 0.3 * rng.standard_normal((n, m.shape[1]))) for m in means)
    return PairedDataset.from_arrays(image, text, query=np.arange(18), labels=ids if labelled else None, name="small")
