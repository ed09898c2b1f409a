"""Small pairs for methods that are fitted at once, and a fit without the trainer around it."""

import itertools

import numpy as np
import torch

from fasthash.methods import Pairs, Solution, get, resolve_options


def make_views(n=80, image=7, text=5, latent=4, noise=0.7, seed=3):
    """Two views of a latent vector, [n, image] and [n, text], with means far from 0."""
    rng = np.random.default_rng(seed)
    common = rng.standard_normal((n, latent))
    x = common @ rng.standard_normal((latent, image)) + noise * rng.standard_normal((n, image)) + 2.0
    y = common @ rng.standard_normal((latent, text)) + noise * rng.standard_normal((n, text)) - 1.0
    return x, y


def make_labels(n=80, classes=4, seed=0):
    """Multi-hot [n, classes], at least one in each row."""
    rng = np.random.default_rng(seed)
    labels = rng.random((n, classes)) < 0.3
    labels[np.arange(n), rng.integers(classes, size=n)] = True
    return labels.astype(np.float64)


def make_classes(n=240, image=9, text=7, classes=4, noise=1.0, seed=0):
    """Both views of one class each, and its labels: there is something to learn."""
    rng = np.random.default_rng(seed)
    which = rng.integers(classes, size=n)
    x = 2 * rng.standard_normal((classes, image))[which] + noise * rng.standard_normal((n, image))
    y = 2 * rng.standard_normal((classes, text))[which] + noise * rng.standard_normal((n, text))
    return x, y, np.eye(classes)[which]


def fit(name, image, text, bits, labels=None, seed=0, **options) -> Solution:
    kind = get(name)
    method = kind(resolve_options(kind, "", options))
    method.check((image.shape[1], text.shape[1]), bits)
    return method.fit(Pairs.of(image, text, labels), bits, seed, lambda done, total, objective: None)


def weights(solution):
    """Of image and text, as arrays."""
    return solution.image.weights.numpy(), solution.text.weights.numpy()


def projections(solution, image, text):
    """h of both views [n, bits]."""
    return solution.image(torch.from_numpy(image)).numpy(), solution.text(torch.from_numpy(text)).numpy()


def pair_agreement(solution, image, text):
    """Share of bits in which the two codes of a pair agree."""
    h, g = projections(solution, image, text)
    return float(((h >= 0) == (g >= 0)).mean())


def never_rises(objective, slack=1e-9):
    """Beyond rounding: exact minimisations in float64 of sums of many terms."""
    return all(b <= a + slack * abs(a) for a, b in itertools.pairwise(objective))
