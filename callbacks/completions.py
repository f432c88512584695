"""Samples of what is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from lit_unmask.callbacks.figures import tensorboard

from lit_unmask.errors import ConfigurationError
from lit_unmask.evaluation.decode import Evaluation
from lit_unmask.files import check_folder
from lit_unmask.tasks.datamodule import attached_data
from lit_unmask.types import Problem


class Completions(Callback):
    """Writes the first completions of each validation set to TensorBoard as a table.

    Args:
        count: Completions a set.
    """

    def __init__(self, count: int = 4) -> None:
        self.count = count

    def on_validation_batch_end(  # type: ignore[override]
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Evaluation,
        batch: list[Problem],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write the table of the first batch."""
        writer = tensorboard(trainer)
        if batch_idx or writer is None or trainer.sanity_checking:
            return
        name = list(attached_data(trainer).val)[dataloader_idx]
        lines = ["| question | completion | correct | NFE |", "| --- | --- | --- | --- |"]
        for index, problem in enumerate(batch[: self.count]):
            cells = (
                problem.messages[-1]["content"],
                outputs.completions[index],
                f"{float(outputs.correct[index]):g}",
                str(int(outputs.nfe[index])),
            )
            lines.append("| " + " | ".join(_cell(text) for text in cells) + " |")
        writer.add_text(f"val/{name}/completions", "\n".join(lines), trainer.global_step)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


class PredictionWriter(BasePredictionWriter):
    """Appends the records of ``predict`` to a JSONL file, one file a rank.

    ```yaml
    callbacks:
      - class_path: lit_unmask.callbacks.PredictionWriter
        init_args: {path: runs/predictions.jsonl}
    ```

    Args:
        path: File to write; ranks above 0 add ``.rank<n>`` to its name.

    Raises:
        ConfigurationError: If the file is there already, or its folder cannot be written.
    """

    def __init__(self, path: str) -> None:
        super().__init__(write_interval="batch")
        self.path = self.file = Path(path)

    def check_run(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse to write into a file of an earlier run."""
        if stage != "predict":
            return
        rank = trainer.global_rank
        self.file = self.path.with_name(f"{self.path.name}.rank{rank}") if rank else self.path
        if self.file.exists():
            raise ConfigurationError(f"{self.file} exists; move it away or choose another path")
        check_folder(self.file.parent)

    setup = check_run

    def write_on_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        prediction: list[dict[str, Any]],
        batch_indices: Any,
        batch: list[Problem],
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Append the records of one batch, all of them or, on a full disk, none."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        data = "".join(json.dumps(record) + "\n" for record in prediction).encode()
        with self.file.open("ab", buffering=0) as file:
            size = file.tell()
            try:
                while data:
                    data = data[file.write(data) :]
            except OSError:
                file.truncate(size)
                raise
