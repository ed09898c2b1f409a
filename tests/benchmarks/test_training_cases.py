"""The training cases at tiny sizes: every contestant works, parts do the work of a step, and times become epochs."""

import cases_training
import pytest
import run
import torch
from cases import Case
from cases_training import DENSE, OURS, PARTS, POINTS, PUBLISHED
from interleave import timing
from training_framework import BARE, TRAINER, framework_case
from training_steps import Data, Ours


@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.method)
def test_every_contestant_works(point):
    case = point.quick().case()
    for call in case.contestants.values():
        call()
    assert {OURS, *PARTS.values()} < set(case.contestants)
    assert (DENSE in case.contestants) == point.sizes.bag
    assert (PUBLISHED in case.contestants) == (point.method in cases_training.EAGER)
    steps = case.times[OURS]  # calls of one step of each phase in an epoch
    assert steps in (300 // 16, -(-300 // 16))


def test_parts_together_make_a_step():
    """Networks and loss by themselves leave the gradients of a whole step, and the optimiser its weights."""
    point = next(point for point in POINTS if point.method == "hichnet").quick()
    data = Data.make(point.sizes)
    options = {"batch_size": 16, **point.options, "text_hidden": (32,)}
    whole, cut = (Ours("hichnet", data, 64, 1, options) for _ in range(2))
    whole.step()
    parts = cut.parts()
    cut.stepper.set_rates(cut.phases[0], cut.method.learning_rates(0))
    cut.stepper.set_rates(cut.phases[1], cut.method.learning_rates(0))
    before = cut.method.image.layers[-1].weight.detach().clone()
    parts["optimise"]()
    for side in ("image", "text"):
        got, want = (getattr(ours.method, side).layers[-1].weight for ours in (cut, whole))
        if side == "image":  # the text's step follows the image's in `whole`, and finds another bank
            torch.testing.assert_close(got, want)
            assert not torch.equal(got, before)


def test_framework_is_measured_against_the_same_steps():
    case = framework_case(quick=True)
    assert set(case.contestants) == {BARE, TRAINER}
    for call in case.contestants.values():
        call()


def test_times_are_multiplied():
    samples = [1.0, 2.0, 4.0]
    case = Case("c", {}, "a", times={"a": 10})
    done = run._measured(case, {"a": timing(samples, samples), "b": timing(samples, samples)})
    assert done.seconds == {"a": [10.0, 20.0, 40.0], "b": samples}
