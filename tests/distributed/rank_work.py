"""What ranks do in the tests: functions that they can import. Results are NumPy arrays, which need no shared memory."""

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from fasthash import distributed, losses
from fasthash.distributed import _group
from fasthash.ops import PackedLabels, pack_labels, pairwise_nll

WIDTH, BITS, CLASSES = 5, 12, 7


def rows_of(x, counts, rank):
    """This rank's part of what one process would have whole."""
    return (
        x.split(list(counts))[rank]
        if isinstance(x, torch.Tensor)
        else PackedLabels(rows_of(x.words, counts, rank), x.classes)
    )


def whole(n, m, seed=0):
    """Codes of n rows and m columns, features of both, and multi-hot labels."""
    g = torch.Generator().manual_seed(seed)
    a, b = torch.randn(n, BITS, generator=g), torch.randn(m, BITS, generator=g)
    labels = [(torch.rand(k, CLASSES, generator=g) < 0.3).to(torch.uint8) for k in (n, m)]
    return a, b, *labels


def towers():
    """The same two small networks on every rank."""
    g = torch.Generator().manual_seed(7)
    model = nn.ModuleDict({side: nn.Sequential(nn.Linear(WIDTH, 9), nn.Tanh(), nn.Linear(9, BITS)) for side in "xy"})
    for parameter in model.parameters():
        parameter.data = 0.5 * torch.randn(parameter.shape, generator=g)
    return model


class Both(nn.Module):
    """One forward for both towers, as DistributedDataParallel wants it."""

    def __init__(self):
        super().__init__()
        self.towers = towers()

    def forward(self, x, y):
        return self.towers["x"](x), self.towers["y"](y)


def features(n, seed=3):
    g = torch.Generator().manual_seed(seed)
    x, y = torch.randn(n, WIDTH, generator=g), torch.randn(n, WIDTH, generator=g)
    return x, y, (torch.rand(n, CLASSES, generator=g) < 0.3).to(torch.uint8)


def joint_loss(codes_x, codes_y, x, y):
    loss = losses.JointSemantics(beta=0.6, eta=0.4, mu=1.5, lambda1=0.1, lambda2=0.2)
    return loss(codes_x, codes_y, x.abs(), y.abs())


# ---- on the ranks


def gather(rank, world, x, counts, sizes_known=False):
    own = rows_of(x, counts, rank)
    rows = list(counts) if sizes_known else None
    if isinstance(x, torch.Tensor):
        return distributed.gather_rows(own, rows=rows).numpy()
    packed = distributed.gather_rows(own, rows=rows)
    return packed.words.numpy(), packed.classes


def gather_gradient(rank, world, x, counts, weights, reduce_all=False):
    """Gradient of sum over ranks of <weights[rank], gathered^2>, for this rank's rows."""
    own = rows_of(x, counts, rank).clone().requires_grad_()
    scatters = _group._SCATTERS
    try:
        if reduce_all:
            _group._SCATTERS = ()
        gathered = distributed.gather_rows(own)
        assert gathered.requires_grad
        (gathered.square() * weights[rank].to(x.dtype)).sum().backward()
    finally:
        _group._SCATTERS = scatters
    assert own.grad.dtype == x.dtype
    return own.grad.double().numpy()


def gather_without_gradient(rank, world):
    x = torch.full((rank + 1, 2), float(rank), requires_grad=True)
    with torch.no_grad():
        return distributed.gather_rows(x).requires_grad


def gather_kinds(rank, world, kinds, rows=None):
    """Each rank gives what kinds[rank] makes."""
    distributed.gather_rows(eval(kinds[min(rank, len(kinds) - 1)]), rows=rows)


def packed(classes):
    return pack_labels(torch.ones(2, classes))


def pair_shares(rank, world, n, m, counts_a, counts_b, reduction, kind):
    """This rank's share of the loss and the gradients of its rows and columns."""
    a, b, labels_a, labels_b = whole(n, m)
    a, b = (rows_of(x, c, rank).clone().requires_grad_() for x, c in ((a, counts_a), (b, counts_b)))
    labels_a, labels_b = rows_of(labels_a, counts_a, rank), rows_of(labels_b, counts_b, rank)
    if kind == "packed":
        labels_a, labels_b = pack_labels(labels_a), pack_labels(labels_b)
    elif kind == "ids":
        labels_a, labels_b = labels_a.long().argmax(1), labels_b.long().argmax(1)
    loss = distributed.pair_loss(losses.PairwiseNLL(), a, b, labels_a, labels_b, reduction=reduction)
    loss.backward()
    return loss.item(), a.grad.numpy(), b.grad.numpy()


def bank_shares(rank, world, n, m, counts):
    """A batch with gradients against a bank without, every rank holding its part of both."""
    a, b, labels_a, labels_b = whole(n, m)
    a, labels_a = rows_of(a, counts, rank).clone().requires_grad_(), rows_of(labels_a, counts, rank)
    bank = tuple(len(x) for x in torch.arange(m).tensor_split(world))
    loss = distributed.pair_loss(
        losses.PairwiseNLL(), a, rows_of(b, bank, rank), labels_a, rows_of(labels_b, bank, rank)
    )
    loss.backward()
    return loss.item(), a.grad.numpy()


def no_pairs(rank, world):
    distributed.pair_loss(pairwise_nll, torch.ones(0, 4), torch.ones(1, 4), torch.ones(0, 2), torch.ones(1, 2))


def ddp_pairs(rank, world, n, counts, steps):
    """Parameters after steps of SGD on both directions' pairwise loss; the mean over ranks of the last loss."""
    x, y, labels = (rows_of(part, counts, rank) for part in features(n))
    model = DistributedDataParallel(Both())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(steps):
        codes_x, codes_y = model(x, y)
        loss = distributed.pair_loss(losses.PairwiseNLL(), codes_x, codes_y, labels, labels)
        loss = loss + distributed.pair_loss(losses.PairwiseNLL(), codes_x, codes_x, labels, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return [p.detach().numpy() for p in model.module.parameters()], loss.item()


def ddp_whole_batch(rank, world, n, counts):
    """Gradients of a loss that is no sum over pairs, from gathered rows."""
    x, y, _ = (rows_of(part, counts, rank) for part in features(n))
    model = DistributedDataParallel(Both())
    joint_loss(*(distributed.gather_rows(part) for part in (*model(x, y), x, y))).backward()
    return [np.array(p.grad) for p in model.module.parameters()]
