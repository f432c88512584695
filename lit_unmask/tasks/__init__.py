"""Tasks: problems with verifiers, and the DataModules that serve them.

Names that need Lightning or graders load on first use, so that the others stay light.
"""

from typing import TYPE_CHECKING

from lit_unmask import lazily
from lit_unmask.tasks.arithmetic import ShoppingSums, SolutionLanguage
from lit_unmask.tasks.base import ClosedTask, ProblemSet, Task
from lit_unmask.tasks.countdown import Countdown
from lit_unmask.tasks.functions import ShortFunctions
from lit_unmask.tasks.gym import ReasoningGym
from lit_unmask.tasks.mixture import Curriculum, Mixture
from lit_unmask.tasks.sudoku import Sudoku4x4

if TYPE_CHECKING:
    from lit_unmask.tasks.datamodule import TaskDataModule
    from lit_unmask.tasks.kodcode import KodCode
    from lit_unmask.tasks.mathematics import GSM8K, MATH, MATH500
    from lit_unmask.tasks.programs import MBPP, HumanEval
    from lit_unmask.tasks.standard import CodeDataModule, MathDataModule

_HOMES = {
    "CodeDataModule": "standard",
    "GSM8K": "mathematics",
    "HumanEval": "programs",
    "KodCode": "kodcode",
    "MATH": "mathematics",
    "MATH500": "mathematics",
    "MBPP": "programs",
    "MathDataModule": "standard",
    "TaskDataModule": "datamodule",
}

__all__ = [
    "GSM8K",
    "MATH",
    "MATH500",
    "MBPP",
    "ClosedTask",
    "CodeDataModule",
    "Countdown",
    "Curriculum",
    "HumanEval",
    "KodCode",
    "MathDataModule",
    "Mixture",
    "ProblemSet",
    "ReasoningGym",
    "ShoppingSums",
    "ShortFunctions",
    "SolutionLanguage",
    "Sudoku4x4",
    "Task",
    "TaskDataModule",
]


__getattr__ = lazily(__name__, _HOMES)
