"""CCA-ITQ: one rotation of canonical projections, which keeps inner products and lowers what the signs lose."""

import numpy as np
import pytest
from cca_truth import cca_truth
from shallow_cases import fit, make_views, never_rises, projections, weights


@pytest.mark.parametrize("power", [0.0, 1.0, 2.0])
def test_a_rotation_of_scaled_canonical_projections(power):
    image, text = make_views()
    solution = fit("cca_itq", image, text, 5, ridge=0.1, power=power)
    *wanted, correlations = cca_truth(image, text, 0.1, 5)
    turns = [
        np.linalg.lstsq(w * correlations**power, got, rcond=None)[0]
        for w, got in zip(wanted, weights(solution), strict=True)
    ]
    np.testing.assert_allclose(turns[0], turns[1], atol=1e-8, err_msg="one for both modalities")
    np.testing.assert_allclose(turns[0].T @ turns[0], np.eye(5), atol=1e-8)
    for w, got in zip(wanted, weights(solution), strict=True):
        np.testing.assert_allclose(w * correlations**power @ turns[0], got, atol=1e-8)
    assert np.abs(turns[0] - np.eye(5)).max() > 0.1


def quantisation_error(h):
    return float(np.square(np.where(h >= 0, 1, -1) - h).sum() / len(h))


@pytest.mark.parametrize("seed", range(3))
def test_the_quantisation_error_never_rises(seed):
    image, text = make_views(seed=seed)
    solution = fit("cca_itq", image, text, 5, ridge=0.1, seed=seed)
    assert len(solution.objective) == 51
    assert never_rises(solution.objective)
    assert solution.objective[-1] < solution.objective[0]
    assert solution.objective[-1] == pytest.approx(
        quantisation_error(np.concatenate(projections(solution, image, text)))
    )
    *_, correlations = cca_truth(image, text, 0.1, 5)
    unturned = np.concatenate(projections(fit("cca", image, text, 5, ridge=0.1), image, text)) * correlations
    assert solution.objective[-1] < quantisation_error(unturned)


def test_more_iterations_go_on_where_fewer_stopped():
    views = make_views()
    few, more = (fit("cca_itq", *views, 5, iterations=k).objective for k in (3, 6))
    assert few == more[:4]


def test_more_bits_than_directions_are_refused():
    with pytest.raises(ValueError, match="^cca_itq: bits must be at most 5, the width of the narrower features"):
        fit("cca_itq", *make_views(), 6)
