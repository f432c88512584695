"""Tasks: problems with verifiers, and the DataModule that serves them."""

from lit_unmask.tasks.arithmetic import ShoppingSums, SolutionLanguage
from lit_unmask.tasks.base import ClosedTask, ProblemSet, Task
from lit_unmask.tasks.curriculum import Curriculum
from lit_unmask.tasks.functions import ShortFunctions

__all__ = [
    "ClosedTask",
    "Curriculum",
    "ProblemSet",
    "ShoppingSums",
    "ShortFunctions",
    "SolutionLanguage",
    "Task",
]
