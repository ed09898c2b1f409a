"""Sparse rows and the layer that works on their entries: everything against dense rows and `nn.Linear` in float64."""

import copy

import pytest
import torch
from torch import nn

from fasthash.methods._word_sgd import WordSGD
from fasthash.models import (
    FeatureRows,
    SparseBatch,
    SparseRows,
    Tower,
    TowerConfig,
    WordLinear,
    feature_rows,
    is_sparse,
)

N, WIDTH, HIDDEN, BITS = 40, 30, 16, 8


@pytest.fixture
def features():
    """Bags of words of up to five; some rows are empty, some words occur nowhere."""
    g = torch.Generator().manual_seed(0)
    x = torch.zeros(N, WIDTH, dtype=torch.float64)
    for row in range(0, N, 1):
        words = torch.randint(WIDTH - 4, (row % 6,), generator=g)
        x[row, words] = torch.rand(len(words), generator=g, dtype=torch.float64) + 0.5
    return x


def towers(features, **config):
    """The same tower twice: an ordinary one, and one that takes entries."""
    torch.manual_seed(1)
    dense = Tower(TowerConfig(WIDTH, (HIDDEN,), BITS, init_std=0.3, **config)).double()
    dense.fit_mean(features.mean(dim=0))
    sparse = copy.deepcopy(dense)
    assert sparse.take_entries()
    return dense, sparse


def entries(features):
    rows = SparseRows(features)
    rows.give_entries()
    return rows


def step(tower, optimizer, x):
    optimizer.zero_grad()
    h = tower(x)
    (torch.tanh(h) * torch.arange(1, BITS + 1)).mean().backward()
    optimizer.step()
    return h.detach()


def test_rows_are_those_of_the_dense_features(features):
    sparse, dense = SparseRows(features), FeatureRows(features)
    index = torch.tensor([7, 0, 39, 7])
    assert (len(sparse), sparse.width) == (N, WIDTH)
    torch.testing.assert_close(sparse.take(index), dense.take(index), rtol=0, atol=0)
    torch.testing.assert_close(sparse.mean(), dense.mean())
    torch.testing.assert_close(sparse.features, features, rtol=0, atol=0)
    assert sparse.density == (features != 0).double().mean()
    sparse.give_entries()
    batch = sparse.take(index)
    assert isinstance(batch, SparseBatch)
    assert len(batch) == 4
    torch.testing.assert_close(batch.dense(), features[index], rtol=0, atol=0)
    vector = torch.rand(WIDTH, dtype=torch.float64)
    torch.testing.assert_close(batch.dot(vector), features[index] @ vector)
    torch.testing.assert_close(batch.distances(vector), (features[index] - vector).norm(dim=1))
    words, offsets, rows, values = batch.by_word
    assert torch.equal(words, (features[index] != 0).any(dim=0).nonzero()[:, 0])
    again = torch.zeros(4, WIDTH, dtype=torch.float64)
    again[rows, words.repeat_interleave(offsets.diff())] = values
    torch.testing.assert_close(again, features[index], rtol=0, atol=0)


def test_only_rows_of_mostly_zeros_are_taken_by_their_entries(features):
    thin = torch.zeros(10, 100)
    thin[:, :5] = 1
    assert is_sparse(thin)
    thin[0, 5] = 1
    assert not is_sparse(thin)
    assert not is_sparse(torch.empty(0, 5))
    assert isinstance(feature_rows(torch.eye(50)), SparseRows)
    assert isinstance(feature_rows(torch.ones(50, 50)), FeatureRows)


@pytest.mark.parametrize("centre", [False, True])
@pytest.mark.parametrize("normalize", [False, True])
def test_gradients_are_those_of_the_dense_layer(features, centre, normalize):
    dense, sparse = towers(features, centre=centre, normalize=normalize)
    rows = entries(features)
    weights = torch.linspace(-1, 1, BITS, dtype=torch.float64)
    for parts in (1, 2, 3):  # over several backward passes gradients add up; and the memory is used again
        for tower in (dense, sparse):
            tower.zero_grad()
        for index in torch.arange(parts, 37).split(12)[:parts]:
            for tower, x in ((dense, features[index]), (sparse, rows.take(index))):
                (tower(x).sin() * weights).sum().backward()
        torch.testing.assert_close(sparse.layers[0].rows.grad, dense.layers[0].weight.grad.T)
        torch.testing.assert_close(sparse.layers[0].bias.grad, dense.layers[0].bias.grad)
        torch.testing.assert_close(sparse.layers[-1].weight.grad, dense.layers[-1].weight.grad)


@pytest.mark.parametrize("centre", [False, True])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("optimizer", ["sgd", "decay", "momentum", "adamw"])
def test_training_equals_that_of_the_dense_layer(features, centre, normalize, optimizer):
    dense, sparse = towers(features, centre=centre, normalize=normalize)

    def make(tower):
        if optimizer == "adamw":
            return torch.optim.AdamW(tower.parameters(), lr=0.01, weight_decay=0.1)
        settings = {"lr": 0.05, "weight_decay": 0.0 if optimizer == "sgd" else 0.5}
        if optimizer == "momentum":
            return torch.optim.SGD(tower.parameters(), momentum=0.9, **settings)
        if tower is dense:
            return torch.optim.SGD(tower.parameters(), **settings)
        return WordSGD(tower.parameters(), [tower.layers[0]], **settings)

    steppers, rows = (make(dense), make(sparse)), entries(features)
    for count in range(60):  # with decay the scale of the rows falls below its limit
        index = torch.randperm(N)[:7]
        for stepper in steppers:
            stepper.param_groups[0]["lr"] *= 0.99
        want = step(dense, steppers[0], features[index])
        torch.testing.assert_close(step(sparse, steppers[1], rows.take(index)), want)
        if count == 30:
            torch.testing.assert_close(sparse.state_dict(), dense.state_dict())
    for tower in (dense, sparse):
        tower.eval()
    torch.testing.assert_close(sparse(features), dense(features))
    torch.testing.assert_close(sparse.layers[0].weight, dense.layers[0].weight)


def test_a_dense_batch_between_sparse_ones(features):
    """In training mode dense rows stay dense, and the lazy optimiser takes their gradient too."""
    dense, sparse = towers(features)
    steppers = (
        torch.optim.SGD(dense.parameters(), lr=0.1, weight_decay=0.5),
        WordSGD(sparse.parameters(), [sparse.layers[0]], lr=0.1, weight_decay=0.5),
    )
    rows = entries(features)
    for count in range(9):
        index = torch.randperm(N)[:7]
        want = step(dense, steppers[0], features[index])
        got = step(sparse, steppers[1], features[index] if count % 3 == 1 else rows.take(index))
        torch.testing.assert_close(got, want)
    torch.testing.assert_close(sparse.state_dict(), dense.state_dict())


def test_gathered_gradients_are_those_of_the_dense_layer(features):
    dense, sparse = towers(features)
    stepper = WordSGD(sparse.parameters(), [sparse.layers[0]], lr=0.1, weight_decay=0.5)
    plain, rows = torch.optim.SGD(dense.parameters(), lr=0.1, weight_decay=0.5), entries(features)
    for _ in range(3):
        index = torch.randperm(N)[:7]
        for tower, x in ((dense, features[index]), (sparse, rows.take(index))):
            tower.zero_grad()
            tower(x).sin().sum().backward()
        assert sparse.layers[0].rows.grad is None
        stepper.gather_gradients()
        torch.testing.assert_close(sparse.layers[0].rows.grad, dense.layers[0].weight.grad.T)
        for tower, each in ((dense, plain), (sparse, stepper)):
            nn.utils.clip_grad_norm_(tower.parameters(), 0.1)
            each.step()
    torch.testing.assert_close(sparse.state_dict(), dense.state_dict())


def test_state_dicts_are_those_of_the_ordinary_layer(features):
    dense, sparse = towers(features)
    assert list(sparse.state_dict()) == list(dense.state_dict())
    other = towers(features)[1]
    for parameter in dense.parameters():
        nn.init.normal_(parameter)
    other.load_state_dict(dense.state_dict())
    torch.testing.assert_close(other.layers[0].rows.T, dense.layers[0].weight, rtol=0, atol=0)
    assert all(value.is_contiguous() for value in other.state_dict().values())
    dense.load_state_dict(sparse.state_dict())
    torch.testing.assert_close(sparse.layers[0].rows.T, dense.layers[0].weight, rtol=0, atol=0)
    with pytest.raises(RuntimeError, match="size mismatch"):
        sparse.load_state_dict({**dense.state_dict(), "layers.0.weight": torch.zeros(2, 2)})
    sparse.take_dense()
    assert isinstance(sparse.layers[0], nn.Linear)
    torch.testing.assert_close(sparse(features), dense(features), rtol=0, atol=0)


def test_a_resumed_optimizer_goes_on_bit_for_bit(features, tmp_path):
    """Also where it stops in the middle, with rows that are behind."""
    features = features.float()

    def fresh():
        tower = towers(features)[1].float()
        return tower, WordSGD(tower.parameters(), [tower.layers[0]], lr=0.1, weight_decay=0.3)

    batches, rows = [torch.randperm(N)[:7] for _ in range(20)], entries(features)
    through, stepper = fresh()
    for count, index in enumerate(batches):
        step(through, stepper, rows.take(index))
        if count == 9:
            torch.save((through.state_dict(), stepper.state_dict()), tmp_path / "state")
    resumed, stepper = fresh()
    of_tower, of_stepper = torch.load(tmp_path / "state")
    assert of_stepper["words"][0]["rows"] is not None
    resumed.load_state_dict(of_tower)
    stepper.load_state_dict(of_stepper)
    for index in batches[10:]:
        step(resumed, stepper, rows.take(index))
    for tower in (through, resumed):
        tower.layers[0].settle()
    torch.testing.assert_close(resumed.state_dict(), through.state_dict(), rtol=0, atol=0)


def test_a_copy_has_neither_optimizer_nor_memory(features):
    _, sparse = towers(features)
    stepper, rows = WordSGD(sparse.parameters(), [sparse.layers[0]], lr=0.1, weight_decay=0.5), entries(features)
    step(sparse, stepper, rows.take(torch.arange(9)))
    twin = copy.deepcopy(sparse)
    before = copy.deepcopy(twin.state_dict())
    step(sparse, stepper, rows.take(torch.arange(9)))
    torch.testing.assert_close(twin.state_dict(), before, rtol=0, atol=0)
    assert twin.layers[0].lazy is None
    twin(rows.take(torch.arange(9))).sum().backward()
    assert twin.layers[0].rows.grad is not None


def test_what_cannot_take_entries_stays_dense(features):
    assert not Tower(TowerConfig(WIDTH, (), BITS)).take_entries()


def test_encoding_first_leaves_a_layer_that_trains(features):
    dense, sparse = towers(features)
    stepper, plain = (
        WordSGD(sparse.parameters(), [sparse.layers[0]], lr=0.1),
        torch.optim.SGD(dense.parameters(), lr=0.1),
    )
    rows = entries(features)
    with torch.inference_mode():
        sparse.eval()(features)
    sparse.train()
    for index in torch.arange(N).split(8):
        step(dense, plain, features[index])
        step(sparse, stepper, rows.take(index))
    torch.testing.assert_close(sparse.state_dict(), dense.state_dict())


def test_layer_without_bias():
    plain = nn.Linear(5, 3, bias=False)
    layer = WordLinear(plain)
    x = torch.eye(5)
    torch.testing.assert_close(layer(SparseBatch.from_dense(x)), plain(x))
    torch.testing.assert_close(layer(x), plain(x))
    assert layer.to_linear().bias is None


@pytest.mark.parametrize(("lr", "decay"), [(0.5, 2.0), (0.5, 3.0), (0.5, 1.8)])
def test_a_step_that_forgets_all_weights(lr, decay):
    """1 - lr * decay is 0, below it, or nearly it: what the rows are multiples of must not be divided by."""
    torch.manual_seed(0)
    x = (torch.rand(6, 20) < 0.15).double() * torch.rand(6, 20)
    dense = torch.nn.Linear(20, 4).double()
    layer = WordLinear(copy.deepcopy(dense)).double()
    optimizers = (
        WordSGD(layer.parameters(), [layer], lr=lr, weight_decay=decay),
        torch.optim.SGD(dense.parameters(), lr=lr, weight_decay=decay),
    )
    for _ in range(4):
        for network, optimizer in zip((layer, dense), optimizers, strict=True):
            optimizer.zero_grad()
            (network(SparseBatch.from_dense(x) if network is layer else x) ** 2).sum().backward()
            optimizer.step()
    torch.testing.assert_close(layer.weight, dense.weight)
