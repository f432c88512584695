"""Policies whose rollouts others learn from: what they are, and what can go wrong with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from lit_unmask.denoisers.face import Denoiser
from lit_unmask.errors import ConfigurationError
from lit_unmask.policies.actions import UnmaskDistribution
from lit_unmask.policies.base import Policy
from lit_unmask.rollout import Decoding
from lit_unmask.types import SIGNALS, SPEED, Observation

# Enough to tell what kind of distribution a policy has.
_LENGTH = 4


@dataclass(frozen=True)
class Expert:
    """A policy whose rollouts join those of the policy that is trained.

    Expert steering of arXiv 2512.09106, for full diffusion: the expert shows answers that the
    policy does not find by itself. Its steps are scored under the mixture of the policy and point
    masses, over all masked positions, so that the policy learns blocks of its own accord.

    ```yaml
    model:
      experts:
        threshold:
          policy:
            class_path: lit_unmask.policies.ConfidenceThreshold
            init_args: {threshold: 0.9}
          block_length: 8
    ```

    Attributes:
        policy: A heuristic, or a trained policy (``class_path: lit_unmask.load_policy``); its
            actions are taken to be certain.
        block_length: Block length that the expert is held to; the policy is not.
        count: Rollouts of the expert in each group. More than one make sense if they differ: for
            a policy that draws, or at a positive token temperature.

    Raises:
        ValueError: If there is not at least one rollout, or no position in a block.
    """

    policy: Policy
    block_length: int
    count: int = 1

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count={self.count} must be at least 1, or leave the expert out")
        if self.block_length < 1:
            raise ValueError(f"block_length={self.block_length} of an expert must be at least 1")

    def decoding(self, policy: Decoding) -> Decoding:
        """Return how the expert decodes, given how the policy that is trained does."""
        return replace(policy, block_length=self.block_length)


def check_experts(
    experts: Mapping[str, Expert], policy: Policy, decoding: Decoding, denoiser: Denoiser
) -> None:
    """Check that a policy can learn from experts.

    Raises:
        ConfigurationError: If the policy cannot act as the experts do, or an expert cannot act.
    """
    if not experts:
        return
    if decoding.block_length < decoding.gen_length:
        raise ConfigurationError(
            f"decoding.block_length={decoding.block_length} keeps the policy from acting "
            "as model.experts do; steer by experts in full diffusion "
            f"(block_length={decoding.gen_length}), or leave them out"
        )
    check_imitator(policy, denoiser)
    for name, expert in experts.items():
        try:
            expert.decoding(decoding)
        except ValueError as error:
            raise ConfigurationError(f"model.experts.{name}: {error}") from error
        needed = expert.policy.signals
        if needed.top_k >= denoiser.vocab_size:
            raise ConfigurationError(
                f"model.experts.{name}: {type(expert.policy).__name__} looks at the "
                f"{needed.top_k} largest probabilities of a position, and the denoiser has only "
                f"{denoiser.vocab_size - 1} tokens to propose; choose another expert"
            )
        if SPEED in needed and SPEED not in policy.signals:
            raise ConfigurationError(
                f"model.experts.{name}: {type(expert.policy).__name__} is conditioned on a speed, "
                "and the policy that is trained is not; wrap the expert in "
                "lit_unmask.policies.Conditioned"
            )


def check_imitator(policy: Policy, denoiser: Denoiser) -> None:
    """Check that a policy has actions for whatever another one may do.

    Raises:
        ConfigurationError: If its distribution does not open any set of positions.
    """
    distribution = probe(policy, denoiser)
    if not distribution.opens_any_set:
        raise ConfigurationError(
            f"policy {type(policy).__name__} acts by {type(distribution).__name__}, which cannot "
            "open any set of positions as experts do; give it actions that can, such as Bernoulli"
        )


def probe(policy: Policy, denoiser: Denoiser) -> UnmaskDistribution:
    """Return the distribution of a policy's actions where there is nothing to see.

    Its class tells what kind of actions the policy has.

    Args:
        policy: Any policy.
        denoiser: Says how wide hidden states are; it is not run.
    """
    masked, signals = torch.ones(1, _LENGTH, dtype=torch.bool), policy.signals
    sizes = {"B": 1, "L": _LENGTH, "D": denoiser.width}
    observation = Observation(
        masked=masked,
        eligible=masked,
        confidence=torch.zeros(1, _LENGTH, signals.top_k),
        time=torch.zeros(1),
        signals={name: torch.ones(SIGNALS[name].shape(**sizes)) for name in signals.names},
    )
    device = next((weight.device for weight in policy.parameters()), torch.device("cpu"))
    with torch.no_grad():
        return policy(observation.to(device))
