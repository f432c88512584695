"""A denoiser too large for one device, under Lightning's DDP; checkpoints written whole."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor

from lit_unmask.denoisers.families.stock import StockDenoiser
from lit_unmask.denoisers.running.sharding import mesh_of_ranks
from lit_unmask.errors import ConfigurationError
from lit_unmask.files import replace_file
from lit_unmask.training.evaluating import LitEvaluate


class ShardedDenoiser(DDPStrategy):
    """DDP for the policy, and FSDP2 for the frozen denoiser: its weights are spread over ranks.

    Each rank decodes its own prompts. As each forward of the denoiser gathers weights from all
    ranks that share them, a rank that has finished takes part in the others' forwards, without
    computing anything, before it does anything else together with them. So ranks wait for the one
    that makes the most forwards, and what is decoded is the same as without sharding. Checkpoints
    hold the policy alone, as always.

    Each process reads the whole checkpoint into the memory of its machine, and moves it to its
    device layer by layer. Only the module's own denoiser is spread, and it must be a stock class
    without a placement.

    ```yaml
    trainer:
      devices: 8
      strategy:
        class_path: lit_unmask.training.strategy.ShardedDenoiser
        init_args: {ranks: 4}
    ```

    Args:
        ranks: Ranks that share the weights of one copy, neighbours; they divide the number of
            ranks. None for one copy on all ranks. Fewer have more memory taken and wait less.

    Raises:
        ConfigurationError: When it starts, if the denoiser cannot be spread over so many ranks.
    """

    def __init__(self, ranks: int | None = None) -> None:
        super().__init__()
        self.ranks = ranks

    def setup_environment(self) -> None:
        """Let the ranks find each other, and spread the denoiser before anything is moved."""
        super().setup_environment()
        module = self.lightning_module
        assert isinstance(module, LitEvaluate)
        if not isinstance(module.denoiser, StockDenoiser):
            raise ConfigurationError(
                f"{type(module.denoiser).__name__} cannot be spread over ranks, as nothing says "
                "which layers it has; use a stock denoiser, or trainer.strategy: ddp"
            )
        if module.denoiser.shards is None:
            try:
                module.denoiser.shard(mesh_of_ranks(self.root_device.type, self.ranks))
            except ValueError as error:
                raise ConfigurationError(str(error)) from error
        callbacks: list[Callback] = module.trainer.callbacks  # type: ignore[attr-defined]
        if not any(isinstance(callback, _Meeting) for callback in callbacks):
            callbacks[:] = [_Meeting(), *callbacks, _Meeting()]

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        """Wait for the rollouts of all ranks: DDP is about to exchange something."""
        self._join()
        return super().training_step(*args, **kwargs)

    def barrier(self, *args: Any, **kwargs: Any) -> None:
        """Take part in forwards until all ranks are here."""
        self._join()
        super().barrier(*args, **kwargs)

    def broadcast(self, obj: Any, src: int = 0) -> Any:
        """Take part in forwards until all ranks are here, and return the value of one of them."""
        self._join()
        return super().broadcast(obj, src)

    def reduce(self, tensor: Any, group: Any | None = None, reduce_op: Any = "mean") -> Tensor:
        """Take part in forwards until all ranks are here, and reduce a tensor over them."""
        self._join()
        return super().reduce(tensor, group, reduce_op)

    def all_gather(self, tensor: Tensor, group: Any | None = None, sync_grads: bool = False) -> Any:
        """Take part in forwards until all ranks are here, and gather a tensor of each."""
        self._join()
        return super().all_gather(tensor, group, sync_grads)

    def on_validation_end(self) -> None:
        """Take part in the forwards of callbacks of other ranks."""
        self._join()

    def _join(self) -> None:
        # Lightning asks for it before there is a module too, and after.
        if self._lightning_module is not None and torch.distributed.is_initialized():
            _join(self._lightning_module)


class _Meeting(Callback):
    """Comes first and last among the callbacks, as metrics and Lightning's loops exchange things.

    They do so past the strategy: metrics when a problem set or an evaluation is over, the training
    loop before each batch. Until then every callback may have rolled out something, on one rank or
    on all, and ranks may have different numbers of batches.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Take part in forwards until all ranks are here."""
        _join(pl_module)

    on_validation_epoch_end = on_test_epoch_end = on_predict_epoch_end = on_train_start

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Take part in forwards until all ranks are here."""
        _join(pl_module)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any,
        batch_idx: int, dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Take part in forwards until all ranks are here, after the last batch of each set."""
        sanity = trainer.sanity_checking
        batches = trainer.num_sanity_val_batches if sanity else trainer.num_val_batches
        if batch_idx + 1 == batches[dataloader_idx]:
            _join(pl_module)

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any,
        batch_idx: int, dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Take part in forwards until all ranks are here, after the last batch of each set."""
        if batch_idx + 1 == trainer.num_test_batches[dataloader_idx]:
            _join(pl_module)


def _join(module: LightningModule) -> None:
    if isinstance(module, LitEvaluate) and module.denoiser.shards is not None:
        module.denoiser.shards.join()


class WholeCheckpoints(TorchCheckpointIO):
    """Checkpoints that are there as a whole or not at all, also on a disk that is full.

    Lightning writes to the system's temporary folder and moves the file, which is a copy where that
    is another disk: one that breaks off leaves a torn file in the place of the one of before.
    """

    def save_checkpoint(self, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint beside its place, then into it; a place elsewhere is Lightning's."""
        if "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        written = BytesIO()
        torch.save(checkpoint, written)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        replace_file(Path(path), written.getvalue())
