"""Losses over ranks equal those of one process with all rows, to float32 rounding."""

import multiprocessing
import time

import numpy as np
import pytest
import rank_work
import torch

from fasthash import distributed, losses
from fasthash.ops import pairwise_nll

SPLITS = {
    2: [((3, 3), (4, 4)), ((5, 1), (0, 8)), ((0, 6), (7, 1))],
    3: [((2, 2, 2), (3, 1, 4)), ((0, 5, 1), (8, 0, 0))],
}
TOLERANCE = {"rtol": 1e-5, "atol": 1e-6}  # float32 sums in another order


def one_process(reduction, kind):
    a, b, labels_a, labels_b = rank_work.whole(6, 8)
    if kind == "ids":
        labels_a, labels_b = labels_a.long().argmax(1), labels_b.long().argmax(1)
    a.requires_grad_(), b.requires_grad_()
    loss = pairwise_nll(a, b, labels_a, labels_b, reduction=reduction)
    loss.backward()
    return loss.item(), a.grad, b.grad


@pytest.mark.parametrize("kind", ["multi-hot", "packed", "ids"])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_shares_average_to_the_whole(ranks, reduction, kind):
    loss, grad_a, grad_b = one_process(reduction, kind)
    for counts_a, counts_b in SPLITS[ranks.world]:
        shares = ranks(rank_work.pair_shares, 6, 8, counts_a, counts_b, reduction, kind)
        assert np.mean([share[0] for share in shares]) == pytest.approx(loss, rel=1e-5)
        # gradients of rows are not averaged, those of parameters are: they carry the world size
        for place, want in ((1, grad_a), (2, grad_b)):
            got = np.concatenate([share[place] for share in shares]) / ranks.world
            np.testing.assert_allclose(got, want.numpy(), **TOLERANCE)


def test_bank_without_gradient(ranks):
    loss, grad_a, _ = one_process("mean", "multi-hot")
    for counts, _ in SPLITS[ranks.world]:
        shares = ranks(rank_work.bank_shares, 6, 8, counts)
        assert np.mean([share[0] for share in shares]) == pytest.approx(loss, rel=1e-5)
        got = np.concatenate([share[1] for share in shares]) / ranks.world
        np.testing.assert_allclose(got, grad_a.numpy(), **TOLERANCE)


def test_no_rows_anywhere_is_told_on_every_rank(ranks):
    want = f"ValueError: pair_loss: expected rows and columns on some rank, got 0 rows and {ranks.world} columns"
    assert ranks.errors(rank_work.no_pairs) == [want] * ranks.world


BATCHES = {2: [(5, 5), (9, 1), (10, 0)], 3: [(4, 3, 3), (0, 9, 1)]}


def test_training_through_ddp_is_that_of_one_process(ranks):
    x, y, labels = rank_work.features(10)
    model = rank_work.Both()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(5):
        codes_x, codes_y = model(x, y)
        nll = losses.PairwiseNLL(reduction="mean")
        loss = nll(codes_x, codes_y, labels, labels) + nll(codes_x, codes_x, labels, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for counts in BATCHES[ranks.world]:
        results = ranks(rank_work.ddp_pairs, 10, counts, 5)
        assert np.mean([value for _, value in results]) == pytest.approx(loss.item(), rel=1e-4)
        for parameters, _ in results:
            for got, want in zip(parameters, model.parameters(), strict=True):
                np.testing.assert_allclose(got, want.detach().numpy(), rtol=1e-4, atol=1e-5)  # after 5 steps


def test_a_loss_of_the_whole_batch_through_gathered_rows(ranks):
    x, y, _ = rank_work.features(10)
    model = rank_work.Both()
    rank_work.joint_loss(*model(x, y), x, y).backward()
    for counts in BATCHES[ranks.world]:
        for grads in ranks(rank_work.ddp_whole_batch, 10, counts):
            for got, parameter in zip(grads, model.parameters(), strict=True):
                np.testing.assert_allclose(got, parameter.grad.numpy(), **TOLERANCE)


def test_alone_it_is_the_loss():
    a, b, labels_a, labels_b = rank_work.whole(6, 8)
    for reduction in ("sum", "mean"):
        got = distributed.pair_loss(losses.PairwiseNLL(), a, b, labels_a, labels_b, reduction=reduction)
        torch.testing.assert_close(got, pairwise_nll(a, b, labels_a, labels_b, reduction=reduction))
    squares = distributed.pair_loss(lambda x, y: (x @ y.T).square().sum(), a, b)
    torch.testing.assert_close(squares, (a @ b.T).square().mean())


def test_bad_arguments():
    a, b, labels_a, labels_b = rank_work.whole(6, 8)
    with pytest.raises(ValueError, match=r"pair_loss: loss must sum over pairs, got PairwiseNLL\(.*'mean'\)"):
        distributed.pair_loss(losses.PairwiseNLL(reduction="mean"), a, b, labels_a, labels_b)
    with pytest.raises(ValueError, match="pair_loss: reduction must be one of mean, sum, got 'none'"):
        distributed.pair_loss(losses.PairwiseNLL(), a, b, labels_a, labels_b, reduction="none")
    with pytest.raises(ValueError, match="pair_loss: expected labels_a and labels_b or neither, got one of them"):
        distributed.pair_loss(losses.PairwiseNLL(), a, b, labels_a)
    with pytest.raises(ValueError, match="pair_loss: expected rows and columns on some rank, got 6 rows and 0 columns"):
        distributed.pair_loss(losses.PairwiseNLL(), a, b[:0], labels_a, labels_b[:0])


def lonely(rank, meeting, pipe):
    """Rank 1 fails before it gathers; rank 0 gathers, and must not wait for ever."""
    import datetime

    import torch.distributed as dist

    timeout = datetime.timedelta(seconds=5)
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2, timeout=timeout)
    dist.barrier()
    if rank == 1:
        pipe.send("left")
        raise SystemExit(3)
    try:
        distributed.gather_rows(torch.ones(2, 2))
        pipe.send("no error")
    except RuntimeError as error:
        pipe.send(f"{type(error).__name__}")


def test_a_rank_that_fails_does_not_leave_the_others_waiting(tmp_path):
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe() for _ in range(2)]
    meeting = f"file://{tmp_path / 'meeting'}"
    processes = [context.Process(target=lonely, args=(r, meeting, pipes[r][1]), daemon=True) for r in range(2)]
    for process in processes:
        process.start()
    start = time.monotonic()
    try:
        assert pipes[0][0].poll(60), "rank 0 still waits"
        assert "Error" in pipes[0][0].recv()
        assert time.monotonic() - start < 60
    finally:
        for process in processes:
            process.join(10)
            process.kill()
