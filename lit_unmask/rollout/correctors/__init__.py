"""What rewrites committed tokens."""

from lit_unmask.rollout.correctors.base import Ask, Corrector, Edit, Placement, View
from lit_unmask.rollout.correctors.gidd import GIDD
from lit_unmask.rollout.correctors.proseco import BlockProSeCo, ProSeCo
from lit_unmask.rollout.correctors.remask import Remask
from lit_unmask.rollout.correctors.wino import WINO

__all__ = [
    "GIDD",
    "WINO",
    "Ask",
    "BlockProSeCo",
    "Corrector",
    "Edit",
    "Placement",
    "ProSeCo",
    "Remask",
    "View",
]
