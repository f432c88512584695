"""Tasks: problems with verifiers, and the DataModules that serve them.

Names that need Lightning or graders load on first use, so that the others stay light.
"""

from lit_unmask import lazily
from lit_unmask.tasks.arithmetic import ShoppingSums, SolutionLanguage
from lit_unmask.tasks.base import ClosedTask, ProblemSet, Task
from lit_unmask.tasks.countdown import Countdown
from lit_unmask.tasks.functions import ShortFunctions
from lit_unmask.tasks.gym import ReasoningGym
from lit_unmask.tasks.mixture import Mixture
from lit_unmask.tasks.sudoku import Sudoku4x4

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

__getattr__ = lazily(__name__, _HOMES)
