"""DataModules with the problem sets that papers report."""

from __future__ import annotations

from typing import Any

from lit_unmask.tasks.datamodule import Sets, TaskDataModule
from lit_unmask.tasks.kodcode import KodCode
from lit_unmask.tasks.mathematics import GSM8K, MATH, MATH500
from lit_unmask.tasks.mixture import Mixture
from lit_unmask.tasks.programs import MBPP, HumanEval
from lit_unmask.verifiers.programs import ProgramVerifier

# Problems of a set that guides training or tunes heuristics: enough for the first digit.
_GUIDES = 96


class MathDataModule(TaskDataModule):
    """Mathematics: trains on GSM8K and MATH, reports on GSM8K's test split and MATH-500.

    Sets that are given replace those; ``{}`` stands for none. Proofs of equality are slow, so let
    workers grade:

    ```yaml
    model:
      grader: lit_unmask.evaluation.grading.WorkerPool
    data:
      class_path: lit_unmask.tasks.MathDataModule
      init_args: {batch_size: 16, max_prompt_tokens: 512}
    ```
    """

    def standard_sets(self) -> Sets:
        """Return the sets of arXiv 2512.09106; small ones to validate and to tune on."""
        return Sets(
            train=Mixture({"gsm8k": GSM8K("train"), "math": MATH("train")}),
            val={
                "gsm8k": GSM8K("validation", size=_GUIDES),
                "math500": MATH("validation", size=_GUIDES),
            },
            tuning={
                "gsm8k": GSM8K("tuning", size=_GUIDES),
                "math500": MATH("tuning", size=_GUIDES),
            },
            test={"gsm8k": GSM8K("test"), "math500": MATH500()},
        )


class CodeDataModule(TaskDataModule):
    """Programs: trains on KodCode, reports on HumanEval and MBPP (three examples).

    Sets that are given replace those; ``{}`` stands for none. Programs are run to grade them, so
    let workers do it, as for :class:`MathDataModule`.

    Where programs run is one setting for all of those sets:
    ``--data.verifier.sandbox.limits.seconds=10``, or
    ``--data.verifier.sandbox=lit_unmask.verifiers.sandbox.Sandlock``.

    Args:
        verifier: Runs the programs of the usual sets; sets that are given have their own.
    """

    def __init__(
        self,
        *args: Any,
        verifier: ProgramVerifier = ProgramVerifier(),  # noqa: B008  (has no state)
        **kwargs: Any,
    ) -> None:
        self.verifier = verifier  # first, as the usual sets are made with it
        super().__init__(*args, **kwargs)

    def standard_sets(self) -> Sets:
        """Return the sets of arXiv 2512.09106; small ones to validate and to tune on."""
        verifier = self.verifier
        tuned = KodCode("tuning", size=_GUIDES, verifier=verifier)
        return Sets(
            train=KodCode("train", verifier=verifier),
            val={"kodcode": KodCode("validation", size=_GUIDES, verifier=verifier)},
            tuning={"humaneval": tuned, "mbpp": MBPP("tuning", verifier=verifier)},
            test={
                "humaneval": HumanEval(verifier=verifier),
                "mbpp": MBPP("test", verifier=verifier),
            },
        )
