"""What rewrites committed tokens."""

from lit_unmask.rollout.correctors.base import Ask, Corrector, Edit, View

__all__ = ["Ask", "Corrector", "Edit", "View"]
