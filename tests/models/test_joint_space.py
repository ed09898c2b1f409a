"""The joint space of streamed pairs against closed-form CCA of all of them at once."""

import numpy as np
import pytest
import torch
from cca_truth import cca_truth

from fasthash.models.joint_space import JointSpace


def views(shift=0.0):
    rng = np.random.default_rng(0)
    common = rng.standard_normal((90, 3))
    image = common @ rng.standard_normal((3, 7)) + rng.standard_normal((90, 7)) + shift
    text = common @ rng.standard_normal((3, 5)) + rng.standard_normal((90, 5)) - shift
    return torch.from_numpy(image), torch.from_numpy(text)


def parts(pair, *sizes):
    return list(zip(*(x.split(list(sizes)) for x in pair), strict=True))


@pytest.mark.parametrize("sizes", [(90,), (40, 49, 1)], ids=str)
@pytest.mark.parametrize("shift", [0.0, 1e5])  # far from 0: second moments about 0 would leave six digits less
def test_coordinates_are_those_of_cca_times_their_correlations(sizes, shift):
    pair = views(shift)
    space = JointSpace.fit(parts(pair, *sizes), ridge=0.3, width=4)
    *weights, correlations = cca_truth(*pair, 0.3, 4)
    for side in (0, 1):
        features = pair[side].float() if shift == 0 else pair[side]
        got = (space.image, space.text)[side](features).double()
        wanted = (features.double() - pair[side].mean(0)).numpy() @ weights[side] * correlations
        # float32 means of 1e5 are 4e-3 off; without them the products of float32 alone round
        np.testing.assert_allclose(got, wanted, atol=1e-5 if shift == 0 else 2e-2)
    np.testing.assert_allclose(space.correlations, correlations, atol=1e-6)


def test_as_wide_as_the_narrower_features():
    space = JointSpace.fit([views()], ridge=1.0)
    assert space.image(torch.zeros(2, 7)).shape == space.text(torch.zeros(2, 5)).shape == (2, 5)


@pytest.mark.parametrize(
    ("pairs", "width", "message"),
    [
        ([], None, "JointSpace: pairs must be 2 or more, got 0"),
        (parts(views(), 1, 89)[:1], None, "JointSpace: pairs must be 2 or more, got 1"),
        ([views()], 6, "JointSpace: width must be from 1 to 5, got 6"),
    ],
)
def test_bad_input_is_one_line(pairs, width, message):
    with pytest.raises(ValueError, match=message):
        JointSpace.fit(pairs, ridge=0.3, width=width)
