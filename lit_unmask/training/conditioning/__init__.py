"""The speed that is wanted of each group of training rollouts, and what it is worth.

One policy learns every trade between correctness and speed if it is told which one is wanted. All
rollouts of a group are asked for the same speed, so that their advantages compare like with like.
"""

from lit_unmask.training.conditioning.alphas import AlphaList, AlphaRange
from lit_unmask.training.conditioning.base import Asked, Pace
from lit_unmask.training.conditioning.budget import Ascent, Budget
from lit_unmask.training.conditioning.checks import check_pace, check_told

__all__ = [
    "AlphaList",
    "AlphaRange",
    "Ascent",
    "Asked",
    "Budget",
    "Pace",
    "check_pace",
    "check_told",
]
