"""Several processes that share a case, each with its own prompts and its own loop."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from cases import CASES, Scale
from measure import Samples, sample
from torch import distributed, multiprocessing


def measure_ranks(name: str, problems: int, repeats: int) -> list[Samples]:
    """Measure a case in its processes, which share the threads of this one.

    Args:
        name: Key of ``CASES``.
        problems: Prompts over all ranks.
        repeats: Repetitions.

    Returns:
        One element a rank.
    """
    ranks = CASES[name].ranks
    threads = max(1, torch.get_num_threads() // ranks)
    with tempfile.TemporaryDirectory() as folder:
        arguments = (Path(folder), name, Scale(problems, 0, ranks), repeats, threads)
        multiprocessing.spawn(run_rank, arguments, nprocs=ranks)
        return torch.load(Path(folder) / "samples.pt", weights_only=False)


def run_rank(
    rank: int, folder: Path, name: str, scale: Scale, repeats: int, threads: int = 1
) -> None:
    """Measure one rank's share; rank 0 writes the samples of all to ``samples.pt``.

    Args:
        rank: Number of this process.
        folder: Where the ranks meet, empty at the start.
        name: Key of ``CASES``.
        scale: Prompts and number of ranks; its ``rank`` is not read.
        repeats: Repetitions.
        threads: Threads of this process.
    """
    torch.set_num_threads(threads)
    store = f"file://{folder / 'meeting'}"
    distributed.init_process_group("gloo", store, rank=rank, world_size=scale.ranks)
    try:
        work = CASES[name].build(Scale(scale.problems, rank, scale.ranks))
        samples = sample(work, repeats, distributed.barrier)
        gathered: list[Samples | None] = [None] * scale.ranks
        distributed.all_gather_object(gathered, samples)
        if rank == 0:
            torch.save(gathered, folder / "samples.pt")
    finally:
        distributed.destroy_process_group()
