"""Each position at a time that is drawn for it alone."""

from __future__ import annotations

from lit_unmask.policies.actions.bernoulli import Bernoulli
from lit_unmask.policies.base import Policy
from lit_unmask.policies.heuristics.top_k import check_count
from lit_unmask.types import Observation

# The logit of a position that is opened for sure, as in Bernoulli.
_SURE = 88.0


class Ancestral(Policy):
    """Open each eligible position by itself with probability ``1 / (steps that are left)``.

    So each is opened at a step that is uniform over all steps: the sampler that a masked diffusion
    model defines with a linear schedule, ``alg="origin"`` of Dream (arXiv 2508.15487). It counts
    the steps of the whole response and is meant for one block (full diffusion); after ``steps`` of
    them it opens all that is eligible. Steps may be empty: with ``decoding.on_empty: wait`` the
    distribution is exact, with ``force`` some step opens one position more.

    Args:
        steps: Number of steps, at least 1.

    Raises:
        ValueError: If there is no step.
    """

    def __init__(self, steps: int = 256) -> None:
        super().__init__()
        self.steps = check_count(steps, "steps")

    def forward(self, observation: Observation) -> Bernoulli:
        """Return independent draws, all alike."""
        eligible = observation.eligible
        taken = (observation.time * eligible.shape[1]).round()
        others = (self.steps - taken - 1).clamp(min=0)  # steps that are left beside this one
        logits = (-others.log()).clamp(max=_SURE)
        return Bernoulli(logits[:, None].expand(eligible.shape), eligible)
