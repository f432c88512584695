from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lightning.pytorch.loggers import TensorBoardLogger
from lit_unmask.callbacks import Completions, PredictionWriter
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from toys import Coins, make_data, make_module, make_trainer

from lit_unmask.denoisers import LLaDA
from lit_unmask.errors import ConfigurationError
from lit_unmask.types import Problem


class Pipes(Coins):
    """Questions with what would break a table in Markdown."""

    def draw(self, rng: random.Random) -> Problem:
        question = f"a | b\n{rng.random()}"
        return replace(
            super().draw(rng), uid=question, messages=({"role": "user", "content": question},)
        )


def test_completions_are_a_table(tiny_llada: LLaDA, tmp_path: Path) -> None:
    data = make_data(val={"plain": Coins("validation", 5), "pipes": Pipes("validation", 1)})
    logger = TensorBoardLogger(tmp_path)
    trainer = make_trainer(
        tmp_path, Completions(count=2), logger=logger, limit_val_batches=1.0, max_steps=1,
        val_check_interval=1, num_sanity_val_steps=1,
    )  # fmt: skip
    trainer.fit(make_module(tiny_llada), datamodule=data)
    events = EventAccumulator(logger.log_dir).Reload()
    tables = {}
    for name in ("plain", "pipes"):
        (entry,) = events.Tensors(f"val/{name}/completions/text_summary")
        tables[name] = entry.tensor_proto.string_val[0].decode().splitlines()
    assert tables["plain"][0] == "| question | completion | correct | NFE |"
    assert len(tables["plain"]) == 2 + 2
    problem = data.val["plain"][0]
    assert tables["plain"][2].startswith(f"| {problem.messages[0]['content']} | ")
    assert len(tables["pipes"]) == 2 + 1
    assert tables["pipes"][2].startswith(r"| a \| b 0.")
    assert tables["pipes"][2].replace(r"\|", "").count("|") == 5


def write(path: Path, rank: int, record: dict[str, Any]) -> None:
    """Write one record as the given rank would."""
    writer: Any = PredictionWriter(str(path))
    trainer = SimpleNamespace(global_rank=rank)
    writer.setup(trainer, None, "fit")
    writer.setup(trainer, None, "predict")
    writer.write_on_batch_end(trainer, None, [record], None, [], 0, 0)


def test_each_rank_writes_its_own_file_once(tmp_path: Path) -> None:
    file = tmp_path / "new" / "records.jsonl"
    write(file, 0, {"uid": "a"})
    write(file, 1, {"uid": "b"})
    assert json.loads(file.read_text()) == {"uid": "a"}
    assert json.loads(file.with_name("records.jsonl.rank1").read_text()) == {"uid": "b"}
    with pytest.raises(ConfigurationError, match="exists"):
        write(file, 0, {"uid": "c"})
    assert json.loads(file.read_text()) == {"uid": "a"}


def test_an_unwritable_folder_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="cannot be written"):
        write(tmp_path / "file" / "records.jsonl", 0, {})
