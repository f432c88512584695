"""Writes a trained denoiser in its original layout and says how good it is."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from lit_unmask.denoisers import NetworkDenoiser
from lit_unmask.evaluation.decode import evaluate
from lit_unmask.evaluation.points import wilson_interval
from lit_unmask.files import replace_file
from lit_unmask.policies import LowConfidence
from lit_unmask.pretrain.module import LitPretrain
from lit_unmask.rollout import Decoding, Scheduling
from lit_unmask.tasks.base import Task
from lit_unmask.tasks.datamodule import is_fast_dev_run


@dataclass(frozen=True)
class HeldOut:
    """Problems that a trained denoiser is examined on, one token a step by confidence.

    A causal one is read from left to right, whatever the block lengths.

    Attributes:
        task: The problems.
        gen_length: Response length **L**.
        block_lengths: Block lengths of the decoding, each examined by itself.
    """

    task: Task
    gen_length: int = 64
    block_lengths: tuple[int, ...] = (2, 64)


def examine(
    denoiser: NetworkDenoiser, tests: Mapping[str, HeldOut]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what a denoiser gets right of each test, by name: accuracies by block length."""
    for name, test in tests.items():
        problems = list(test.task)
        found: dict[str, Any] = {
            "problems": len(problems),
            "gen_length": test.gen_length,
            "decoding": "one token a step, by confidence",
        }
        for block_length in (1,) if denoiser.causal else test.block_lengths:
            decoding = Decoding(test.gen_length, block_length, scheduling=Scheduling(max_rows=128))
            result = evaluate(denoiser, LowConfidence(1), problems, decoding)
            low, high = wilson_interval(result.accuracy, len(problems))
            found[f"block_length={block_length}"] = {
                "accuracy": round(result.accuracy, 4),
                "ci": [round(low, 4), round(high, 4)],
            }
        yield name, found


class Export(Callback):
    """Writes the checkpoint when training ends, loads it back, and writes ``metrics.json``.

    Args:
        folder: Where the checkpoint goes.
        test: Test problems by name; the metrics are the accuracies on them.
    """

    def __init__(self, folder: str, test: dict[str, HeldOut]) -> None:
        self.folder, self.test = Path(folder), test
        self._start = 0.0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._start = time.perf_counter()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write checkpoint and metrics."""
        assert isinstance(pl_module, LitPretrain)
        if not trainer.is_global_zero or is_fast_dev_run(trainer):
            return
        seconds = time.perf_counter() - self._start
        kind = pl_module.denoiser
        figures = self.folder / "metrics.json"
        figures.unlink(missing_ok=True)  # those of the checkpoint that is replaced
        kind.save(pl_module.network.cpu(), pl_module.tokenizer, self.folder)
        denoiser = kind(str(self.folder.resolve()))
        metrics: dict = {
            "parameters": sum(p.numel() for p in denoiser.parameters()),
            "steps": trainer.global_step // 2,
            "minutes": round(seconds / 60, 1),
        }
        for name, found in examine(denoiser, self.test):
            loss = trainer.callback_metrics.get(f"pretrain/{name}/loss")
            found["validation_loss"] = None if loss is None else round(float(loss), 4)
            metrics[name] = found
        replace_file(figures, (json.dumps(metrics, indent=1) + "\n").encode())
