"""Decode problems and grade the completions: what every reported number is made of."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lit_unmask.denoisers.face import Denoiser
from lit_unmask.errors import NotFinite
from lit_unmask.evaluation.grading import Grader, InProcess, Verdicts
from lit_unmask.policies.base import Policy
from lit_unmask.rollout import Decoding, Ledger, Listener, Noise, Rollout, rollout
from lit_unmask.types import Problem, Prompt


@dataclass(frozen=True)
class Evaluation:
    """Verdicts and costs of a list of problems, in their order.

    Attributes:
        correct: ``[B]`` float32 verdicts in ``[0, 1]``.
        nfe: ``[B]`` int64 denoiser forwards.
        tokens: ``[B]`` int64 tokens before the first end token.
        still_masked: ``[B]`` bool, responses that ended with masks.
        completions: Decoded texts.
        ledger: Row-forwards by kind.
        seconds: Wall time of decoding and grading.
        price: ``[B]`` int64 forwards by kind; their sum is ``nfe``.
        unfinished: Verdicts that are 0 because grading ran into a deadline or a memory limit.
    """

    correct: Tensor
    nfe: Tensor
    tokens: Tensor
    still_masked: Tensor
    completions: list[str]
    ledger: Ledger
    seconds: float
    price: Mapping[str, Tensor] = field(default_factory=dict)
    unfinished: int = 0

    @property
    def accuracy(self) -> float:
        """Mean verdict."""
        return float(self.correct.mean())

    @property
    def mean_nfe(self) -> float:
        """Mean denoiser forwards a problem."""
        return float(self.nfe.float().mean())

    @property
    def tokens_per_forward(self) -> float:
        """Tokens before the end token for each denoiser forward."""
        return float(self.tokens.sum() / self.nfe.sum())

    def records(self, problems: Sequence[Problem]) -> list[dict[str, Any]]:
        """Return one record a problem: ``uid``, ``completion``, ``correct`` and ``nfe``."""
        return records_of(problems, self.completions, self.correct, self.nfe)


def records_of(
    problems: Sequence[Problem], completions: Sequence[str], correct: Tensor, nfe: Tensor
) -> list[dict[str, Any]]:
    """Return what ``predict`` says of each problem, with verdicts and forwards ``[B]``."""
    rows = zip(problems, completions, correct.tolist(), nfe.tolist(), strict=True)
    return [
        {"uid": problem.uid, "completion": text, "correct": verdict, "nfe": forwards}
        for problem, text, verdict, forwards in rows
    ]


def rollout_numbers(problems: Sequence[Problem], group_size: int = 1) -> Tensor:
    """Return one number a rollout, ``[len(problems) * group_size]`` int64.

    The number follows from the problem's ``uid`` and the place within the group alone, so that the
    noise of a rollout is the same on every rank and in every batch.
    """
    first = [
        int.from_bytes(hashlib.blake2b(problem.uid.encode(), digest_size=7).digest(), "big")
        for problem in problems
    ]
    return (torch.tensor(first, dtype=torch.int64)[:, None] + torch.arange(group_size)).flatten()


def attempt(
    verdicts: Verdicts,
    policy: Policy,
    prompt: Prompt,
    decoding: Decoding,
    noise: Noise,
    **recording: Any,
) -> tuple[Rollout, Tensor]:
    """Roll out and grade: what evaluation, training, demonstrations and inspection have in common.

    Args:
        verdicts: Grades rows as they finish, those of ``prompt``.
        policy: Learned policy or heuristic.
        prompt: **B** prompts, on the denoiser's device.
        decoding: How they are decoded.
        noise: The noise of each row.
        recording: What :func:`~lit_unmask.rollout.rollout` shall record.

    Returns:
        The rollouts and their verdicts, ``[B]`` float32 on the same device.

    Raises:
        NotFinite: If the denoiser or the policy says NaN or infinity; names the problem.
    """
    try:
        result = rollout(
            verdicts.denoiser, policy, prompt, decoding, noise, listener=verdicts, **recording
        )
    except NotFinite as error:
        error.name([problem.uid for problem in verdicts.problems])
        raise
    return result, verdicts.wait().to(result.nfe.device)


def evaluate(
    denoiser: Denoiser,
    policy: Policy,
    problems: Sequence[Problem],
    decoding: Decoding,
    seed: int = 0,
    listener: Listener | None = None,
    grader: Grader = InProcess(),  # noqa: B008  (stateless)
) -> Evaluation:
    """Decode and grade problems.

    Args:
        denoiser: The frozen dLLM.
        policy: Learned policy or heuristic.
        problems: What to solve.
        decoding: Lengths, temperature, forcing and rows at a time.
        seed: Seed of the noise.
        listener: Told about the progress of the rollout.
        grader: Where verifiers run.

    Returns:
        Verdicts and costs in the order of ``problems``.
    """
    start = time.perf_counter()
    verdicts = Verdicts(grader, denoiser, problems, listener)
    noise = Noise(seed, rollout_numbers(problems).to(denoiser.device))
    prompt = denoiser.encode(problems).to(denoiser.device)
    result, correct = attempt(verdicts, policy, prompt, decoding, noise)
    return Evaluation(
        correct=correct.cpu(),
        nfe=result.nfe.cpu(),
        tokens=content_tokens(denoiser, result.response).cpu(),
        still_masked=result.still_masked.cpu(),
        completions=verdicts.completions,
        ledger=result.ledger,
        seconds=time.perf_counter() - start,
        price={kind: price.cpu() for kind, price in result.price.items()},
        unfinished=verdicts.unfinished,
    )


def content_tokens(denoiser: Denoiser, response: Tensor) -> Tensor:
    """Return ``[B]`` int64, tokens before the first end token of each response ``[B, L]``."""
    ends = torch.isin(response, torch.tensor(sorted(denoiser.end_ids), device=response.device))
    return (ends.cumsum(1) == 0).sum(1)


def encode_groups(denoiser: Denoiser, problems: Sequence[Problem], group_size: int) -> Prompt:
    """Return the prompts of ``group_size`` rollouts a problem, groups side by side."""
    return denoiser.encode(problems).repeat(group_size).to(denoiser.device)
