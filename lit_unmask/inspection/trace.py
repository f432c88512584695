"""Recorded rollouts beside what the policy made of each step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lit_unmask.denoisers.face import Denoiser
from lit_unmask.evaluation.decode import rollout_numbers
from lit_unmask.policies.base import Policy
from lit_unmask.rollout import Decoding, Noise, Rollout, rollout
from lit_unmask.types import Problem

Floats = NDArray[np.floating]
Ints = NDArray[np.integer]
Bools = NDArray[np.bool_]

_REPLAY_CHUNK = 512  # steps


@dataclass(frozen=True)
class Trace:
    """Recorded rollouts of one policy, one a problem, and its probabilities at each step.

    Attributes:
        rollout: ``[N]`` which of the **B** rollouts took the step.
        index: ``[N]`` number of the step within its rollout, from 0.
        masked: ``[N, L]`` bool.
        eligible: ``[N, L]`` bool.
        confidence: ``[N, L]`` largest token probability.
        probability: ``[N, L]`` marginal probability that the policy opens the position.
        committed: ``[N, L]`` bool, what was committed, by the policy or by force.
        forced: ``[N, L]`` bool, committed although the policy had not chosen it.
        committed_at: ``[B, L]`` step at which a position was committed, or -1.
        decisions: ``[B]`` steps of each rollout, at least 1.
        nfe: ``[B]`` forwards of each rollout.
        end: ``[B, L]`` bool, whether the final token is an end token.
    """

    rollout: Ints
    index: Ints
    masked: Bools
    eligible: Bools
    confidence: Floats
    probability: Floats
    committed: Bools
    forced: Bools
    committed_at: Ints
    decisions: Ints
    nfe: Ints
    end: Bools

    @classmethod
    @torch.no_grad()
    def of(cls, policy: Policy, result: Rollout, end_ids: Sequence[int]) -> Trace:
        """Ask the policy again about every recorded step.

        Raises:
            ValueError: If the rollouts were not recorded.
        """
        if result.steps is None:
            raise ValueError("the rollouts have no steps; call rollout with record=True")
        steps = result.steps
        rows = torch.arange(len(steps), device=steps.rollout.device).split(_REPLAY_CHUNK)
        replayed = [policy(steps.select(part).observation).probability() for part in rows]
        ends = torch.tensor(sorted(end_ids), device=result.response.device)
        values = {
            "rollout": steps.rollout,
            "index": steps.index,
            "eligible": steps.observation.eligible,
            "confidence": steps.observation.confidence[..., 0],
            "probability": torch.cat(replayed),
            "masked": steps.observation.masked,
            "committed": steps.committed,
            "forced": steps.committed & ~steps.chosen,
            "committed_at": result.committed_at,
            "decisions": result.decisions,
            "nfe": result.nfe,
            "end": torch.isin(result.response, ends),
        }
        return cls(**{name: value.cpu().numpy() for name, value in values.items()})

    @property
    def order(self) -> Floats:
        """``[B, L]`` share of the steps over once a position is committed; NaN if never."""
        share = (self.committed_at + 1) / self.decisions[:, None]
        return np.where(self.committed_at >= 0, share, np.nan)

    @property
    def time(self) -> Floats:
        """``[N]`` the middle of each step in relative time, in ``(0, 1)``."""
        return (self.index + 0.5) / self.decisions[self.rollout]

    @property
    def content(self) -> Bools:
        """``[B, L]`` positions before the first end token of the response."""
        return self.end.cumsum(1) == 0

    @property
    def tail(self) -> Bools:
        """``[B, L]`` positions behind the first end token of the response."""
        return self.end.cumsum(1) - self.end > 0

    def by_step(self, counted: Bools) -> Floats:
        """Count positions ``[N, L]`` for each rollout and step.

        Returns:
            ``[B, T]`` with ``T`` the most steps; NaN at steps that a rollout did not take.
        """
        counts = np.full((len(self.decisions), self.decisions.max()), np.nan)
        counts[self.rollout, self.index] = counted.sum(1)
        return counts


def record(
    denoiser: Denoiser,
    policy: Policy,
    problems: Sequence[Problem],
    decoding: Decoding,
    seed: int = 0,
) -> Trace:
    """Decode problems as an evaluation does, with a record of every step.

    Args:
        denoiser: The frozen dLLM.
        policy: Learned policy or heuristic.
        problems: One rollout each, with the noise that an evaluation with ``seed`` gives them.
        decoding: Lengths, temperature and forcing.
        seed: Seed of the noise.
    """
    prompt = denoiser.encode(problems).to(denoiser.device)
    noise = Noise(seed, rollout_numbers(problems).to(denoiser.device))
    result = rollout(denoiser, policy, prompt, decoding, noise, record=True)
    return Trace.of(policy, result, denoiser.end_ids)
