"""Losses over the rows of all ranks: one batch spread over processes gives the gradients of one process.

With DistributedDataParallel, which averages gradients over ranks:

- a sum over pairs (``pairwise_nll`` and relatives): ``pair_loss`` takes local rows x all columns on each rank;
- any other loss of a whole batch (``joint_semantics_loss``, ``CodeBalance``): on every rank, of ``gather_rows`` of its
  arguments. Every rank then computes the same loss, and the average of the gradients is that of one process.

Without a process group all of it works on the rows that are there.
"""

from fasthash.distributed._gather import gather_rows
from fasthash.distributed._pair_loss import pair_loss

__all__ = ["gather_rows", "pair_loss"]
