"""Trajectories of an expert, recorded for others to imitate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lit_unmask.denoisers.face import Denoiser
from lit_unmask.evaluation.decode import attempt, encode_groups, records_of, rollout_numbers
from lit_unmask.evaluation.grading import Grader, Verdicts
from lit_unmask.policies.base import Policy
from lit_unmask.rollout import Decoding, Ledger, Listener, Noise
from lit_unmask.training.imitation import as_committed
from lit_unmask.types import Problem, Prompt, Signals, Steps


@dataclass(frozen=True)
class Demonstrated:
    """What an expert did on some problems, one rollout each.

    Attributes:
        problems: The problems.
        steps: All steps, with what was committed as ``chosen``.
        decisions: ``[B]`` int64, steps of each rollout.
        nfe: ``[B]`` int64, forwards of each rollout.
        correct: ``[B]`` float32 verdicts in ``[0, 1]``.
        completions: Decoded texts.
        ledger: What it cost.
    """

    problems: Sequence[Problem]
    steps: Steps
    decisions: Tensor
    nfe: Tensor
    correct: Tensor
    completions: list[str]
    ledger: Ledger

    @property
    def correct_steps(self) -> Steps:
        """The steps of trajectories to correct answers."""
        return self.steps.select(self.correct[self.steps.rollout] == 1)

    def records(self) -> list[dict[str, Any]]:
        """Return one record a problem: ``uid``, ``completion``, ``correct`` and ``nfe``."""
        return records_of(self.problems, self.completions, self.correct, self.nfe)


@dataclass(frozen=True)
class Demonstrator:
    """Somebody who shows how to decode.

    Attributes:
        denoiser: The frozen dLLM.
        policy: The expert.
        decoding: How it decodes, with its own block length.
        seed: Seed of the noise.
        grader: Where verifiers run.
        signals: What the steps shall hold beyond what the expert looks at.
        prompts: Encodes problems, with the speed that each is conditioned on; None is without.
    """

    denoiser: Denoiser
    policy: Policy
    decoding: Decoding
    seed: int
    grader: Grader
    signals: Signals = Signals()  # noqa: RUF009  (frozen)
    prompts: Callable[[Sequence[Problem]], Prompt] | None = None


@torch.no_grad()
def demonstrate(
    who: Demonstrator, problems: Sequence[Problem], listener: Listener | None = None
) -> Demonstrated:
    """Let an expert decode problems, and record what it saw and did.

    Args:
        who: The expert.
        problems: What to solve, once each; at least one.
        listener: Told about the progress of the rollouts.
    """
    verdicts = Verdicts(who.grader, who.denoiser, problems, listener)
    encode = who.prompts or (lambda some: encode_groups(who.denoiser, some, 1))
    noise = Noise(who.seed, rollout_numbers(problems).to(who.denoiser.device))
    result, correct = attempt(
        verdicts, who.policy, encode(problems), who.decoding, noise,
        record=True, signals=who.signals,
    )  # fmt: skip
    assert result.steps is not None
    return Demonstrated(
        problems=problems,
        steps=as_committed(result.steps),
        decisions=result.decisions,
        nfe=result.nfe,
        correct=correct,
        completions=verdicts.completions,
        ledger=result.ledger,
    )
