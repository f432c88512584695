"""What a policy is given and asked for when somebody else's loop calls it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from lit_unmask.policies.actions import UnmaskDistribution
from lit_unmask.randomness import ACTION, uniform
from lit_unmask.types import SIGNALS, Observation, Signals


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
        signals: What the policy looks at beside confidences, by name, as in
            :data:`lit_unmask.types.SIGNALS`; a number stands for all rows. A ``speed`` goes
            before that of a :class:`~lit_unmask.policies.Conditioned` policy.

    Raises:
        ValueError: If ``on_empty`` is another word, there are rollout numbers without a seed, or
            there is no such signal.
    """

    greedy: bool = False
    on_empty: Literal["force", "wait"] = "force"
    seed: int | None = None
    rollout: Tensor | None = None
    signals: Mapping[str, Tensor | float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.on_empty not in ("force", "wait"):
            raise ValueError(f"on_empty={self.on_empty!r} must be 'force' or 'wait'")
        if self.rollout is not None and self.seed is None:
            raise ValueError("rollout numbers are there and seed=None; the draws need both")
        Signals(names=self.signals.keys())

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
    signals = {name: _shaped(name, value, masked) for name, value in said.signals.items()}
    return Observation(
        masked=masked,
        eligible=eligible & masked,
        confidence=_shaped("confidence", confidence, masked).float(),
        time=torch.zeros(len(masked), device=masked.device),
        signals=signals,
    )


def _shaped(name: str, value: float | Tensor, masked: Tensor) -> Tensor:
    """Return what is said of each row, or of each position, on the device of ``masked``."""
    value = torch.as_tensor(value, device=masked.device)
    if name in SIGNALS and SIGNALS[name].axes == "B":
        if value.shape not in ((), (len(masked),)) or bool((value < 0).any()):
            raise ValueError(
                f"{name}={value} must be one number, or [B] of them, B={len(masked)}, from 0"
            )
        return value.float().expand(len(masked))
    if value.shape[:2] != masked.shape:
        raise ValueError(
            f"{name} {tuple(value.shape)} must begin with the shape {tuple(masked.shape)} of "
            "masked; leave the prompt's positions out"
        )
    return value.float() if value.ndim == masked.ndim else value


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
    for signal in sorted(needed.names - observation.signals.keys()):
        raise ValueError(f"{name} looks at {signal}; pass Choice(signals={{{signal!r}: ...}})")


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
