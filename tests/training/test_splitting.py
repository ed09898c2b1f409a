"""A batch in parts: the loss, the gradient and the trained network of the whole batch."""

import pytest
import torch
from lightning_fabric.plugins import MixedPrecision
from small_data import FAST, make

from fasthash import _loop, methods
from fasthash._stepper import Stepper
from fasthash.training import train

FAST = {name: options | ({"dropout": 0.0} if "dropout" in options else {}) for name, options in FAST.items()}


def weights_of(run):
    return {name: value for name, value in run.model.state_dict().items() if value.is_floating_point()}


def assert_same_network(got, want):
    for name, value in want.items():
        torch.testing.assert_close(
            got[name], value, rtol=2e-4, atol=2e-5, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize("method", sorted(FAST))
@pytest.mark.parametrize("accumulate", [2, 5])
def test_accumulated_equals_whole(small, method, accumulate):
    options = FAST[method] | {"epochs": 2}
    whole = train(method, small, bits=16, progress=False, **options)
    parts = train(method, small, bits=16, accumulate=accumulate, progress=False, **options)
    assert_same_network(weights_of(parts), weights_of(whole))
    for a, b in zip(parts.history, whole.history, strict=True):
        for key in (key for key in a if key.startswith(("loss_", "term_"))):
            assert a[key] == pytest.approx(b[key], rel=1e-4), key


class _Thinned(methods.Method):
    """A network that drops units out: the second pass through it must drop the same ones."""

    def __init__(self):
        super().__init__(None, 4, None)
        self.layer = torch.nn.Linear(3, 4)

    def encode(self, batch, phase):
        return {"h": torch.dropout(self.layer(batch.image), 0.5, True)}

    def loss(self, outputs, index, phase):
        self.seen = outputs["h"].detach().clone()
        return {"square": (outputs["h"] ** 2).sum(), "third": outputs["h"].pow(3).sum()}


def test_parts_drop_the_same_units_in_both_passes():
    torch.manual_seed(0)
    method, x = _Thinned(), torch.randn(7, 3)
    optimizers = {"all": torch.optim.SGD(method.parameters(), lr=0.0)}
    data = methods.TrainData(x, x)
    fabric = _loop.Fabric(accelerator="cpu", devices=1)
    stepper = Stepper(fabric, method, data, optimizers, accumulate=3, compile=False)
    before = torch.get_rng_state()
    terms = stepper.step(methods.Phase("joint", ("all",)), torch.arange(7))
    after = torch.get_rng_state()
    got = method.layer.weight.grad.double()
    kept = method.seen != 0
    h = (2 * (x.double() @ method.layer.weight.double().T + method.layer.bias.double())) * kept
    want = (2 * (2 * h + 3 * h**2) * kept).T @ x.double()  # d h / d (W x) is 2 where the unit is kept
    torch.testing.assert_close(got, want.detach(), rtol=1e-5, atol=1e-5)
    assert float(terms["square"]) == pytest.approx(float((h**2).sum().detach()), rel=1e-5)
    torch.set_rng_state(before)
    for part in torch.arange(7).tensor_split(3):
        torch.dropout(torch.ones(len(part), 4), 0.5, True)
    assert torch.equal(torch.get_rng_state(), after), "the random numbers of one pass are used up, not of two"


def test_a_scaled_loss_steps_as_an_unscaled_one():
    """Gradients are clipped at their own size; a step whose gradients overflow is left out, and the scale falls."""
    steps = {}
    scaled = MixedPrecision("16-mixed", device="cpu", scaler=torch.amp.GradScaler("cpu", init_scale=16.0))
    for precision, settings in (("32-true", {}), ("16-mixed", {"plugins": [scaled]})):
        torch.manual_seed(0)
        method, x = _Thinned(), torch.randn(7, 3)
        optimizers = {"all": torch.optim.AdamW(method.parameters(), lr=0.1, fused=True)}
        optimizers["again"] = torch.optim.SGD(method.parameters(), lr=0.01)
        fabric = _loop.Fabric(accelerator="cpu", devices=1, **settings)
        stepper = Stepper(fabric, method, methods.TrainData(x, x), optimizers, accumulate=1, compile=False)
        torch.manual_seed(1)
        stepper.step(methods.Phase("joint", ("all", "again"), clip_norm=0.5), torch.arange(7))
        steps[precision] = method.layer.weight.detach().clone()
    torch.testing.assert_close(steps["16-mixed"], steps["32-true"], rtol=2e-2, atol=1e-3)  # products of half numbers
    scale = stepper.scaler.get_scale()
    method.layer.weight.data.fill_(1e18)
    stepper.step(methods.Phase("joint", ("all",), clip_norm=0.5), torch.arange(7))
    assert torch.equal(method.layer.weight, torch.full_like(method.layer.weight, 1e18))
    assert stepper.scaler.get_scale() < scale


@pytest.mark.slow
def test_compiled_networks_learn_the_same(small):
    options = FAST["djsrh"] | {"epochs": 1}
    plain = train("djsrh", small, bits=16, progress=False, **options)
    compiled = train("djsrh", small, bits=16, compile=True, progress=False, **options)
    assert_same_network(weights_of(compiled), weights_of(plain))


def test_mixed_precision_keeps_losses_and_weights_in_float32(small):
    run = train("dcmh", small, bits=16, precision="bf16-mixed", progress=False, **FAST["dcmh"])
    assert all(value.dtype == torch.float32 for value in weights_of(run).values())
    plain = train("dcmh", small, bits=16, progress=False, **FAST["dcmh"])
    assert run.history[0]["loss_image"] == pytest.approx(plain.history[0]["loss_image"], rel=0.02)
    assert run.history[0]["loss_image"] != plain.history[0]["loss_image"]


def test_bad_accumulate():
    with pytest.raises(ValueError, match="train: accumulate must be a whole number from 1 to 2147483648, got 0"):
        train("dcmh", make(), accumulate=0, progress=False)
