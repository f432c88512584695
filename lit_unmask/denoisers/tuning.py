"""Which weights of a denoiser are trained together with a policy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization


class Tuning(ABC):
    """A choice of weights, or weights that are added."""

    @abstractmethod
    def weights(self, network: nn.Module) -> dict[str, nn.Parameter]:
        """Return the weights that are trained, by name; they are made trainable, or made.

        Args:
            network: Of a frozen denoiser; changed in place, and not in what it says.

        Raises:
            ValueError: If the network has none that can be trained.
        """


@dataclass(frozen=True)
class AllWeights(Tuning):
    """All weights of a small denoiser."""

    def weights(self, network: nn.Module) -> dict[str, nn.Parameter]:
        """Return all weights."""
        named = dict(network.named_parameters())
        narrow = {w.dtype for w in named.values()} - {torch.float32, torch.float64}
        if narrow:
            raise ValueError(
                f"weights of {narrow.pop()} are too coarse for small steps; load the denoiser in "
                "float32, or train_denoiser=LowRank"
            )
        for weight in named.values():
            weight.requires_grad_(True)
        return named


@dataclass(frozen=True)
class LowRank(Tuning):
    """A product of two thin matrices on top of each linear layer but the vocabulary head.

    ``W + alpha / rank * up @ down`` with ``up`` zero at the start (LoRA, arXiv 2106.09685, section
    4.1). The products are float32 and no part of the checkpoint's files.

    Attributes:
        rank: Inner size of the product, at least 1.
        alpha: Weight of the product times ``rank``, positive.

    Raises:
        ValueError: If one of them is too small.
    """

    rank: int = 8
    alpha: float = 16.0

    def __post_init__(self) -> None:
        """Check the values."""
        if self.rank < 1 or not self.alpha > 0:
            raise ValueError(f"rank={self.rank} must be at least 1 and alpha={self.alpha} positive")

    def weights(self, network: nn.Module) -> dict[str, nn.Parameter]:
        """Return the halves of the products."""
        layers = {
            name: layer
            for name, layer in network.named_modules()
            if isinstance(layer, nn.Linear) and name.split(".")[-1] != "lm_head"
        }
        if not layers:
            raise ValueError(
                f"{type(network).__name__} has no linear layers; use train_denoiser=AllWeights"
            )
        named: dict[str, nn.Parameter] = {}
        for name, layer in layers.items():
            product = _Product(layer.weight, self.rank, self.alpha / self.rank)
            register_parametrization(layer, "weight", product)
            named |= {f"{name}.{half}": weight for half, weight in product.named_parameters()}
        return named


class _Product(nn.Module):
    """Adds a product of two thin matrices to a weight, ``[out, in]``."""

    def __init__(self, weight: Tensor, rank: int, scale: float) -> None:
        super().__init__()
        rows, columns = weight.shape
        wide = weight.dtype if weight.dtype == torch.float64 else torch.float32
        down = torch.randn(rank, columns, dtype=wide, device=weight.device) / columns**0.5
        self.up, self.down = nn.Parameter(down.new_zeros(rows, rank)), nn.Parameter(down)
        self.scale = scale

    def forward(self, weight: Tensor) -> Tensor:
        """Return the sum."""
        return weight + (self.scale * self.up @ self.down).to(weight.dtype)
