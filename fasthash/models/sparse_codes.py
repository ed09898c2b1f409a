"""Feature maps of methods that code rows sparsely: a projection, and each row's lasso over a dictionary, exactly."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fasthash.models.view import FeatureMap, feature_map

ROWS = 512  # solved together: what a step reads stays in the processor's cache
TOLERANCE = 1e-9  # of the conditions that tell a minimum, as a share of the penalty
_RIDGE = 1e-12  # on the diagonal, where atoms in use depend on each other


@feature_map
class Projection(FeatureMap):
    """x P.

    Args:
        weights: P [width, width_out].
    """

    kind = "projection"

    weights: Tensor

    def __init__(self, weights: Any) -> None:
        super().__init__()
        self.register_buffer("weights", torch.as_tensor(weights).detach().double())

    def sizes(self) -> dict[str, Any]:
        return {"width": self.weights.shape[0], "width_out": self.weights.shape[1]}

    @classmethod
    def empty(cls, *, width: int, width_out: int) -> Projection:  # type: ignore[override]
        return cls(torch.zeros(width, width_out))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weights


@feature_map
class SparseCodes(FeatureMap):
    """The s [m] that minimises |x - D s|^2 + penalty |s|_1, of each row x.

    Args:
        dictionary: D [width, m].
        penalty: above 0.
    """

    kind = "sparse_codes"

    dictionary: Tensor
    penalty: Tensor

    def __init__(self, dictionary: Any, penalty: float) -> None:
        super().__init__()
        self.register_buffer("dictionary", torch.as_tensor(dictionary).detach().double())
        self.register_buffer("penalty", torch.tensor(float(penalty), dtype=torch.float64))

    def sizes(self) -> dict[str, Any]:
        return {"width": self.dictionary.shape[0], "atoms": self.dictionary.shape[1]}

    @classmethod
    def empty(cls, *, width: int, atoms: int) -> SparseCodes:  # type: ignore[override]
        return cls(torch.zeros(width, atoms), 1.0)

    def forward(self, x: Tensor) -> Tensor:
        return sparse_codes(x, self.dictionary, float(self.penalty))


def sparse_codes(
    rows: Tensor, dictionary: Tensor, penalty: float, start: Tensor | None = None, steps: int | None = None
) -> Tensor:
    """S [n, m], of each row x of ``rows`` the s that minimises |x - D s|^2 + penalty |s|_1.

    Feature-sign search, of many rows at once: where the atoms in use are at their optimum, the one that breaks the
    conditions of a minimum most joins them; then all move towards their joint optimum, up to the first that becomes 0
    and leaves. No step raises any row's objective, and what is found does not depend on the rows beside it.

    Args:
        rows: float64 [n, d]. dictionary: float64 D [d, m]. penalty: above 0.
        start: [n, m] to begin from; default 0. It is not changed.
        steps: at most so many; default: until every row's conditions hold to `TOLERANCE`.
    Time: O(m d) a row and step, about as many steps as a row uses atoms.
    Source: Lee, Battle, Raina, Ng, Efficient sparse coding algorithms, NIPS 2006.
    """
    gram = dictionary.T @ dictionary
    made = rows.new_zeros(len(rows), dictionary.shape[1]) if start is None else start.clone()
    most = 100 + 10 * dictionary.shape[1] if steps is None else steps
    for first in range(0, len(rows), ROWS):
        part = slice(first, first + ROWS)
        made[part] = _search(rows[part], dictionary, gram, penalty / 2, made[part], most)
    return made


def _search(x: Tensor, dictionary: Tensor, gram: Tensor, level: float, s: Tensor, steps: int) -> Tensor:
    """`sparse_codes` of some rows; those that are done leave, so that each step works on the others alone."""
    made, left = s.clone(), torch.arange(len(x), device=x.device)
    for _ in range(steps):
        pull = torch.addmm(x, s, dictionary.T, alpha=-1) @ dictionary  # half the error's gradient, downwards
        used = s != 0
        residual = torch.where(used, pull - level * s.sign(), 0)
        settled = residual.abs().amax(dim=1) <= TOLERANCE * level
        strongest, atom = torch.where(used, 0, pull.abs()).max(dim=1)
        joins = settled & (strongest > (1 + TOLERANCE) * level)
        going = joins | ~settled
        if not going.all():
            made[left] = s
            left, x, s, pull, used, residual, joins, atom = (
                each[going] for each in (left, x, s, pull, used, residual, joins, atom)
            )
        if not len(left):
            return made
        rows = joins.nonzero()[:, 0]
        new = atom[rows]
        used[rows, new] = True
        residual[rows, new] = pull[rows, new] - level * pull[rows, new].sign()
        s, stuck = _towards_optimum(s, used, residual, gram)
        if stuck.any():
            made[left] = s
            left, x, s = left[~stuck], x[~stuck], s[~stuck]
    made[left] = s
    return made


def _towards_optimum(s: Tensor, used: Tensor, residual: Tensor, gram: Tensor) -> tuple[Tensor, Tensor]:
    """s [n, m] moved towards the optimum of the atoms in use, and the rows that rounding keeps from moving."""
    count = int(used.sum(dim=1).max())
    mark, atoms = used.to(torch.uint8).topk(count, dim=1)
    empty = mark == 0  # of rows that use fewer atoms than others
    block = gram[atoms[:, :, None], atoms[:, None, :]].masked_fill_(empty[:, :, None] | empty[:, None, :], 0)
    diagonal = block.diagonal(dim1=1, dim2=2)
    diagonal.mul_(1 + _RIDGE).add_(empty.to(diagonal.dtype))
    right = residual.gather(1, atoms).masked_fill_(empty, 0)
    factor, failed = torch.linalg.cholesky_ex(block)
    way = torch.cholesky_solve(right[:, :, None], factor)[:, :, 0]
    old = s.gather(1, atoms)
    sign = torch.where(old == 0, right.sign(), old.sign())
    crosses = ((old + way) * sign <= 0) & ~empty
    share = torch.where(crosses, -old / way, torch.inf).nan_to_num(nan=0.0, posinf=torch.inf)
    length = share.amin(dim=1, keepdim=True).clamp_(0, 1)
    stuck = (failed != 0) | (length[:, 0] == 0)
    moved = (old + length * way).masked_fill_(crosses & (share <= length), 0)
    moved = torch.where(empty | stuck[:, None], old, moved)
    return s.scatter(1, atoms, moved), stuck
