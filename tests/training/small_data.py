"""A data set small enough to train on in a second: three classes in two groups, two views, one of them noisy."""

import numpy as np

from fasthash.data import LabelTree, PairedDataset

FAST = {
    "djsrh": {"epochs": 4, "text_hidden": (16,), "batch_size": 16, "lr_image": 0.05, "lr_text": 0.05},
    "dcmh": {
        "epochs": 5, "batch_size": 16, "optimizer": "adamw", "lr_first": 1e-2, "lr_last": 1e-3, "dropout": 0.2,
        "image_hidden": (16,), "text_hidden": (16,), "init_std": None, "gamma": 0.1, "eta": 0.001,
    },
    "dcgh": {
        "epochs": 5, "batch_size": 16, "lr": 2e-2, "image_hidden": (16,), "text_hidden": (16,), "code_dropout": 0.0,
    },
    "hichnet": {
        "epochs": 5, "batch_size": 16, "optimizer": "adamw", "lr_first": 1e-2, "lr_last": 1e-3, "dropout": 0.2,
        "image_hidden": (16,), "text_hidden": (16,), "init_std": None, "gamma": 0.1, "eta": 0.001,
    },
    "ssah": {
        "epochs": 3, "batch_size": 16, "width": 16, "image_hidden": (), "text_hidden": (16,), "label_hidden": (16,),
        "discriminator_hidden": (8,), "text_scales": (3,), "init_std": None, "reduction": "mean", "adversary": 0.05,
        "label_passes": (3,), "image_passes": (2, 1), "text_passes": (2, 1), "lr_label": 1e-2, "lr_image": 1e-2,
        "lr_text": 1e-2, "lr_decay": 0.9, "dropout": 0.2,
    },
    "udsph": {
        "epochs": 4, "batch_size": 16, "width": 16, "image_hidden": (), "text_hidden": (16,), "label_hidden": (16,),
        "discriminator_hidden": (8,), "local_width": 8, "regions": 4, "words": 6, "lr": 1e-2, "lr_label": 1e-2,
        "lr_label_first": 1e-2, "lr_discriminator": 1e-3, "adversary": 0.05, "dropout": 0.2,
    },
    "dbrc": {"epochs": 4, "batch_size": 16, "lr": 1e-2, "image_hidden": (16,), "text_hidden": (16,)},
    "udcmh": {
        "epochs": 4, "batch_size": 16, "lr": 1e-2, "image_hidden": (16,), "text_hidden": (16,), "centre": True,
        "normalize": True, "rounds": 2, "neighbours": 10, "iterations": 2, "sweeps": 2, "dropout": 0.2,
    },
    "cdq": {
        "epochs": 4, "batch_size": 16, "width": 16, "image_hidden": (16,), "text_hidden": (16,), "centre": True,
        "normalize": True, "init_std": None, "lr_image": 0.02, "lr_text": 0.02, "last_layer": 1.0, "dropout": 0.2,
    },
}  # fmt: skip
# enough to have learnt the three classes
LONGER = {
    "djsrh": {"epochs": 40},
    "dcmh": {"epochs": 20},
    "dcgh": {"epochs": 20},
    "hichnet": {"epochs": 20},
    "ssah": {"epochs": 12},
    "udsph": {"epochs": 20},
    "dbrc": {"epochs": 20},
    "udcmh": {"epochs": 20},
    "cdq": {"epochs": 20},
}


def make(n=90, labelled=True, seed=0):
    rng = np.random.default_rng(seed)
    ids = np.arange(n) % 3
    means = rng.standard_normal((3, 12)), rng.standard_normal((3, 9))
    image, text = (np.abs(m[ids] + 0.3 * rng.standard_normal((n, m.shape[1]))) for m in means)
    tree = LabelTree.from_names(group=["a" if i < 2 else "b" for i in ids], kind=[str(i) for i in ids])
    labels = {"labels": ids, "tree": tree} if labelled else {}
    return PairedDataset.from_arrays(image, text, query=np.arange(18), name="small", **labels)


def make_bags():
    """`make` with texts of three words out of 90."""
    small = make()
    rng = np.random.default_rng(0)
    ids = small.labels.argmax(axis=1)
    text = np.zeros((len(small.image), 90), np.float32)
    for row, label in zip(text, ids, strict=True):
        row[30 * label + rng.choice(30, 3, replace=False)] = 1
    return PairedDataset.from_arrays(small.image, text, query=np.arange(18), name="bags", labels=ids, tree=small.tree)
