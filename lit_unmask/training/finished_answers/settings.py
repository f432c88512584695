"""What is taught from finished answers, and to which policies."""

from __future__ import annotations

from dataclasses import dataclass

from lit_unmask.denoisers.face import Denoiser
from lit_unmask.errors import ConfigurationError
from lit_unmask.policies import Conditioned
from lit_unmask.policies.actions import Bernoulli
from lit_unmask.policies.base import Policy
from lit_unmask.policies.learned import behind_threshold
from lit_unmask.rollout import Decoding
from lit_unmask.training.experts import Expert, probe
from lit_unmask.training.schedule import Schedule, Stages, WarmupStableDecay
from lit_unmask.types import SPEED


@dataclass(frozen=True)
class FinishedAnswers:
    """The first rounds of a run label states by finished answers; no reward is needed.

    Attributes:
        expert: Finishes states, in blocks of its own: slow and right is what it takes.
        rounds: Rounds of teaching; those after them learn from rewards.
        oracle_rounds: Of these, the first, which label the states of the oracle's own schedule;
            the others label those that the policy visits.
        updates: Gradient updates a round, on all states so far.
        batch_size: States an update, for each rank.
        thresholds: Probabilities above which the policy commits in a round, in turn.
        caution: Weight of the positions that are not safe. With 4 the policy is more likely than
            not to commit from a probability of 0.8 on.
        rate: Learning rate of teaching, as a multiple of the optimizer's.
        schedule: Learning rate over the rounds of teaching.
        folder: Store of the labelled states, which
            :class:`~lit_unmask.training.demonstrations.ImitationData` reads too; None is a folder
            beside the run's log.

    Raises:
        ValueError: If a value is out of range.
    """

    expert: Expert
    rounds: int = 60
    oracle_rounds: int = 20
    updates: int = 15
    batch_size: int = 256
    thresholds: tuple[float, ...] = (0.6, 0.8, 0.7, 0.9)
    caution: float = 4.0
    rate: float = 10.0
    schedule: Schedule = WarmupStableDecay(warmup_rounds=2)  # noqa: RUF009  (frozen)
    folder: str | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.oracle_rounds <= self.rounds:
            raise ValueError(
                f"oracle_rounds={self.oracle_rounds} must lie in [1, rounds={self.rounds}]; the "
                "first states are the oracle's"
            )
        if min(self.updates, self.batch_size) < 1:
            raise ValueError(
                f"updates={self.updates} and batch_size={self.batch_size} must be at least 1"
            )
        if not self.thresholds or not all(0 < value < 1 for value in self.thresholds):
            raise ValueError(f"thresholds={self.thresholds} must be probabilities in (0, 1)")
        if not (self.caution > 0 and self.rate > 0):
            raise ValueError(
                f"caution={self.caution} and rate={self.rate} must be positive; 1 changes nothing"
            )

    def stages(self, then: Schedule) -> Stages:
        """Return the schedule of a run that goes on with another one."""
        return Stages(self.schedule, self.rounds, then, self.rate)

    def check(self, policy: Policy, decoding: Decoding, denoiser: Denoiser) -> None:
        """Check that a policy can be taught.

        Args:
            policy: The policy.
            decoding: How it decodes.
            denoiser: The frozen dLLM; it is not run.

        Raises:
            ConfigurationError: If it cannot, or the block lengths do not fit.
        """
        if SPEED in policy.signals or any(isinstance(p, Conditioned) for p in policy.modules()):
            raise ConfigurationError(
                f"model.teaching: policy {type(policy).__name__} is conditioned on a speed, and "
                "labels are the same at all of them; teach one that is not, and use "
                "lit_unmask.policies.Thresholded for its speed"
            )
        kind = type(probe(behind_threshold(policy), denoiser))
        if not issubclass(kind, Bernoulli):
            raise ConfigurationError(
                f"model.teaching: policy {type(policy).__name__} acts by {kind.__name__}, and a "
                "label is about one position; use a head that draws each for itself, such as "
                "lit_unmask.policies.BernoulliHead"
            )
        if decoding.temperature or decoding.on_empty != "force" or decoding.corrector is not None:
            raise ConfigurationError(
                f"model.teaching: decoding.temperature={decoding.temperature}, on_empty="
                f"{decoding.on_empty!r} and corrector={decoding.corrector} must be 0, 'force' and "
                "null; what is committed later must follow from the state"
            )
        if decoding.block_length % self.expert.block_length:
            raise ConfigurationError(
                f"model.teaching.expert.block_length={self.expert.block_length} must divide the "
                f"policy's decoding.block_length={decoding.block_length}"
            )
