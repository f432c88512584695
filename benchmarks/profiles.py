"""Replayed profiles: rollouts that take as many steps as those measured in training.

A denoiser with random weights has no reason to stop early, and a policy without training none to
wait, so step counts are taken from public training logs (LLaDA-8B, one block of the whole length
L = 256) and scaled to the length of the case. For each rollout a trace says at which step each
position is committed. Within each lock-step batch the mean and the largest NFE and the mean number
of committing steps are those of the profile, rounded to whole steps.

What the logs do not say is made up, seeded: NFE are spread like normal order statistics, steps that
commit nothing lie anywhere before the last, and tokens fall evenly on the committing steps. These
choices move no row-forward count; they do decide how long rows wait between two commits.

A policy sees neither its row nor its step. The replay recognises both by the noise it is handed,
which is a hash of (seed, rollout, step).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lit_unmask.policies import Policy
from lit_unmask.policies.actions import UnmaskDistribution
from lit_unmask.randomness import ACTION, uniform
from lit_unmask.rollout import Noise
from lit_unmask.types import Observation

_UNIFORM_BITS = 24
"""Noise is a multiple of ``2 ** -24``: two numbers make an exact key of 48 bits."""
_MEASURED_LENGTH = 256


@dataclass(frozen=True)
class Profile:
    """Step counts of one phase of training, as fractions of the generation length.

    Attributes:
        mean_nfe: Mean NFE over rows.
        max_nfe: Largest NFE of a lock-step batch.
        committing: Mean number of steps that commit something.
    """

    mean_nfe: float
    max_nfe: float
    committing: float

    @classmethod
    def measured(cls, *steps: int) -> Profile:
        """Make fractions of step counts measured at length 256."""
        return cls(*(count / _MEASURED_LENGTH for count in steps))

    def cut(self, share: float) -> Profile:
        """Return a profile of so much fewer steps, in the same proportions."""
        return Profile(self.mean_nfe * share, self.max_nfe * share, self.committing * share)


PROFILES = {
    "start": Profile.measured(49, 73, 34),
    "slow": Profile.measured(208, 237, 100),
    "late": Profile.measured(91, 141, 64),
}


def _whole(values: Tensor) -> Tensor:
    """Round ``[R]`` float64 to int64 by carrying the remainder on, which keeps their sum."""
    ends = (values.cumsum(0) + 0.5).floor().long()
    return ends.diff(prepend=ends.new_zeros(1))


def step_counts(profile: Profile, rows: int, length: int) -> tuple[Tensor, Tensor]:
    """Return NFE and committing steps of one lock-step batch, ``[R]`` int64 each, NFE rising.

    Args:
        profile: Fractions of ``length``.
        rows: Rows **R** of the batch, at least 2.
        length: Generation length **L** in tokens.
    """
    if rows < 2:
        raise ValueError(f"rows={rows} must be at least 2; a single row has no spread")
    quantile = (torch.arange(1, rows + 1, dtype=torch.float64) - 0.375) / (rows + 0.25)
    spread = torch.special.ndtri(quantile)
    mean, largest = profile.mean_nfe * length, profile.max_nfe * length
    exact = mean + (largest - mean) * spread / spread[-1]
    most = round(largest)
    nfe = _whole(exact).clamp(1, most)
    nfe[-1] = most
    # Rows of more steps commit more often, in the same proportion.
    committing = _whole(profile.committing * length * exact / mean)
    return nfe, torch.minimum(committing.clamp(min=1), nfe)


def trace(nfe: int, committing: int, length: int, generator: torch.Generator) -> Tensor:
    """Return the step at which each position is committed, ``[L]`` int64; the last is ``nfe - 1``.

    Args:
        nfe: Steps of the rollout.
        committing: How many of them commit something, between 1 and ``min(nfe, length)``.
        length: Generation length **L**.
        generator: Source of the choices.
    """
    steps = torch.randperm(nfe - 1, generator=generator)[: committing - 1]
    steps = torch.cat([steps.sort().values, torch.tensor([nfe - 1])])
    cuts = torch.randperm(length - 1, generator=generator)[: committing - 1].sort().values + 1
    ends = torch.cat([torch.tensor([0]), cuts, torch.tensor([length])])
    step_of_token = steps.repeat_interleave(ends.diff())
    return step_of_token[torch.randperm(length, generator=generator)]


def traces(profile: Profile, rows: int, batch: int, length: int, seed: int = 0) -> Tensor:
    """Return the traces of many rollouts, ``[R, L]`` int64, as :func:`trace` does for one.

    Args:
        profile: Fractions of ``length``.
        rows: Rollouts **R**.
        batch: Rows of a lock-step batch, each of which has the profile's mean and maximum.
        length: Generation length **L**.
        seed: Seed of the choices.
    """
    generator = torch.Generator().manual_seed(seed)
    result = []
    for part in torch.arange(rows).split(batch):
        counts = torch.stack(step_counts(profile, len(part), length), dim=1)
        for nfe, committing in counts[torch.randperm(len(part), generator=generator)].tolist():
            result.append(trace(nfe, min(committing, length), length, generator))
    return torch.stack(result)


class Replayed(UnmaskDistribution):
    """The recorded action; which one it is shows only in the noise.

    Args:
        replay: Knows the recorded actions.
        eligible: ``[B, L]`` bool.
    """

    def __init__(self, replay: Replay, eligible: Tensor) -> None:
        super().__init__(eligible)
        self.replay = replay

    def sample(self, uniform: Tensor) -> Tensor:
        """Return the actions of the (rollout, step) whose noise ``[B, L]`` this is."""
        return self.replay.actions(uniform) & self.eligible

    def _unknown(self, *_: Tensor) -> Tensor:
        raise NotImplementedError("a replayed action is known from its noise alone")

    mode = log_prob = entropy = ranking = probability = _unknown

    def broken(self) -> Tensor:
        """Return that no row is."""
        return torch.zeros_like(self.eligible[:, 0])


class Replay(Policy):
    """Repeats traces, one for each rollout number of the noise.

    Decode with ``on_empty="wait"`` and one block of the whole length. An unknown noise is not
    noticed within the loop, where the test would make a device wait: compare ``committed_at`` of
    the result with the traces.

    Args:
        committed_at: ``[R, L]`` int64, from :func:`traces`.
        noise: Key of the noise of these **R** rollouts.
    """

    def __init__(self, committed_at: Tensor, noise: Noise) -> None:
        super().__init__()
        rows, length = committed_at.shape
        device = noise.rollout.device
        # One step beyond L: the plain loop also asks about rows that are finished.
        row = torch.arange(rows, device=device).repeat_interleave(length + 1)
        step = torch.arange(length + 1, device=device).repeat(rows)
        numbers = uniform(noise.seed, noise.rollout[row], step, 2, ACTION)
        keys, order = self._key(numbers).sort()
        if bool((keys.diff() == 0).any()):
            raise ValueError("two steps have the same noise; take another seed")
        self.register_buffer("keys", keys)
        self.register_buffer("row", row[order])
        self.register_buffer("step", step[order])
        self.register_buffer("committed_at", committed_at.to(device))

    @staticmethod
    def _key(numbers: Tensor) -> Tensor:
        """Return one int64 for the first two numbers of each row ``[B, >= 2]``."""
        words = (numbers[:, :2] * 2**_UNIFORM_BITS).long()
        return (words[:, 0] << _UNIFORM_BITS) + words[:, 1]

    def actions(self, numbers: Tensor) -> Tensor:
        """Return the recorded actions ``[B, L]`` bool that belong to noise ``[B, L]``."""
        place = torch.searchsorted(self.keys, self._key(numbers)).clamp(max=len(self.keys) - 1)
        return self.committed_at[self.row[place]] == self.step[place, None]

    def forward(self, observation: Observation) -> Replayed:
        """Return the recorded action of each row, to be revealed by its noise."""
        return Replayed(self, observation.eligible)
