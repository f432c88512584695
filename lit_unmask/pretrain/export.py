"""Writes a trained denoiser in its original layout and says how good it is."""

from __future__ import annotations

import json
import time
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

from lit_unmask.evaluation import evaluate
from lit_unmask.frontier import proportion_interval
from lit_unmask.policies import LowConfidence
from lit_unmask.pretrain.module import LitPretrain
from lit_unmask.rollout import Decoding
from lit_unmask.tasks.base import Task


class Export(Callback):
    """Writes the checkpoint when training ends, loads it back, and writes ``metrics.json``.

    The metrics are accuracies on test problems with one token a step, by confidence.

    Args:
        folder: Where the checkpoint goes.
        test: Test tasks by name.
        block_length: Block length of the test.
    """

    def __init__(self, folder: str, test: dict[str, Task], block_length: int = 8) -> None:
        self.folder, self.test, self.block_length = Path(folder), test, block_length
        self._start = 0.0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._start = time.perf_counter()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write checkpoint and metrics."""
        assert isinstance(pl_module, LitPretrain)
        if not trainer.is_global_zero or trainer.fast_dev_run:
            return
        seconds = time.perf_counter() - self._start
        kind = pl_module.denoiser
        kind.save(pl_module.network.cpu(), pl_module.tokenizer, self.folder)
        denoiser = kind(str(self.folder.resolve()))
        decoding = Decoding(pl_module.gen_length, self.block_length, max_rows=128)
        metrics: dict = {
            "parameters": sum(p.numel() for p in denoiser.parameters()),
            "steps": trainer.global_step // 2,
            "minutes": round(seconds / 60, 1),
            "loss": round(float(trainer.callback_metrics["pretrain/loss"]), 4),
        }
        for name, task in self.test.items():
            result = evaluate(denoiser, LowConfidence(1), list(task), decoding)
            low, high = proportion_interval(int(result.correct.sum()), len(task))
            metrics[name] = {
                "accuracy": round(result.accuracy, 4),
                "ci": [round(low, 4), round(high, 4)],
                "problems": len(task),
                "block_length": self.block_length,
                "decoding": "one token a step, by confidence",
            }
        (self.folder / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
