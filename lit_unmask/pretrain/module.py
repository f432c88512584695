"""Trains small denoisers from scratch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim import AdamW, Muon

from lit_unmask.denoisers import StockDenoiser
from lit_unmask.denoisers.families.layout import DenoiserShape
from lit_unmask.pretrain.data import DemonstrationData, Demonstrations
from lit_unmask.pretrain.objectives import MaskedDiffusion, Objective
from lit_unmask.pretrain.objectives.base import Network, token_distributions
from lit_unmask.pretrain.vocabulary import Vocabulary
from lit_unmask.training.schedule import Schedule, WarmupStableDecay


@dataclass(frozen=True)
class NetworkSize:
    """Size of the network.

    Attributes:
        width: Hidden width **D**.
        layers: Transformer blocks.
        heads: Attention heads.
        feed_forward: Hidden width of the feed-forward part.
        max_length: Largest prompt plus response, in tokens.
    """

    width: int = 128
    layers: int = 4
    heads: int = 4
    feed_forward: int = 256
    max_length: int = 256


@dataclass(frozen=True)
class PretrainOptimizer:
    """Muon for the matrices of the blocks, AdamW for everything else.

    Attributes:
        matrix_lr: Learning rate of Muon.
        lr: Learning rate of AdamW.
        weight_decay: Decoupled weight decay of both.
    """

    matrix_lr: float = 0.02
    lr: float = 3e-3
    weight_decay: float = 0.01


class LitPretrain(LightningModule):
    """Training of a small denoiser on worked solutions.

    Args:
        denoiser: Class of the denoiser, which decides architecture, layout and logit shift.
        vocabulary: Builds the tokenizer.
        size: Size of the network.
        objective: What is learned; None is :class:`MaskedDiffusion`.
        optimizer: Learning rates.
        schedule: Factor on both learning rates.

    Raises:
        ValueError: If the objective is for causal networks, and the denoiser's is not.
    """

    def __init__(
        self,
        denoiser: type[StockDenoiser],
        vocabulary: Vocabulary,
        size: NetworkSize = NetworkSize(),
        objective: Objective | None = None,
        optimizer: PretrainOptimizer = PretrainOptimizer(),
        schedule: Schedule = WarmupStableDecay(),  # noqa: B008  (frozen)
    ) -> None:
        super().__init__()
        # As a default in the signature, its settings would become those of classes in its place.
        objective = objective or MaskedDiffusion()
        if objective.causal and not denoiser.causal:
            raise ValueError(
                f"{type(objective).__name__} teaches networks that look ahead nowhere, and "
                f"{denoiser.__name__} looks; set model.denoiser: lit_unmask.denoisers.CausalQwen2"
            )
        self.denoiser, self.vocabulary = denoiser, vocabulary
        self.size, self.objective = size, objective
        self.settings, self.schedule = optimizer, schedule
        self.automatic_optimization = False
        self.network: Any = None
        self.meant: Tensor

    def configure_model(self) -> None:
        """Build tokenizer and network, once the words of the tasks are known."""
        if self.network is not None:
            return
        data = self._data()
        self.tokenizer = self.vocabulary.build(data.words())
        data.tokenizer = self.tokenizer
        shape = DenoiserShape(
            **vars(self.size),
            vocab_size=len(self.tokenizer),
            mask_id=self.tokenizer.mask_token_id,
            eos_id=self.tokenizer.eos_token_id,
            pad_id=self.tokenizer.pad_token_id,
        )
        self.network = self.denoiser.initialise(shape)
        ids: Any = self.tokenizer.convert_tokens_to_ids
        synonyms = [ids([*each]) for each in data.synonyms()]
        meant = token_distributions(len(self.tokenizer), synonyms)
        self.register_buffer("meant", meant, persistent=False)

    def _data(self) -> DemonstrationData:
        # Lightning sets the attribute without declaring it.
        data = getattr(self.trainer, "datamodule", None)
        assert isinstance(data, DemonstrationData)
        return data

    def configure_optimizers(self) -> tuple[list[Any], list[Any]]:
        """Return both optimizers with their schedules."""
        named = list(self.network.named_parameters())
        matrices = [p for name, p in named if p.ndim == 2 and ".layers." in name]
        others = [p for name, p in named if not (p.ndim == 2 and ".layers." in name)]
        decay = self.settings.weight_decay
        optimizers = [
            Muon(matrices, lr=self.settings.matrix_lr, weight_decay=decay),
            AdamW(others, lr=self.settings.lr, betas=(0.9, 0.98), weight_decay=decay),
        ]
        steps = self.trainer.max_steps // len(optimizers)
        return optimizers, [self.schedule.build(optimizer, steps) for optimizer in optimizers]

    def loss(self, batch: Demonstrations) -> Tensor:
        """Return the objective on one batch with fresh noise."""
        network = Network(
            self.network,
            self.denoiser.shift,
            self.tokenizer.mask_token_id,
            self.tokenizer.pad_token_id,
            self.meant,
            done=self.trainer.global_step / max(self.trainer.max_steps, 1),
        )
        return self.objective.loss(batch, network)

    def training_step(self, batch: dict[str, Demonstrations], batch_idx: int) -> None:
        """Take one step of both optimizers on a batch of each response length."""
        rows = sum(len(part.response) for part in batch.values())
        loss = torch.stack(
            [self.loss(part) * len(part.response) / rows for part in batch.values()]
        ).sum()
        optimizers, schedulers = self.optimizers(), self.lr_schedulers()
        assert isinstance(optimizers, list) and isinstance(schedulers, list)
        for optimizer in optimizers:
            optimizer.zero_grad()
        self.manual_backward(loss)
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        for optimizer, scheduler in zip(optimizers, schedulers, strict=True):
            optimizer.step()
            scheduler.step()
        self.log("pretrain/loss", loss, prog_bar=True)
        self.log("pretrain/grad_norm", norm)

    def validation_step(
        self, batch: Demonstrations, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Log the objective on held-out demonstrations."""
        name = self._data().validated()[dataloader_idx]
        size = len(batch.response)
        loss = self.loss(batch)
        self.log(f"pretrain/{name}/loss", loss, batch_size=size, add_dataloader_idx=False)
