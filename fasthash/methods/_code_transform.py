"""A matrix from long codes to short ones, fitted to the labels alone: the second step of TwDH, which is made first."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fasthash.losses import HashCentres
from fasthash.methods._bert_adam import BertAdam

BATCH = 200
LOOK = 10  # steps from one look at the class centres to the next


def learn_transform(
    long: HashCentres, short: HashCentres, labels: Tensor, *, steps: int, lr: float, sparsity: float
) -> Tensor:
    """T [2 long bits, 2 short bits] that takes the pairs of long centres to the short centres of the same labels.

    Minimises, over batches of label rows, the cross-entropy of softmax(u T) against the short centre + 1 - the mean of
    (p_0 - p_1)^2 + sparsity |T|_1, from U(-1, 1), until the centres of all classes come out right.

    Args:
        long, short: centres of the same classes, on the CPU.
        labels: multi-hot [n, classes] of the training pairs, on the CPU; rows without a label are left out.
        steps: at most so many; what there is then is returned.
        lr: of BertAdam.
    Source: Tu et al., Two-Step Discrete Hashing for Cross-Modal Retrieval, IEEE Transactions on Multimedia, 2024, as in
        its released code.
    """
    # columns of T for -1, then for +1: side by side each, for the softmax sees their difference alone
    halves = torch.empty(2, 2 * long.centres.shape[1], short.centres.shape[1]).uniform_(-1, 1).requires_grad_()
    optimizer = BertAdam([halves], lr, total_steps=steps)
    labels = labels[labels.sum(dim=1) > 0]
    every = torch.eye(len(long.centres))
    of_classes, wanted = _chosen(long(every)), short(every) > 0
    order = labels.new_empty(0, dtype=torch.int64)
    for step in range(steps if len(labels) else 0):
        if step % LOOK == 0 and bool(((of_classes @ (halves[1] - halves[0]).detach() >= 0) == wanted).all()):
            break
        if not len(order):
            order = torch.randperm(len(labels))
        rows, order = labels[order[:BATCH]], order[BATCH:]
        h = _chosen(long(rows)) @ (halves[1] - halves[0])
        optimizer.zero_grad()
        (centre_loss(h, short(rows)) + spread_loss(h) + sparsity * halves.abs().sum()).backward()
        optimizer.step()
    return halves.detach().permute(1, 2, 0).flatten(1)


def _chosen(codes: Tensor) -> Tensor:
    """[n, 2 bits], of each pair 1 for the entry that codes -1/+1 [n, bits] stand for."""
    return torch.stack([codes < 0, codes > 0], dim=2).flatten(1).float()


def centre_loss(h: Tensor, centres: Tensor) -> Tensor:
    """Mean binary cross-entropy of pairs with differences of logits h [m, bits] against codes -1/+1 [m, bits].

    Both entries of a pair have the same one. A row whose centre is 0 does not count.
    """
    each = nn.functional.softplus(-centres * h) * centres.abs()
    return each.sum() / centres.abs().sum().clamp(min=1)


def spread_loss(h: Tensor) -> Tensor:
    """1 - mean of (p_0 - p_1)^2, 0 where every bit is certain; (2 p - 1)^2 of either entry is the same."""
    return 1 - torch.tanh(h / 2).square().mean()
