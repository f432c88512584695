"""Conditions that are numbers of forwards, each with a price that adapts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lit_unmask.errors import ConfigurationError
from lit_unmask.training.conditioning.base import ConditionedRollouts, Listed
from lit_unmask.training.rewards import NearTarget, SpeedReward


@dataclass(frozen=True)
class Ascent:
    """How a multiplier follows the distance from its target, and what else holds a policy there.

    After each round ``multiplier += step * excess``, with ``excess`` the policy's mean NFE of the
    round over the target, minus 1 and held within -1 and 1: dual ascent.

    Attributes:
        step: Step size, in correct answers a round.
        damping: Weight of what each rollout pays for its own distance from the target, in correct
            answers. A price alone has no middle: where accuracy rises evenly with the forwards,
            every price but one sends the policy to one of the ends, and it swings between them.
        lowest: Least multiplier. A negative one pays for forwards, so that a policy which is
            faster than asked takes the time it was given.
        highest: Largest multiplier.

    Raises:
        ValueError: If the step is not positive, the damping negative, or 0 no possible multiplier.
    """

    step: float = 0.05
    damping: float = 0.5
    lowest: float = -1.0
    highest: float = 4.0

    def __post_init__(self) -> None:
        if not (self.step > 0 and self.damping >= 0 and self.lowest <= 0 < self.highest):
            raise ValueError(
                f"step={self.step} must be positive, damping={self.damping} at least 0, and 0 lie "
                f"between lowest={self.lowest} and highest={self.highest}"
            )


class Budget(Listed):
    """Speeds that are numbers of forwards: answer in about so many.

    Each target has a Lagrange multiplier, which is adapted until the mean NFE of the rollouts that
    were asked for the target is the target. With ``excess = nfe / target - 1`` the reward of a
    rollout is ``correct - multiplier * excess - damping * huber(excess)``, where ``huber(x)`` is
    ``x ** 2 / 2`` up to 1 and ``|x| - 1 / 2`` beyond: an augmented Lagrangian. The target is an
    equality, not a bound, as whoever asks for 20 forwards expects them to be used. It holds on
    average over the problems, so that hard ones may take more than easy ones. The multipliers are
    the same on all ranks and part of the checkpoint. Between targets the policy interpolates.

    ```yaml
    condition:
      class_path: lit_unmask.training.conditioning.Budget
      init_args: {targets: [8, 12, 16, 24, 32]}
    ```

    Args:
        targets: Forwards a problem, in rising order, each at least 1 and at most the generation
            length.
        ascent: How the multipliers are adapted.

    Raises:
        ValueError: If there are no targets, they do not rise, or one is below 1.
    """

    def __init__(self, targets: list[float], ascent: Ascent = Ascent()) -> None:
        super().__init__("targets", targets)
        if self._values[0] < 1:
            raise ValueError(f"targets={targets} must be at least 1; they are numbers of forwards")
        self.targets = self._values
        self.ascent = ascent
        self.multipliers = [0.0] * len(self.targets)

    def rewards(self, reward: SpeedReward, rollouts: ConditionedRollouts, length: int) -> Tensor:
        """Return the rewards at the current multipliers; see :meth:`Condition.rewards`."""
        multipliers = torch.tensor(self.multipliers, device=rollouts.speed.device)
        excess = rollouts.nfe / rollouts.speed - 1
        away = F.huber_loss(excess, torch.zeros_like(excess), reduction="none")
        price = multipliers[self.places(rollouts.speed)] * excess + self.ascent.damping * away
        return rollouts.correct - price

    def check(self, reward: SpeedReward, length: int) -> None:
        """Check the targets and the reward; see :meth:`Condition.check`."""
        if self.targets[-1] > length:
            raise ConfigurationError(
                f"targets={self.targets} of model.condition must be at most the generation length "
                f"{length}; no answer takes more forwards"
            )
        if not isinstance(reward, NearTarget):
            raise ConfigurationError(
                f"model.reward {type(reward).__name__} is about weights of speed, and "
                "model.condition Budget draws numbers of forwards; use "
                "lit_unmask.training.rewards.NearTarget"
            )

    def _adapt(self, nfe: dict[int, float]) -> dict[str, float]:
        for place, mean in nfe.items():
            excess = min(max(mean / self.targets[place] - 1, -1.0), 1.0)
            moved = self.multipliers[place] + self.ascent.step * excess
            self.multipliers[place] = min(max(moved, self.ascent.lowest), self.ascent.highest)
        named = zip(self.labels, self.multipliers, strict=True)
        return {f"speed/{label}/multiplier": multiplier for label, multiplier in named}

    def state_dict(self) -> dict[str, Any]:
        """Return the targets and their multipliers."""
        return {"targets": list(self.targets), "multipliers": list(self.multipliers)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue with stored multipliers.

        Raises:
            ConfigurationError: If they are of other targets.
        """
        if state.get("targets") != self.targets:
            raise ConfigurationError(
                f"the checkpoint has multipliers of targets {state.get('targets', [])} and "
                f"model.condition needs them of {self.targets}; use those that it was trained "
                "with, or no checkpoint"
            )
        self.multipliers = list(state["multipliers"])
