"""A policy that masks time-frequency bins, trained by the GRPO code that trains unmasking.

An episode has one step: the policy sees a mixture, draws a number between 0 and 1 for each bin of
its spectrogram, and is paid by how much better the wanted source is heard. After MARS-Sep
(arXiv 2510.09106), whose policy is a large mask network and whose reward compares embeddings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from mixtures import Mixtures, masked, mixtures, ratio_mask, si_sdr, spectrogram
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lit_unmask.policies.actions.beta import BetaDraws, Spread
from lit_unmask.rows import Rows
from lit_unmask.training.grpo import GRPO, group_advantages
from lit_unmask.training.objective import Counts, update
from lit_unmask.training.schedule import Schedule, WarmupCosine
from lit_unmask.training.settings import OptimizerFactory, Rounds, reference_optimizer
from lit_unmask.types import Experience, Steps


@dataclass(frozen=True)
class Heard(Rows):
    """What the policy looks at.

    Attributes:
        level: ``[N, F, T]`` float32, log-magnitudes of the mixture over those of its mean.
    """

    level: Tensor

    @classmethod
    def of(cls, heard: Tensor) -> Heard:
        """Return what is seen of mixtures ``[N, S]``."""
        level = spectrogram(heard).abs().clamp(min=1e-4).log()
        return cls(level - level.mean((1, 2), keepdim=True))


class MaskDraws(BetaDraws):
    """A Beta draw for each bin; each of them has a log-probability and a ratio of its own.

    The product of the ratios of thousands of bins would explode.

    Args:
        logits: ``[N, F * T]`` float, of the most probable masks.
        spread: Concentration around them.
    """

    def __init__(self, logits: Tensor, spread: Spread) -> None:
        everywhere = torch.ones_like(logits, dtype=torch.bool)
        super().__init__(logits, everywhere, everywhere, spread)

    def _sum(self, each: Tensor) -> Tensor:
        """Return what is said of each bin, not of all of them together."""
        return each

    def sample(self, uniform: Tensor) -> Tensor:
        """Draw masks by torch's own generator; inverting the distribution takes ten times longer.

        Args:
            uniform: Not looked at.
        """
        return self._clamp(self.beta.sample())

    def entropy(self) -> Tensor:
        """Return the mean differential entropy of a bin, ``[N]`` in nats."""
        return self.beta.entropy().mean(-1)

    def ranking(self) -> Tensor:
        """Return the masks: bins are preferred as they are kept."""
        return self.center

    def probability(self) -> Tensor:
        """Return the most probable masks, the share of each bin that is kept."""
        return self.center


class MaskPolicy(nn.Module):
    """A small convolutional network with a Beta distribution around its mask.

    Args:
        channels: Width of the hidden layers.
        concentration: As in :class:`~lit_unmask.policies.actions.beta.Spread`; large draws lie
            near the mask. The paper lets it rise; here it is constant.

    Raises:
        ValueError: If the concentration is not positive.
    """

    def __init__(self, channels: int = 12, concentration: float = 20.0) -> None:
        super().__init__()
        self.spread = Spread(concentration)
        sizes = [(2, channels, 1), (channels, channels, 2), (channels, channels, 4)]
        layers: list[nn.Module] = []
        for inputs, outputs, step in sizes:
            wide = {"padding": (2, step), "dilation": (1, step)}
            layers += [nn.Conv2d(inputs, outputs, (5, 3), **wide), nn.GELU()]
        last = nn.Conv2d(channels, 1, 1)
        nn.init.zeros_(last.weight)  # begins with the mixture itself, at half its loudness
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(*layers, last)

    def forward(self, heard: Heard) -> MaskDraws:
        """Return the distribution over masks."""
        height = torch.linspace(-1, 1, heard.level.shape[1], device=heard.level.device)
        seen = torch.stack([heard.level, height[:, None].expand_as(heard.level)], 1)
        return MaskDraws(self.layers(seen).flatten(1), self.spread)


class LitSeparation(LightningModule):
    """Learns masks from the SI-SDR of what is heard through them.

    A training batch is one round, as in :class:`lit_unmask.LitUnmask`: ``group_size`` masks are
    drawn for each mixture, and their rewards become advantages. Broken rounds are not
    looked for.

    Args:
        policy: Draws masks.
        grpo: The clipped objective; each bin has its own ratio.
        rounds: Group size, iterations, how rewards are scaled.
        optimizer: Makes the optimizer.
        schedule: Learning rate over the rounds.
    """

    def __init__(
        self,
        policy: MaskPolicy,
        grpo: GRPO = GRPO(),  # noqa: B008  (frozen)
        rounds: Rounds = Rounds(),  # noqa: B008  (frozen)
        optimizer: OptimizerFactory = reference_optimizer,
        schedule: Schedule = WarmupCosine(),  # noqa: B008  (frozen)
    ) -> None:
        super().__init__()
        self.policy, self.grpo, self.rounds = policy, grpo, rounds
        self.make_optimizer, self.schedule = optimizer, schedule
        self._iteration, self._moved = 0, 0.0

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return the optimizer and its schedule, stepped once a round."""
        optimizer = self.make_optimizer(self.policy.parameters())
        schedule = self.schedule.build(optimizer, int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Turn mixtures into experience where it trains."""
        sounds = Mixtures(*batch)
        return self.collect(sounds) if self.trainer.training else sounds

    @torch.no_grad()
    def collect(self, sounds: Mixtures) -> Experience:
        """Draw masks for each mixture, and listen."""
        sounds = sounds.repeat(self.rounds.group_size)
        seen = Heard.of(sounds.heard)
        distribution = self.policy(seen)
        mask = distribution.sample(torch.empty(0))
        rewards = gained(sounds, mask)
        first = torch.arange(len(rewards), device=self.device)
        no_place = torch.zeros_like(mask, dtype=torch.bool)
        log_prob = distribution.log_prob(mask)
        steps = Steps(first, first * 0, seen, mask, no_place, log_prob, no_place)  # type: ignore[arg-type]
        advantage = group_advantages(rewards, self.rounds.group_size, self.rounds.scale_by_std)
        return Experience(
            steps=steps, advantage=advantage, decisions=torch.ones_like(first), rewards=rewards,
            correct=rewards, expert=rewards.isnan(),
            diagnostics={"reward": float(rewards.mean()), "reward_std": float(rewards.std())},
        )  # fmt: skip

    def training_step(self, batch: Experience, batch_idx: int) -> Tensor:
        """Return the loss of the drawn masks under the current policy."""
        counts = Counts(len(batch.decisions))
        result = update(self.policy, batch, self.grpo, self.rounds, counts)
        self._moved = float(result.surrogate.kl)
        values = batch.diagnostics | result.scalars(self._iteration)
        self.log_dict({f"train/{name}": value for name, value in values.items()}, batch_size=1)
        return result.loss

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None
    ) -> None:
        """Repeat the update on the masks of the round."""
        for iteration in range(self.rounds.num_iterations):
            self._iteration = iteration
            super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
            if self.rounds.is_far(self._moved):
                break

    def validation_step(self, batch: Mixtures, batch_idx: int) -> None:
        """Log SI-SDR of the mixture, through the most probable mask, and through the oracle's."""
        heard = batch.heard
        mask = self.policy(Heard.of(heard)).mode()
        values = {
            "before": si_sdr(heard, batch.target),
            "after": si_sdr(masked(heard, mask), batch.target),
            "oracle": si_sdr(masked(heard, ratio_mask(batch)), batch.target),
        }
        for name, each in values.items():
            self.log(f"val/si_sdr_{name}", each.mean(), batch_size=len(each), prog_bar=True)


def gained(sounds: Mixtures, mask: Tensor) -> Tensor:
    """Return by how much a mask ``[B, F * T]`` improves the SI-SDR, ``[B]`` in dB."""
    heard = sounds.heard
    return si_sdr(masked(heard, mask), sounds.target) - si_sdr(heard, sounds.target)


class MixtureData(LightningDataModule):
    """Random mixtures to train on, and others to listen to.

    Args:
        seed: Of the training mixtures; those of validation are always the same.
        train: Training mixtures.
        val: Validation mixtures.
        samples: Length of each, in samples of 1 / 8000 s.
        batch_size: Mixtures a round.
    """

    def __init__(
        self,
        seed: int = 1,
        train: int = 1024,
        val: int = 64,
        samples: int = 4096,
        batch_size: int = 8,
    ) -> None:
        super().__init__()
        self.seed, self.batch_size = seed, batch_size
        self.train, self.val = mixtures(train, samples, seed), mixtures(val, samples, 0)

    def train_dataloader(self) -> DataLoader:
        """Return the training mixtures, shuffled."""
        data = TensorDataset(self.train.target, self.train.other)
        return DataLoader(data, self.batch_size, shuffle=True, drop_last=True)

    def val_dataloader(self) -> DataLoader:
        """Return the validation mixtures."""
        return DataLoader(TensorDataset(self.val.target, self.val.other), self.batch_size)
