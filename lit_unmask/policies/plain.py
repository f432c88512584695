"""A policy as a plain module of torch: tensors in, positions out."""

from __future__ import annotations

from torch import Tensor, nn

from lit_unmask.policies.base import Policy
from lit_unmask.types import Observation


class Plain(nn.Module):
    """The decision of a policy as one function of tensors, without any check of their values.

    So ``torch.export`` and ``torch.compile`` take it whole, for engines that know nothing of this
    package; :meth:`Policy.select` is for loops in Python and says what is wrong.

    Args:
        policy: One that looks at probabilities, masks and time alone.

    Raises:
        ValueError: If it looks at more.
    """

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        if policy.signals.names:
            raise ValueError(
                f"policy {type(policy).__name__} looks at {', '.join(sorted(policy.signals.names))}"
                " beside probabilities, masks and time; call its select with Choice(signals=...)"
            )
        self.policy = policy

    def forward(
        self,
        confidence: Tensor,
        masked: Tensor,
        eligible: Tensor,
        time: Tensor,
        uniform: Tensor | None = None,
    ) -> Tensor:
        """Return the positions to commit.

        Args:
            confidence: ``[B, L, K]`` float32, largest token probabilities, descending.
            masked: ``[B, L]`` bool.
            eligible: ``[B, L]`` bool, masked positions of the current block.
            time: ``[B]`` float32, steps taken divided by **L**.
            uniform: ``[B, L]`` float32 in ``[0, 1)`` to draw with; None takes a most probable
                action.

        Returns:
            ``[B, L]`` bool, empty only in rows where nothing is eligible.
        """
        distribution = self.policy(Observation(masked, eligible, confidence, time))
        action = distribution.mode() if uniform is None else distribution.sample(uniform)
        return distribution.forced(distribution.positions(action))
