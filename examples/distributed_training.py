"""One batch spread over processes, with the gradients of one process that has all of it.

torchrun --standalone --nproc-per-node 2 examples/distributed_training.py
python examples/distributed_training.py     the same losses, from one process
"""

import os

import torch
import torch.distributed as dist
from own_training_loop import ROWS, make_pairs, tower
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from fasthash import losses
from fasthash.distributed import gather_rows, pair_loss


class Towers(nn.Module):
    """One module with one forward, as DistributedDataParallel wants it."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.text = tower(64), tower(48)

    def forward(self, image: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        return self.image(image), self.text(text)


def main() -> None:
    world = int(os.environ.get("WORLD_SIZE", "1"))
    rank = int(os.environ.get("RANK", "0"))
    if world > 1:
        dist.init_process_group("gloo")  # on GPUs "cpu:gloo,cuda:nccl": sizes are then exchanged without a wait
    torch.manual_seed(0)
    image, text, labels = make_pairs()
    model: nn.Module = Towers()
    if world > 1:
        model = DistributedDataParallel(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    nll, balance = losses.PairwiseNLL(), losses.CodeBalance()
    for epoch in range(5):
        total = torch.zeros(())
        for batch in torch.randperm(ROWS).split(250):  # the same on every rank: each takes its part
            rows = batch.tensor_split(world)[rank]
            h_image, h_text = model(image[rows], text[rows])
            loss = pair_loss(nll, h_image, h_text, labels[rows], labels[rows])  # rows here x columns of all ranks
            loss = loss + 1e-6 * (balance(gather_rows(h_image)) + balance(gather_rows(h_text)))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(batch) / ROWS
        if world > 1:
            dist.all_reduce(total)  # the loss of the whole batch is the mean over ranks
        if rank == 0:
            print(f"epoch {epoch + 1}  loss {total.item() / world:.4f}", flush=True)
    if world > 1:
        dist.barrier()  # nobody leaves while others still talk
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
