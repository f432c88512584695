"""Muon for matrices beside AdamW for everything else, as one optimizer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor
from torch.optim import AdamW, Muon, Optimizer


class MuonWithAdamW(Optimizer):
    """Muon for the weight matrices, then AdamW for all other parameters, a group each.

    A parameter is a weight matrix if it has two dimensions of at least ``smallest`` each: what maps
    few inputs to a width, or a width to one logit, is not. Muon makes every direction of a matrix
    move alike (orthogonal updates), so that small networks of attention learn in fewer updates.
    Source: Keller Jordan and others, "Muon: An optimizer for hidden layers", 2024; it is
    :class:`torch.optim.Muon`.

    Args:
        params: Parameters.
        lr: Learning rate of AdamW.
        matrix_lr: Learning rate of Muon.
        betas: Of AdamW.
        weight_decay: Decoupled weight decay of both.
        smallest: Rows and columns from which on a parameter is a weight matrix.

    Raises:
        ValueError: If there are no parameters, or a rate is out of range.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-3,
        matrix_lr: float = 4e-3,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.01,
        smallest: int = 16,
    ) -> None:
        everything: list[Any] = list(params)
        matrices = [p for p in everything if p.ndim == 2 and min(p.shape) >= smallest]
        taken = set(map(id, matrices))
        others = [p for p in everything if id(p) not in taken]
        parts: list[Optimizer] = []
        if matrices:
            parts.append(Muon(matrices, lr=matrix_lr, weight_decay=weight_decay))
        if others:
            parts.append(AdamW(others, lr=lr, betas=betas, weight_decay=weight_decay))
        self._parts = parts
        super().__init__([group for part in parts for group in part.param_groups], {})
        self._share()

    def _share(self) -> None:
        """Give the parts the groups and the state that schedulers, Lightning and files know."""
        for part, group in zip(self._parts, self.param_groups, strict=True):
            part.param_groups, part.state = [group], self.state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take a stored state, for the parts too."""
        super().__setstate__(state)
        self._share()

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update all parameters; returns what the closure returns."""
        loss = None if closure is None else closure()
        for part in self._parts:
            part.step()
        return loss
