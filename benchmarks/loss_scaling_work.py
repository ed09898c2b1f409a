"""One size of one contestant of loss_scaling.py, in a process of its own.

python benchmarks/loss_scaling_work.py pairwise_nll "torch eager" 4096 --limit 8e9    prints JSON: seconds, memory
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable

import memory
import torch
import torch.nn.functional as F
from loss_scaling_rows import BITS, CHUNKED, EAGER, JOINT, OURS, P_IMAGE, P_TEXT, PAIRWISE, RATE
from torch import Tensor

from fasthash import ops

BLOCK = 128  # rows of a block
CLASSES = 24
AT_LEAST = 0.5  # seconds of calls, as long as that takes few
WEIGHTS = {"beta": 0.6, "eta": 0.4, "mu": 1.5, "lambda1": 0.1, "lambda2": 0.1}
Call = Callable[[], tuple[Tensor, ...]]


def codes(n: int) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    a, b = (torch.tanh(torch.randn(n, BITS, generator=g)) for _ in range(2))
    return a.requires_grad_(), b.requires_grad_()


def pairwise(n: int) -> dict[str, Call]:
    """Loss and both gradients of all pairs of n rows, as `contestant: call`."""
    a, b = codes(n)
    labels = (torch.rand(n, CLASSES, generator=torch.Generator().manual_seed(1)) < 0.16).float()
    packed = ops.pack_labels(labels)

    def nll(rows: Tensor, labels_of_rows: Tensor) -> Tensor:
        theta = 0.5 * rows @ b.T
        sim = (labels_of_rows @ labels.T > 0).float()
        return (F.softplus(theta) - sim * theta).sum()

    def eager() -> tuple[Tensor, ...]:
        loss = nll(a, labels)
        return loss.detach(), *torch.autograd.grad(loss, (a, b))

    def in_blocks() -> tuple[Tensor, ...]:
        total, grad_a, grad_b = torch.zeros(()), torch.empty_like(a), torch.zeros_like(b)
        for rows, own, out in zip(a.split(BLOCK), labels.split(BLOCK), grad_a.split(BLOCK), strict=True):
            live = rows.detach().requires_grad_()
            loss = nll(live, own)
            part, more = torch.autograd.grad(loss, (live, b))
            out.copy_(part)
            grad_b += more
            total += loss.detach()
        return total, grad_a, grad_b

    def ours() -> tuple[Tensor, ...]:
        loss = ops.pairwise_nll(a, b, packed, packed)
        return loss.detach(), *torch.autograd.grad(loss, (a, b))

    return {OURS: ours, CHUNKED: in_blocks, EAGER: eager}


def joint(m: int) -> dict[str, Call]:
    """Loss and both gradients of m pairs under features of widths P_IMAGE and P_TEXT."""
    a, b = codes(m)
    g = torch.Generator().manual_seed(2)
    f_image, f_text = (torch.rand(m, p, generator=g) for p in (P_IMAGE, P_TEXT))
    beta, eta, mu = WEIGHTS["beta"], WEIGHTS["eta"], WEIGHTS["mu"]
    weights = 1.0, WEIGHTS["lambda1"], WEIGHTS["lambda2"]

    def eager() -> tuple[Tensor, ...]:
        with torch.no_grad():
            s_image, s_text = (2 * f @ f.T - 1 for f in (F.normalize(f_image), F.normalize(f_text)))
            s = beta * s_image + (1 - beta) * s_text
            target = mu * ((1 - eta) * s + eta * s.mm(s) / m)
        u, v = F.normalize(a), F.normalize(b)
        terms = ((u, v), (u, u), (v, v))
        loss = sum(w * F.mse_loss(x @ y.T, target) for w, (x, y) in zip(weights, terms, strict=True))
        return loss.detach(), *torch.autograd.grad(loss, (a, b))

    def in_blocks() -> tuple[Tensor, ...]:
        u, v = F.normalize(a), F.normalize(b)
        free = u.detach().requires_grad_(), v.detach().requires_grad_()
        features = F.normalize(f_image), F.normalize(f_text)
        total, grads = torch.zeros(()), [torch.zeros_like(x) for x in free]
        for start in range(0, m, BLOCK):
            rows = slice(start, start + BLOCK)
            with torch.no_grad():
                s = affinity_rows([f[rows] for f in features], features)
                # rows of S S, from the features: S itself is too large
                back = [2 * share * (s @ f) for share, f in zip((beta, 1 - beta), features, strict=True)]
                second = sum(x @ f.T for x, f in zip(back, features, strict=True)) - s.sum(1, keepdim=True)
                target = mu * ((1 - eta) * s + eta * second / m)
            x, y = free
            terms = ((x[rows], y), (x[rows], x), (y[rows], y))
            parts = [w * (p @ q.T - target).square().sum() for w, (p, q) in zip(weights, terms, strict=True)]
            loss = torch.stack(parts).sum() / m**2
            for grad, more in zip(grads, torch.autograd.grad(loss, free), strict=True):
                grad += more
            total += loss.detach()
        return total, *torch.autograd.grad((u, v), (a, b), grads)

    def affinity_rows(own: list[Tensor], features: tuple[Tensor, ...]) -> Tensor:
        parts = [2 * share * (x @ f.T) for share, x, f in zip((beta, 1 - beta), own, features, strict=True)]
        return torch.stack(parts).sum(0) - 1

    def ours() -> tuple[Tensor, ...]:
        loss = ops.joint_semantics_loss(a, b, f_image, f_text, **WEIGHTS)
        return loss.detach(), *torch.autograd.grad(loss, (a, b))

    return {OURS: ours, CHUNKED: in_blocks, EAGER: eager}


def product(n: int) -> dict[str, Call]:
    a, b = torch.rand(2048, 2048), torch.rand(2048, 2048)
    out = torch.empty(2048, 2048)
    return {RATE: lambda: (torch.mm(a, b, out=out),)}


MAKERS: dict[str, Callable[[int], dict[str, Call]]] = {PAIRWISE: pairwise, JOINT: joint, "machine": product}


def measure(op: str, contestant: str, n: int) -> dict[str, object]:
    MAKERS[op](64)[contestant]()  # what is loaded and set up at first use is no part of a size
    call = MAKERS[op](n)[contestant]
    seconds: list[float] = []
    peak = memory.peak(lambda: seconds.append(_timed(call)))
    if seconds[0] < AT_LEAST:  # the first one of a short call counts for memory alone: it made the pages
        seconds = [_timed(call) for _ in range(min(50, max(5, int(AT_LEAST / seconds[0]))))]
    return {"seconds": seconds, "memory": peak}


def _timed(call: Call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("op", choices=list(MAKERS))
    parser.add_argument("contestant")
    parser.add_argument("n", type=int)
    parser.add_argument("--limit", type=float, help="bytes that the process may hold")
    arguments = parser.parse_args()
    if arguments.limit:
        limit = int(arguments.limit)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    print(json.dumps(measure(arguments.op, arguments.contestant, arguments.n)))


if __name__ == "__main__":
    main()
