"""One condition of a transfer: which denoiser, problems and lengths a policy is tested with."""

from __future__ import annotations

from dataclasses import dataclass, replace

from lit_unmask.denoisers.base import Denoiser
from lit_unmask.errors import ConfigurationError
from lit_unmask.evaluation_set import EvaluationSet
from lit_unmask.module import LitUnmask
from lit_unmask.rollout import Decoding
from lit_unmask.tasks.base import ProblemSet
from lit_unmask.tuning import HeuristicGrid
from lit_unmask.types import HIDDEN


@dataclass(frozen=True)
class Cell:
    """One condition under which the policy is tested.

    Attributes:
        test: Problems to report on.
        tuning: Other problems, on which the cell's heuristic is chosen.
        denoiser: The frozen dLLM; None means the module's.
        gen_length: Generation length in tokens; None means the module's.
        block_length: Block length of the policy; None means the module's, where full diffusion
            stays full diffusion at another length.
        grids: Heuristics of the cell by name; None means those of the callback.
    """

    test: ProblemSet
    tuning: ProblemSet
    denoiser: Denoiser | None = None
    gen_length: int | None = None
    block_length: int | None = None
    grids: dict[str, HeuristicGrid] | None = None

    def decoding(self, own: Decoding) -> Decoding:
        """Return how the policy is decoded, given how the module decodes."""
        length = self.gen_length or own.gen_length
        kept = length if own.block_length == own.gen_length else own.block_length
        return replace(own, gen_length=length, block_length=self.block_length or kept)

    def sets(self, name: str, module: LitUnmask) -> tuple[EvaluationSet, EvaluationSet]:
        """Return the tuning and test sets of the cell, under its name.

        Raises:
            ValueError: If denoiser, policy, problems and lengths do not fit together.
        """
        denoiser = self.denoiser or module.denoiser
        if HIDDEN in module.policy.signals and denoiser.width != module.denoiser.width:
            raise ConfigurationError(
                f"the policy reads hidden states of width {module.denoiser.width}, and those of "
                f"{denoiser.identity['path']!r} have {denoiser.width}; only a policy that sees "
                "confidences carries over"
            )
        sets = (
            EvaluationSet.of(name, "tuning", denoiser, self.tuning),
            EvaluationSet.of(name, "test", denoiser, self.test),
        )
        for problems in sets:
            problems.check(self.decoding(module.eval_decoding).gen_length)
        return sets
