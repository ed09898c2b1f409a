"""Ranks: processes of one gloo group that wait for functions to call together."""

import datetime
import multiprocessing
import os
import traceback

TIMEOUT = 120.0  # seconds for a call of all ranks, starting the processes included


def serve(rank, world, meeting, pipe):
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "NODE_RANK": "0"}  # as a launcher tells the trainer
    os.environ |= {"WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world)}
    timeout = datetime.timedelta(seconds=TIMEOUT)
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=world, timeout=timeout)
    while (request := pipe.recv()) is not None:
        function, arguments = request
        try:
            pipe.send((function(rank, world, *arguments), None))
        except Exception as error:
            traceback.print_exc()
            pipe.send((None, f"{type(error).__name__}: {error}"))
    dist.destroy_process_group()


class Ranks:
    def __init__(self, world, folder):
        self.world = world
        context = multiprocessing.get_context("spawn")  # a fork would inherit torch's threads
        meeting = f"file://{folder / f'meeting-{world}'}"
        pipes = [context.Pipe() for _ in range(world)]
        self.pipes = [ours for ours, _ in pipes]
        self.processes = [
            context.Process(target=serve, args=(rank, world, meeting, theirs), daemon=True)
            for rank, (_, theirs) in enumerate(pipes)
        ]
        for process in self.processes:
            process.start()

    def answers(self, function, *arguments):
        """(result, None) or (None, error) of function(rank, world, *arguments) on every rank."""
        for pipe in self.pipes:
            pipe.send((function, arguments))
        assert all(pipe.poll(TIMEOUT) for pipe in self.pipes), "a rank did not answer"
        return [pipe.recv() for pipe in self.pipes]

    def __call__(self, function, *arguments):
        """The results by rank; the test fails where one raises."""
        answers = self.answers(function, *arguments)
        assert [error for _, error in answers] == [None] * self.world
        return [result for result, _ in answers]

    def errors(self, function, *arguments):
        return [error for _, error in self.answers(function, *arguments)]

    def close(self):
        for pipe, process in zip(self.pipes, self.processes, strict=True):
            if process.is_alive():
                pipe.send(None)
        for process in self.processes:
            process.join(10)
            process.kill()
