"""The speed that each group of training rollouts is conditioned on, and what it is worth.

One policy learns every trade between correctness and speed if it is conditioned on the one that is
asked for. All rollouts of a group share a speed, so that their advantages compare like with like.
"""

from lit_unmask.training.conditioning.alphas import AlphaList, AlphaRange
from lit_unmask.training.conditioning.base import (
    Condition,
    ConditionedRollouts,
    check_condition,
    check_conditioned,
)
from lit_unmask.training.conditioning.budget import Ascent, Budget
