"""Regions and words: unit vectors, what they are made of, and what learns from them."""

import numpy as np
import pytest
import torch

from fasthash.models.local import LocalVectors, words_of


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def test_slots_are_linear_views_of_the_whole():
    net = LocalVectors(3, slots=4, f=5).double()
    f = torch.randn(2, 5, dtype=torch.float64)
    with torch.no_grad():
        got = net(None, f).numpy()
        weight, bias = net.whole.weight.numpy(), net.whole.bias.numpy()
    want = [[weight[3 * k : 3 * k + 3] @ row + bias[3 * k : 3 * k + 3] for k in range(4)] for row in f.numpy()]
    np.testing.assert_allclose(got, unit(np.array(want)), rtol=1e-12)


@pytest.mark.parametrize("f", [0, 5])
def test_words_are_rows_of_the_table_with_a_share_of_the_whole(f):
    net = LocalVectors(3, table=7, f=f).double()
    own, whole = torch.tensor([[6, 0], [2, 2]]), torch.randn(2, 5, dtype=torch.float64)
    with torch.no_grad():
        got = net(own, whole).numpy()
        want = net.table.weight.numpy()[own.numpy()]
        if f:
            want = want + (whole @ net.whole.weight.T + net.whole.bias).numpy()[:, None]
    np.testing.assert_allclose(got, unit(want), rtol=1e-12)


def test_parts_with_features_of_their_own_pass_through_a_linear_layer():
    net = LocalVectors(3, parts=4).double()
    own = torch.randn(2, 6, 4, dtype=torch.float64)
    with torch.no_grad():
        want = own.numpy() @ net.parts.weight.numpy().T + net.parts.bias.numpy()
        np.testing.assert_allclose(net(own, torch.zeros(2, 5)).numpy(), unit(want), rtol=1e-12)


def test_the_whole_learns_through_its_parts():
    for net, own in ((LocalVectors(3, slots=4, f=5), None), (LocalVectors(3, table=7, f=5), torch.tensor([[1, 2]]))):
        f = torch.randn(1, 5, requires_grad=True)
        (net(own, f)[0, 0, 0]).backward()
        assert f.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "expected one of parts, table and slots, got 0, 0 and 0"),
        ({"parts": 2, "table": 3}, "expected one of parts, table and slots, got 2, 3 and 0"),
        ({"slots": 2}, "slots are views of f, expected its width, got 0"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=f"LocalVectors: {message}"):
        LocalVectors(3, **settings)


def test_words_of_a_bag():
    bag = torch.tensor([[0.0, 0.2, 0.0, 0.5], [0.0, 0.0, 0.0, 0.0], [0.1, 0.4, 0.3, 0.2]])
    columns, there = words_of(bag, 3)
    found = [sorted(row[mask].tolist()) for row, mask in zip(columns, there, strict=True)]
    assert found == [[1, 3], [], [1, 2, 3]]
    assert words_of(bag, 32)[0].shape == (3, 4)
