"""The one face that learned policies and heuristics share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace

import torch
from torch import Tensor, nn

from lit_unmask.policies.actions import UnmaskDistribution
from lit_unmask.policies.choice import Choice, check_signals, observe, steps_taken
from lit_unmask.types import Observation, Signals


class Policy(nn.Module, ABC):
    """Decides, from one observation of each row, which positions to unmask.

    Rows are independent: the distribution of a row depends on that row alone.

    Attributes:
        signals: What the policy needs to know about the denoiser's proposals.
        draws: Whether actions depend on the noise. One that says no always returns a
            :class:`~lit_unmask.policies.actions.Deterministic`; at token temperature 0 it is
            evaluated with one seed for all.
    """

    signals: Signals = Signals()
    draws: bool = True

    @abstractmethod
    def forward(self, observation: Observation) -> UnmaskDistribution:
        """Return the distribution over actions, within ``observation.eligible``."""

    @property
    def takes_back(self) -> bool:
        """Whether actions may take tokens back; the loop then shows which they may."""
        return any(part.takes_back for part in self.children() if isinstance(part, Policy))

    @property
    def corrects(self) -> bool:
        """Whether actions may ask for corrections; they have a column more then."""
        return any(part.corrects for part in self.children() if isinstance(part, Policy))

    @property
    def has_parameters(self) -> bool:
        """Whether there is anything to train or to store."""
        return any(True for _ in self.parameters())

    def at(
        self,
        speed: float | None = None,
        temperature: float | None = None,
        scale: float | None = None,
    ) -> Policy:
        """Return the same policy, with the same weights, at other settings; None leaves one.

        Args:
            speed: The condition, of a policy that has one.
            temperature: Policy temperature of a learned policy.
            scale: Its scale, by which it is slower or faster.

        Raises:
            ValueError: If the policy has no such setting, or a value is out of range.
        """
        settings = {"speed": speed, "temperature": temperature, "scale": scale}
        given = {name: value for name, value in settings.items() if value is not None}
        return self._at(**given) if given else self

    def _at(self, **settings: float) -> Policy:
        given = ", ".join(f"{name}={value}" for name, value in settings.items())
        raise ValueError(
            f"{given} means nothing to policy {type(self).__name__}, which has no such "
            "setting; leave it out"
        )

    def check_decoding(self, on_empty: str) -> None:
        """Check that the policy can be used as decoding treats empty actions.

        Args:
            on_empty: ``force`` or ``wait``.

        Raises:
            ConfigurationError: If it cannot; says what to use.
        """
        for part in self.children():  # of a policy that is made of others
            if isinstance(part, Policy):
                part.check_decoding(on_empty)

    @torch.no_grad()
    def select(
        self,
        confidence: Tensor,
        masked: Tensor,
        eligible: Tensor,
        step: int | Tensor,
        length: int,
        choice: Choice = Choice(),  # noqa: B008  (frozen)
    ) -> Tensor:
        """Choose the positions to commit in one step of a decoding loop of your own.

        All tensors cover the generation region alone, on the policy's device.

        Args:
            confidence: ``[B, L]`` or ``[B, L, K]`` float, the largest token probabilities of each
                position, descending; the softmax is over the full vocabulary, without the mask
                token, at temperature 1. ``policy.signals.top_k`` says how many are looked at.
            masked: ``[B, L]`` bool, positions that still hold the mask token.
            eligible: ``[B, L]`` bool, positions of the current block; those that are not masked
                are left out.
            step: Steps taken so far, from 0: one number for all rows, or ``[B]`` int.
            length: Generation length **L**.
            choice: Drawing or not, the noise, forcing, and signals beyond confidences.

        Returns:
            ``[B, L]`` bool, within ``masked`` and ``eligible``. By default it is drawn, and not
            empty in any row where a position is eligible.

        Raises:
            ValueError: If a shape does not fit, or a signal that the policy looks at is missing.
        """
        observation = observe(choice, confidence, masked, eligible)
        check_signals(type(self).__name__, self.signals, observation)
        steps = steps_taken(step, length, masked)
        distribution = self(replace(observation, time=steps.float() / length))
        return choice.take(distribution, steps)
