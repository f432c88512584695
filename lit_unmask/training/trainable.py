"""Checks of what is to be trained, before any work."""

from __future__ import annotations

from lit_unmask.errors import ConfigurationError
from lit_unmask.policies.base import Policy
from lit_unmask.training.collection import Collector
from lit_unmask.training.experts import probe


def check_trainable(
    collector: Collector, reference: Policy | None, accumulate_grad_batches: int
) -> None:
    """Check that a policy can be trained with its settings.

    Args:
        collector: What would play the rounds.
        reference: Policy near which the trained one is to be kept.
        accumulate_grad_batches: Setting of the trainer.

    Raises:
        ConfigurationError: If there is nothing to train, or settings exclude each other.
    """
    policy, rounds = collector.policy, collector.rounds
    if not policy.has_parameters:
        raise ConfigurationError(
            f"policy {type(policy).__name__} has no parameters to train; "
            "use `lit-unmask validate`, or give fit a LearnedPolicy"
        )
    if accumulate_grad_batches > 1 and rounds.num_iterations > 1:
        raise ConfigurationError(
            f"trainer.accumulate_grad_batches={accumulate_grad_batches} and "
            f"rounds.num_iterations={rounds.num_iterations} exclude each other; raise "
            "data.batch_size instead of accumulating"
        )
    if reference is not None:
        _check_reference(collector, reference)
    collector.check()


def _check_reference(collector: Collector, reference: Policy) -> None:
    """Check that actions of the policy have a likelihood under the reference."""
    if not collector.rounds.kl_weight:
        raise ConfigurationError(
            "model.reference is there and rounds.kl_weight=0 does not look at it; set a weight, or "
            "leave the reference out"
        )
    own, other = (type(probe(p, collector.denoiser)) for p in (collector.policy, reference))
    if own is not other:
        raise ConfigurationError(
            f"model.reference acts by {other.__name__} and the policy by {own.__name__}; the "
            "divergence needs a reference with the same kind of actions"
        )
