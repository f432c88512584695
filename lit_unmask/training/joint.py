"""A policy and the denoiser under it, trained together.

A step then is where something was committed and what. Its log-probability is the policy's plus
those of the tokens that were committed, drawn from the denoiser at the decoding's temperature:
``log pi(action | reading) + sum log p(token | buffer)``. Tokens that were drawn and not committed
are seen by nobody, so that the sum is exact. Source: dUltra, arXiv 2512.21446, whose release scores
tokens at temperature 1 that were drawn at 0.1, and forced positions as if they had been drawn.

The denoiser moves between updates and not within a round of rollouts. So what rollouts save
(skipping, sharing) stays exact, and each update asks for new readings of the recorded buffers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn

from lit_unmask.denoisers.face import Denoiser
from lit_unmask.denoisers.loading.placement import Placement
from lit_unmask.denoisers.network import NetworkDenoiser
from lit_unmask.denoisers.tuning import Tuning
from lit_unmask.errors import ConfigurationError
from lit_unmask.evaluation.fingerprints import denoiser_name
from lit_unmask.policies.actions import UnmaskDistribution
from lit_unmask.policies.base import Policy
from lit_unmask.policies.learned import behind_threshold
from lit_unmask.rollout import Approximate
from lit_unmask.types import HIDDEN, SIGNALS, Observation, Prompt, Steps

if TYPE_CHECKING:
    from lit_unmask.training.module import LitUnmask

ENTRY = "trained_denoiser"
"""Entry of a checkpoint."""


@dataclass(frozen=True, kw_only=True)
class Buffers(Observation):
    """What both saw at a step, and the tokens that it committed.

    Attributes:
        prompt: **N** prompts.
        response: ``[N, L]`` int64, buffers before the step.
        tokens: ``[N, L]`` int64, tokens of the finished response.
        committed: ``[N, L]`` bool, those that were committed at the step.
    """

    prompt: Prompt
    response: Tensor
    tokens: Tensor
    committed: Tensor


@dataclass(frozen=True)
class WhereAndWhat:
    """Distribution over where something is committed, and the likelihood of what was.

    Attributes:
        where: The policy's, over actions.
        what: ``[N]`` float32, log-probability of the tokens that were committed.
    """

    where: UnmaskDistribution
    what: Tensor

    def log_prob(self, action: Tensor) -> Tensor:
        """Return the log-probability of an action and its tokens, ``[N]`` in nats."""
        return self.where.log_prob(action) + self.what

    def entropy(self) -> Tensor:
        """Return the entropy of the action alone, ``[N]`` in nats."""
        return self.where.entropy()


class Joint:
    """A denoiser whose weights are trained with a policy.

    Args:
        denoiser: It is changed in place.
        tuning: Which of its weights are trained.
        temperature: Of the tokens in rollouts, positive.

    Attributes:
        base: What the denoiser is without the training.
        weights: What is trained, by name.

    Raises:
        ConfigurationError: If the denoiser cannot be trained.
    """

    def __init__(self, denoiser: Denoiser, tuning: Tuning, temperature: float) -> None:
        placed = isinstance(denoiser, NetworkDenoiser) and denoiser.placement != Placement()
        if not isinstance(denoiser, NetworkDenoiser) or (
            placed or denoiser.compilation or denoiser.shards
        ):
            raise ConfigurationError(
                f"model.train_denoiser={tuning} needs a denoiser of one network on one device, and "
                f"{type(denoiser).__name__} is wrapped, placed, compiled or spread over ranks; "
                "leave that out"
            )
        self.denoiser, self.temperature = denoiser, temperature
        self.base = denoiser_name(denoiser)
        try:
            self.weights: dict[str, nn.Parameter] = tuning.weights(denoiser.network)
        except ValueError as error:
            raise ConfigurationError(f"model.train_denoiser: {error}") from error

    @classmethod
    def of(cls, module: LitUnmask) -> Self | None:
        """Return what a module trains beside its policy, if it does."""
        if module.train_denoiser is None:
            return None
        if module.trainer.world_size > 1:
            raise ConfigurationError(
                f"model.train_denoiser={module.train_denoiser} trains on one device, and the "
                f"trainer has {module.trainer.world_size}; set trainer.devices=1"
            )
        return cls(module.denoiser, module.train_denoiser, module.decoding.temperature)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return itself: the denoiser is not copied with a module either."""
        return self

    def acting(self, policy: Policy) -> Callable[[Buffers], WhereAndWhat]:
        """Return what replays steps with new readings; the gradient reaches both."""

        def act(seen: Buffers) -> WhereAndWhat:
            states = self.denoiser.states(seen.prompt, seen.response)
            logits = self.denoiser.head(states)
            largest = logits.log_softmax(-1).topk(seen.confidence.shape[-1]).values
            signals = {**seen.signals, HIDDEN.name: states}
            now = Observation(seen.masked, seen.eligible, largest.exp(), seen.time, signals)
            return WhereAndWhat(policy(now.within(policy.signals)), self._what(logits, seen))

        return act

    def _what(self, logits: Tensor, seen: Buffers) -> Tensor:
        """Return the log-probability of the tokens that were committed, ``[N]`` float32."""
        drawn = (logits[seen.committed] / self.temperature).log_softmax(-1)
        each = drawn.gather(1, seen.tokens[seen.committed][:, None])[:, 0]
        row = seen.committed.nonzero()[:, 0]
        return each.new_zeros(len(seen.tokens)).index_add(0, row, each)

    @torch.no_grad()
    def recorded(self, steps: Steps, prompt: Prompt, response: Tensor, chunk: int) -> Steps:
        """Return the steps of rollouts as steps of both.

        Args:
            steps: What the policy did.
            prompt: **B** prompts.
            response: ``[B, L]`` int64, what came of them.
            chunk: Steps that are looked at together.
        """
        seen, final = steps.observation, response[steps.rollout]
        kept = {name: value for name, value in seen.signals.items() if name != HIDDEN.name}
        buffers = Buffers(
            **{**vars(seen), "signals": kept},
            prompt=replace(prompt.select(steps.rollout), speed=None),
            response=final.masked_fill(seen.masked, self.denoiser.mask_id),
            tokens=final,
            committed=steps.committed,
        )
        rows = torch.arange(len(steps), device=final.device).split(chunk)
        parts = [buffers.select(part) for part in rows]
        what = [
            self._what(self.denoiser.head(self.denoiser.states(p.prompt, p.response)), p)
            for p in parts
        ]
        return replace(steps, observation=buffers, log_prob=steps.log_prob + torch.cat(what))

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint holds."""
        weights = {name: weight.detach().clone() for name, weight in self.weights.items()}
        return {"base": self.base, "weights": weights}

    @torch.no_grad()
    def load_state_dict(self, stored: Mapping[str, Any]) -> None:
        """Take over what a checkpoint holds.

        Raises:
            ConfigurationError: If it was trained on another denoiser, or is of other weights.
        """
        if stored["base"] != self.base:
            raise ConfigurationError(
                f"the checkpoint's policy was trained together with denoiser {stored['base']}, and "
                f"model.denoiser is {self.base}; use that one"
            )
        ours, theirs = (
            {name: tuple(value.shape) for name, value in each.items()}
            for each in (self.weights, stored["weights"])
        )
        if ours != theirs:
            raise ConfigurationError(
                f"the checkpoint holds {len(theirs)} trained weights of the denoiser and "
                f"model.train_denoiser has {len(ours)}, or of other sizes; use the setting of its "
                "run"
            )
        for name, weight in self.weights.items():
            weight.copy_(stored["weights"][name])


def take_over(checkpoint: Mapping[str, Any], module: LitUnmask, goes_on: bool) -> None:
    """Take over the weights of the denoiser that a checkpoint holds, or refuse it.

    Args:
        checkpoint: What Lightning is about to restore.
        module: The module; before its ``setup`` it is only checked.
        goes_on: Whether a run goes on with the checkpoint's optimizer.

    Raises:
        ConfigurationError: If one of them has trained weights of a denoiser and the other has not,
            or of another denoiser.
    """
    stored = checkpoint.get(ENTRY)
    if stored is not None and module.train_denoiser is None:
        raise ConfigurationError(
            "the checkpoint's policy was trained together with its denoiser, whose weights it "
            "holds, and model.train_denoiser is null; set it as in the run that wrote it"
        )
    if stored is None and module.train_denoiser is not None and goes_on:
        raise ConfigurationError(
            "the checkpoint is of a run with a frozen denoiser, and model.train_denoiser="
            f"{module.train_denoiser} trains it; begin anew from its weights with model.policy="
            "{class_path: lit_unmask.load_policy, init_args: {path: ...}}"
        )
    if stored is not None and module.joint is not None:
        module.joint.load_state_dict(stored)


def check_joint(module: LitUnmask) -> None:
    """Check that the settings of a run fit a denoiser that is trained.

    Raises:
        ConfigurationError: If one of them needs a frozen denoiser, or tokens that are not drawn.
    """
    if module.train_denoiser is None:
        return
    decoding, policy = module.decoding, behind_threshold(module.policy)
    read = {name for name in policy.signals.names if not SIGNALS[name].condition} - {HIDDEN.name}
    frozen = {
        "model.experts": bool(module.experts),
        "model.teaching": module.teaching is not None,
        "decoding.approximate": decoding.approximate != Approximate(),
        "decoding.corrector": decoding.corrector is not None,
        "a policy that takes tokens back": policy.takes_back,
        f"a policy that looks at {', '.join(sorted(read))}": bool(read),
    }
    for name in (name for name, there in frozen.items() if there):
        raise ConfigurationError(
            f"{name} needs a frozen denoiser, and model.train_denoiser={module.train_denoiser} "
            "trains it; leave one of them out"
        )
    if not decoding.temperature > 0:
        raise ConfigurationError(
            "decoding.temperature=0 draws no tokens, so that model.train_denoiser has no "
            "likelihoods to raise; set one above 0, such as 0.1"
        )
