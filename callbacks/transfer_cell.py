"""One condition of a transfer: denoiser, problems and lengths."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch

from lit_unmask.denoisers.face import Denoiser
from lit_unmask.errors import ConfigurationError
from lit_unmask.evaluation.evaluation_set import EvaluationSet
from lit_unmask.evaluation.grid import HeuristicGrid
from lit_unmask.rollout import Decoding
from lit_unmask.tasks.base import ProblemSet
from lit_unmask.training.module import LitUnmask
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


@contextmanager
def in_place_of(own: Denoiser, guest: Denoiser, device: torch.device) -> Iterator[None]:
    """Have another denoiser on a device for the time of a ``with``, and one's own on the CPU.

    Their places are changed back afterwards, also if something fails. Nothing moves where both are
    the same one or the device is the CPU, whose memory holds both in any case. A denoiser that a
    device map or ranks have in its place stays there, as it does under every ``to``.

    Args:
        own: The denoiser that is on the device.
        guest: The one to have there.
        device: The device.
    """
    if guest is own or device.type == "cpu":
        yield
        return
    own.to("cpu")
    try:
        guest.to(device)
        yield
    finally:
        guest.to("cpu")
        own.to(device)
