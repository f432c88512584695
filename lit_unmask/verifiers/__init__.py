"""Verifiers for real tasks: mathematics and programs.

Nothing here imports torch or Lightning, so that grading workers start quickly.
"""

from lit_unmask.verifiers.mathematics import MathVerifier, grade_math
from lit_unmask.verifiers.programs import ProgramVerifier
from lit_unmask.verifiers.verdicts import Unfinished
