"""What ranks do with banks of which each keeps a part. Results are NumPy arrays, which need no shared memory."""

import torch

from fasthash import ops
from fasthash.distributed._bank_state import own_state, whole_state
from fasthash.losses import CodeBalance, CodeBank, Shard

N, BITS = 11, 6


def drawn(steps=4, seed=1):
    """Start, labels, and batches of rows with codes; the last batch has fewer rows than ranks."""
    g = torch.Generator().manual_seed(seed)
    start, labels = torch.randn(N, BITS, generator=g), (torch.rand(N, 5, generator=g) < 0.4).to(torch.uint8)
    sizes = [4] * (steps - 1) + [1]
    rows = [torch.randperm(N, generator=g)[:size] for size in sizes]
    return start, labels, [(index, torch.randn(len(index), BITS, generator=g)) for index in rows]


def bank_of(rank, world):
    start = drawn()[0]
    shard = Shard(N, rank, world)
    return CodeBank(shard.own(start), shard)


def walk(rank, world):
    """Losses and gradients of each step, as the mean over ranks has them; then the bank."""
    _, labels, batches = drawn()
    bank, packed, told = bank_of(rank, world), ops.pack_labels(labels), []
    for index, codes in batches:
        h = codes.clone().requires_grad_()
        rest = bank.update(index, h)
        nll = bank.pairs(ops.pairwise_nll, h, packed[index], packed)
        mean = bank.pairs(mean_nll, h, packed[index], packed, mean=True)
        (nll + 10 * mean + CodeBalance()(h, rest)).backward()
        every = torch.cat([h.grad.flatten(), torch.stack([nll, mean]).detach()])
        told.append(bank.shard.sum(every) / world)
        told.append(bank.rows(torch.arange(N - 1, -1, -1)).flatten())
    return [x.numpy() for x in told], bank.codes.numpy(), bank.column_sum.numpy()


def mean_nll(*arguments):
    return ops.pairwise_nll(*arguments, reduction="mean")


def saved(rank, world):
    """What the first rank would write before any step, and after all of them."""
    bank = bank_of(rank, world)
    states = [copied(whole_state(bank))]
    for index, h in drawn()[2]:
        bank.update(index, h)
    states.append(copied(whole_state(bank)))
    return states, sorted(bank.state_dict())


def copied(state):
    return {name: value.numpy().copy() for name, value in state.items()}


def loaded(rank, world, state):
    """A bank that goes on from a whole state, after one more step."""
    bank = CodeBank(torch.zeros(len(Shard(N, rank, world)), BITS), Shard(N, rank, world))
    bank.load_state_dict(own_state(bank, {name: torch.from_numpy(value) for name, value in state.items()}))
    index, h = drawn(seed=2)[2][0]
    rest = bank.update(index, h)
    moved = bank.double().float()  # the column sum is made anew, of all rows
    again = moved.update(index, h)
    moved.refresh()
    return rest.numpy(), again.numpy(), moved.column_sum.numpy(), bank.codes.numpy()


def same(rank, world):
    return Shard(N, rank, world).same(torch.full((2,), float(rank + 3))).numpy()
