"""Tasks: problems with verifiers, and the DataModule that serves them."""

from lit_unmask.tasks.arithmetic import ShoppingSums, SolutionLanguage
from lit_unmask.tasks.base import Task
from lit_unmask.tasks.functions import ShortFunctions

__all__ = ["ShoppingSums", "ShortFunctions", "SolutionLanguage", "Task"]
