"""Things that a module uses and does not own."""

from __future__ import annotations

from typing import Any, Generic, Self, TypeVar

T = TypeVar("T")


class Held(Generic[T]):
    """Holds something that is no part of the module that has it, and is shared by its copies.

    A network behind it is no submodule: it enters neither checkpoints nor DDP's parameter lists,
    and a deep copy of the module, such as an average of its weights is kept in, does not copy it.

    Args:
        value: What is held.
    """

    def __init__(self, value: T) -> None:
        self.value = value

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return itself."""
        return self
