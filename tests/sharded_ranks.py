"""What each of two ranks does with a denoiser whose weights both share."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import replace
from multiprocessing import set_forkserver_preload
from pathlib import Path
from typing import Any

import torch
import toys
import yaml
from lightning.pytorch import Callback, Trainer
from torch import distributed, multiprocessing
from torch.distributed.tensor import DTensor
from toy_rollouts import learned

from lit_unmask.cli import main
from lit_unmask.denoisers import Denoiser, LLaDA
from lit_unmask.denoisers.running.sharding import mesh_of_ranks
from lit_unmask.rollout import Approximate, Decoding, Noise, Rollout, Scheduling, rollout
from lit_unmask.types import Prompt

PLAIN = Decoding(16, 8, on_empty="wait", scheduling=Scheduling(max_rows=3))
THRESHOLD = "lit_unmask.policies.ConfidenceThreshold"
FIELDS = ("response", "nfe", "committed_at", "still_masked")
# By name: rows of each rank, and how they are decoded. Ranks make different numbers of forwards.
JOBS: dict[str, tuple[list[list[int]], Decoding]] = {
    "uneven numbers of rows": ([[0, 1, 2, 3, 4], [5, 6]], PLAIN),
    "rows on one rank alone": ([[], [0, 2, 4]], PLAIN),
    "a key-value cache": (
        [[6, 5, 4], [3]],
        replace(PLAIN, block_length=4, approximate=Approximate(cache="dual")),
    ),
    "memory that runs out on one rank": (
        [[0, 1, 2, 3, 4, 5], [6]],
        replace(PLAIN, temperature=0.7),
    ),
}


def prompts() -> Prompt:
    """Return seven prompts of several lengths."""
    tokens = torch.randint(5, 20, (7, 9), generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([2, 9, 9, 4, 2, 7, 1])
    return Prompt(tokens, torch.arange(9) >= 9 - lengths[:, None])


def decode(denoiser: Denoiser, rows: list[int], decoding: Decoding) -> Rollout:
    """Return what becomes of some of the prompts."""
    chosen = torch.tensor(rows, dtype=torch.int64)
    noise = Noise(3, chosen + 100)
    return rollout(denoiser, learned(), prompts().select(chosen), decoding, noise, record=True)


def contents(result: Rollout) -> dict[str, Any]:
    """Return all that a rollout reports but times and costs."""
    steps = {} if result.steps is None else dict(vars(result.steps))
    if steps:
        seen = dict(vars(steps.pop("observation")))
        steps |= seen.pop("signals") | seen
    return {name: getattr(result, name) for name in FIELDS} | steps


class Scarce:
    """Stands for a part of a layer, and runs out of memory at more than two rows."""

    def __init__(self, layer: torch.nn.Module) -> None:
        self.forward, self.failures = layer.forward, 0

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        if len(states) > 2:
            self.failures += 1
            raise torch.OutOfMemoryError("out of memory")
        return self.forward(states)


class Watch(Callback):
    """Writes what DDP and the denoiser of each rank hold."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        held = {
            "ddp": [name for name, _ in trainer.model.named_parameters()],
            "sharded": all(isinstance(w, DTensor) for w in pl_module.denoiser.parameters()),
        }
        (self.folder / f"watch-{trainer.global_rank}.json").write_text(json.dumps(held))


def write_config(folder: Path, checkpoint: Path) -> Path:
    """Write a run of two rounds in which ranks have different numbers of forwards all the time.

    Five problems are an odd number, and the lessons at the start are rolled out by the first rank
    alone; the frontier at the end is shared.
    """
    settings = toys.config(checkpoint, folder)
    threshold = {"class_path": THRESHOLD, "init_args": {"threshold": 0.5}}
    callbacks = {
        "AccuracyNFE": {"baselines": {"threshold": {"policy": threshold}}},
        "WarmStart": {"expert": threshold, "block_length": 4, "teaching": {"problems": 4}},
        "Frontier": {
            "folder": str(folder / "store"),
            "options": {"fit": True, "results": str(folder / "comparison")},
            "grids": {"threshold": {"policy": THRESHOLD, "values": [0.5], "block_lengths": [4]}},
        },
    }
    settings["trainer"]["callbacks"] += [
        {"class_path": f"lit_unmask.callbacks.{name}", "init_args": arguments}
        for name, arguments in callbacks.items()
    ]
    settings["trainer"] |= {"val_check_interval": 2, "check_val_every_n_epoch": None}
    settings["model"]["optimizer"] = {"class_path": "torch.optim.SGD", "init_args": {"lr": 1.0}}
    settings["model"]["rounds"] |= {"group_size": 2}
    settings["data"]["init_args"]["batch_size"] = 4
    file = folder.with_suffix(".yaml")
    file.write_text(yaml.safe_dump(settings))
    return file


def run_rank(rank: int, folder: Path, checkpoint: Path, port: int) -> None:
    """Do all jobs, write what came out of them, and train as one of two ranks."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"file://{folder / 'meeting'}", rank=rank, world_size=2)
    torch.save(do_jobs(rank, LLaDA(str(checkpoint))), folder / f"{rank}.pt")
    distributed.destroy_process_group()
    # As torchrun would have started it.
    numbers = {"RANK": rank, "LOCAL_RANK": rank, "GROUP_RANK": 0, "WORLD_SIZE": 2}
    numbers |= {"LOCAL_WORLD_SIZE": 2, "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in numbers.items()}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_RUN_ID": "test"}
    main(["fit", "--config", str(folder / "two.yaml")])


def do_jobs(rank: int, denoiser: LLaDA) -> dict[str, Any]:
    """Return what came out of all jobs of a rank, and what it holds of the denoiser."""
    denoiser.shard(mesh_of_ranks("cpu"))
    found: dict[str, Any] = {}
    for name, (rows, decoding) in JOBS.items():
        mlp = denoiser.network.model.layers[0].mlp
        scarce = Scarce(mlp)
        if name == "memory that runs out on one rank" and rank == 0:
            mlp.forward = scarce  # in the middle of a forward, between the layers
        if rows[rank]:
            found[name] = contents(decode(denoiser, rows[rank], decoding))
        denoiser.shards.join()
        mlp.__dict__.pop("forward", None)
        found[f"{name}: failures"] = scarce.failures
    weights = list(denoiser.parameters())
    found["sharded"] = all(isinstance(weight, DTensor) for weight in weights)
    found["frozen"] = not any(weight.requires_grad for weight in weights)
    found["local numbers"] = sum(weight.to_local().numel() for weight in weights)
    found["weights"] = dict(denoiser.named_weights())
    found["stays"] = denoiser.to("cpu") is denoiser
    if rank == 0:
        with torch.inference_mode():
            found["logits"] = denoiser.logits(prompts(), torch.full((7, 4), denoiser.mask_id))
    denoiser.shards.join()
    return found


def run(folder: Path, checkpoint: Path) -> list[dict[str, Any]]:
    """Return what each of two ranks found in its jobs; their training writes to ``two``."""
    file = write_config(folder / "two", checkpoint)
    settings = yaml.safe_load(file.read_text())
    strategy = {
        "class_path": "lit_unmask.training.strategy.ShardedDenoiser",
        "init_args": {"ranks": 2},
    }
    settings["trainer"] |= {"devices": 2, "strategy": strategy}
    watch = {"class_path": "sharded_ranks.Watch", "init_args": {"folder": str(folder)}}
    settings["trainer"]["callbacks"].append(watch)
    file.write_text(yaml.safe_dump(settings))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Both are forked from a process that has imported this module, which takes longest.
    set_forkserver_preload(["sharded_ranks"])
    multiprocessing.start_processes(
        run_rank, (folder, checkpoint, port), nprocs=2, start_method="forkserver"
    )
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(2)]
