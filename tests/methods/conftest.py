"""Small training rows that a loss can be worked out on by hand."""

import numpy as np
import pytest
import torch

from fasthash.methods import TrainData


@pytest.fixture
def rows():
    rng = np.random.default_rng(5)
    labels = (rng.random((6, 3)) < 0.5).astype(np.uint8)
    labels[labels.sum(axis=1) == 0, 0] = 1
    image = torch.from_numpy(np.abs(rng.standard_normal((6, 7))).astype(np.float32))
    text = torch.from_numpy(np.abs(rng.standard_normal((6, 5))).astype(np.float32))
    return TrainData(image, text, torch.from_numpy(labels))


@pytest.fixture
def batch_of(rows):
    def make(*index):
        return rows.batch(torch.tensor(index))

    return make
