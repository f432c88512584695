"""A short training run whose checkpoint is shared."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from lightning.pytorch.callbacks import ModelCheckpoint
from toys import make_data, make_module, make_trainer

from lit_unmask.training.module import LitUnmask


@dataclass(frozen=True)
class Trained:
    """A module after one round, and its checkpoint."""

    module: LitUnmask
    checkpoint: Path


@pytest.fixture(scope="session")
def trained(tiny_llada, tmp_path_factory) -> Trained:
    folder = tmp_path_factory.mktemp("run")
    module = make_module(tiny_llada)
    save = ModelCheckpoint(folder / "checkpoints", filename="policy")
    trainer = make_trainer(
        folder, save, max_steps=1, enable_checkpointing=True, limit_val_batches=1
    )
    trainer.fit(module, datamodule=make_data())
    return Trained(module, folder / "checkpoints" / "policy.ckpt")
