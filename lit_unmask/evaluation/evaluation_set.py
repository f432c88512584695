"""Problems that policies are compared on, and what names a run on them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Self

from lit_unmask.denoisers.face import Denoiser
from lit_unmask.errors import ConfigurationError
from lit_unmask.evaluation.fingerprints import (
    decoding_fields,
    denoiser_name,
    plain_settings,
    policy_hash,
    problems_hash,
    verifier_limits,
)
from lit_unmask.evaluation.grid import Setting
from lit_unmask.evaluation.runs import Run
from lit_unmask.types import Problem


@dataclass(frozen=True)
class EvaluationSet:
    """Problems that policies are compared on, each once, and the denoiser that solves them.

    Attributes:
        dataset: Name of the set.
        stage: Whether the set chooses settings or is reported on.
        denoiser: The frozen dLLM.
        problems: The problems by uid, in order.
    """

    dataset: str
    stage: Literal["tuning", "test"]
    denoiser: Denoiser
    problems: dict[str, Problem]

    @classmethod
    def of(
        cls,
        dataset: str,
        stage: Literal["tuning", "test"],
        denoiser: Denoiser,
        problems: Sequence[Problem],
    ) -> Self:
        """Make a set of a task's problems; one that was drawn twice counts once.

        Raises:
            ConfigurationError: If two different problems have the same uid.
        """
        by_uid: dict[str, Problem] = {}
        for problem in problems:
            known = by_uid.setdefault(problem.uid, problem)
            if (known.messages, known.answer) != (problem.messages, problem.answer):
                raise ConfigurationError(
                    f"{dataset}: two different problems have the uid {problem.uid!r}; a uid must "
                    "name one problem"
                )
        return cls(dataset, stage, denoiser, by_uid)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the problems as the denoiser sees them."""
        return problems_hash(self.denoiser, list(self.problems.values()))

    @cached_property
    def solver(self) -> str:
        """Name of the denoiser and its weights, which must be loaded."""
        return denoiser_name(self.denoiser)

    def identify(self) -> None:
        """Hash problems and weights now, before these move; on all ranks, if they share them."""
        _ = self.fingerprint, self.solver

    def check(self, gen_length: int) -> None:
        """Check that the denoiser can read the prompts and has room for the responses.

        Raises:
            ConfigurationError: If a prompt has words that the tokenizer does not know, or prompt
                and response are longer than the denoiser.
        """
        prompt = self.denoiser.encode(list(self.problems.values()))
        try:
            self.denoiser.check_length(prompt, gen_length)
        except ValueError as error:
            raise ConfigurationError(f"{self.dataset}, {self.stage}: {error}") from error
        unknown = self.denoiser.tokenizer.unk_token_id
        if unknown is None:
            return
        rows = ((prompt.tokens == unknown) & prompt.attention).any(1)
        strange = list(itertools.compress(self.problems, rows.tolist()))
        if strange:
            raise ConfigurationError(
                f"{self.dataset}, {self.stage}: {strange[0]!r} has words that the denoiser "
                f"{self.denoiser.identity['path']!r} does not know; use one that was trained on "
                "the task"
            )

    def run(self, setting: Setting, seed: int) -> Run:
        """Return the description of a run of a setting on the set."""
        policy, decoding = setting.policy, setting.decoding
        learned = setting.kind == "learned"
        return Run(
            dataset=self.dataset,
            stage=self.stage,
            problems=self.fingerprint,
            num_problems=len(self.problems),
            denoiser=self.solver,
            name=setting.name,
            kind=setting.kind,
            policy=type(policy).__name__,
            params=setting.params if learned else setting.params | plain_settings(policy),
            # What a heuristic does follows from its settings, unless it has tables in buffers or
            # holds another policy.
            weights=policy_hash(policy) if policy.state_dict() or [*policy.children()] else "",
            **decoding_fields(decoding),
            seed=seed,
            limits=verifier_limits(list(self.problems.values())),
        )
