"""Past one process: losses over the rows of all ranks, corpora encoded with Ray Data, an index over shards.

Losses: one batch spread over processes gives the gradients of one process. With DistributedDataParallel, which averages
gradients over ranks:

- a sum over pairs (``pairwise_nll`` and relatives): ``pair_loss`` takes local rows x all columns on each rank;
- any other loss of a whole batch (``joint_semantics_loss``, ``CodeBalance``): on every rank, of ``gather_rows`` of its
  arguments. Every rank then computes the same loss, and the average of the gradients is that of one process.

Without a process group all of it works on the rows that are there.

``encode`` and ``ShardedIndex`` need the extra ``ray``.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fasthash.distributed._gather import gather_rows
    from fasthash.distributed._pair_loss import pair_loss
    from fasthash.distributed.encoding import encode
    from fasthash.distributed.sharded import ShardedIndex

__all__ = ["ShardedIndex", "encode", "gather_rows", "pair_loss"]
_LATE = {
    "encode": "fasthash.distributed.encoding",
    "gather_rows": "fasthash.distributed._gather",
    "pair_loss": "fasthash.distributed._pair_loss",
    "ShardedIndex": "fasthash.distributed.sharded",
}


def __getattr__(name: str) -> Any:
    """Everything is imported at its first use: losses need torch, which a process that only searches does without."""
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LATE[name]), name)
