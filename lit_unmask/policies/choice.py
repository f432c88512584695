"""What a policy is told and asked for when somebody else's loop calls it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lit_unmask.distributions import UnmaskDistribution
from lit_unmask.randomness import ACTION, uniform
from lit_unmask.types import Observation, Signals


@dataclass(frozen=True)
class Choice:
    """How :meth:`Policy.select` decides, and what else it may look at.

    Attributes:
        greedy: Whether to take a most probable action instead of drawing one.
        on_empty: What happens in a row whose action is empty although something is eligible.
            ``force`` opens the position that the policy ranks first, ``wait`` opens nothing.
        seed: Makes the draws a function of (seed, rollout, step, position), the same as in
            :func:`lit_unmask.rollout.rollout`. None draws from torch's global generator.
        rollout: ``[B]`` int64, number of each row's rollout, for ``seed``; None counts the rows
            from 0.
        entropy: ``[B, L]`` float in nats, for a policy that looks at it.
        hidden: ``[B, L, D]`` final hidden states, for a policy that looks at them.
        speed: The wanted speed, for a policy that is told one: a number for all rows, or ``[B]``
            float. It goes before the speed of a :class:`~lit_unmask.policies.Paced` policy.

    Raises:
        ValueError: If ``on_empty`` is another word, or there are rollout numbers without a seed.
    """

    greedy: bool = False
    on_empty: Literal["force", "wait"] = "force"
    seed: int | None = None
    rollout: Tensor | None = None
    entropy: Tensor | None = None
    hidden: Tensor | None = None
    speed: float | Tensor | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        if self.on_empty not in ("force", "wait"):
            raise ValueError(f"on_empty={self.on_empty!r} must be 'force' or 'wait'")
        if self.rollout is not None and self.seed is None:
            raise ValueError("rollout numbers are there and seed=None; the draws need both")

    def take(self, distribution: UnmaskDistribution, step: Tensor) -> Tensor:
        """Decide on an action.

        Args:
            distribution: Over the actions of **B** rows.
            step: ``[B]`` int64, steps that each row has taken so far.

        Returns:
            ``[B, L]`` bool, within what is eligible.
        """
        if self.greedy:
            action = distribution.mode()
        else:
            action = distribution.sample(self._noise(distribution.eligible, step))
        chosen = distribution.positions(action)
        return distribution.forced(chosen) if self.on_empty == "force" else chosen

    def _noise(self, eligible: Tensor, step: Tensor) -> Tensor:
        """Return uniform numbers ``[B, L]`` in ``[0, 1)``."""
        if self.seed is None:
            return torch.rand(eligible.shape, device=eligible.device)
        rollout = torch.arange(len(step)) if self.rollout is None else self.rollout
        return uniform(self.seed, rollout.to(step), step, eligible.shape[1], ACTION)


def observe(said: Choice, confidence: Tensor, masked: Tensor, eligible: Tensor) -> Observation:
    """Return the observation of plain tensors at the start of the decoding.

    Args:
        said: Holds further signals.
        confidence: ``[B, L]`` or ``[B, L, K]`` float, largest token probabilities, descending.
        masked: ``[B, L]`` bool.
        eligible: ``[B, L]`` bool.

    Raises:
        ValueError: If a shape or a type does not fit.
    """
    for name, value in {"masked": masked, "eligible": eligible}.items():
        if value.ndim != 2 or value.dtype != torch.bool or value.shape != masked.shape:
            raise ValueError(
                f"{name} {tuple(value.shape)} {value.dtype} must be a [B, L] bool tensor, the "
                "same shape for masked and eligible"
            )
    if confidence.ndim == 2:
        confidence = confidence[..., None]
    shaped = {"confidence": confidence, "entropy": said.entropy, "hidden": said.hidden}
    for name, signal in shaped.items():
        if signal is not None and signal.shape[:2] != masked.shape:
            raise ValueError(
                f"{name} {tuple(signal.shape)} must begin with the shape {tuple(masked.shape)} of "
                "masked; leave the prompt's positions out"
            )
    return Observation(
        masked=masked,
        eligible=eligible & masked,
        confidence=confidence.float(),
        time=torch.zeros(len(masked), device=masked.device),
        entropy=None if said.entropy is None else said.entropy.float(),
        hidden=said.hidden,
        speed=None if said.speed is None else _speeds(said.speed, masked),
    )


def _speeds(speed: float | Tensor, like: Tensor) -> Tensor:
    """Return the wanted speed of each row, ``[B]`` float32 on the device of ``like``."""
    speeds = torch.as_tensor(speed, dtype=torch.float32, device=like.device)
    if speeds.shape not in ((), (len(like),)) or bool((speeds < 0).any()):
        raise ValueError(f"speed={speed} must be one number, or [B] of them, B={len(like)}, from 0")
    return speeds.expand(len(like))


def check_signals(name: str, needed: Signals, observation: Observation) -> None:
    """Check that an observation holds what a policy wants to know.

    Args:
        name: What to call the policy.
        needed: What it wants to know.
        observation: What it will see.

    Raises:
        ValueError: If something is missing; says how to get it.
    """
    kept = observation.confidence.shape[-1]
    if kept < needed.top_k:
        raise ValueError(
            f"{name} looks at the {needed.top_k} largest probabilities of a position and "
            f"confidence holds {kept}; pass probabilities.topk({needed.top_k}).values"
        )
    for signal in ("entropy", "hidden", "speed"):
        if getattr(needed, signal) and getattr(observation, signal) is None:
            raise ValueError(f"{name} looks at {signal}; pass Choice({signal}=...)")


def steps_taken(step: int | Tensor, length: int, like: Tensor) -> Tensor:
    """Return the steps that each row has taken, ``[B]`` int64 on the device of ``like``.

    Args:
        step: One number for all rows, or ``[B]`` int.
        length: Generation length **L**.
        like: ``[B, L]``.

    Raises:
        ValueError: If the length is another one, or a step lies outside ``[0, L]``.
    """
    rows, columns = like.shape
    if length != columns:
        raise ValueError(
            f"length={length}, but the tensors have {columns} positions; both must be the "
            "generation length, without the prompt"
        )
    steps = torch.as_tensor(step, device=like.device)
    if steps.dtype.is_floating_point or steps.shape not in ((), (rows,)):
        raise ValueError(
            f"step {tuple(steps.shape)} {steps.dtype} must be an int or a [B] int tensor, B={rows}"
        )
    if bool(((steps < 0) | (steps > length)).any()):
        raise ValueError(
            f"step={step} must lie in [0, length={length}]; it counts the steps that a row has "
            "taken so far"
        )
    return steps.to(torch.int64).expand(rows)
