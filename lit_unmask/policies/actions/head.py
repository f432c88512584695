"""What all heads share: they make a distribution over actions of what a network says."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from lit_unmask.policies.actions.base import UnmaskDistribution
from lit_unmask.policies.networks.confidence import ConfidenceTransformer
from lit_unmask.types import Observation, Signals


@dataclass(frozen=True)
class Knobs:
    """Settings of a learned policy that may be turned after training.

    Attributes:
        temperature: Smaller is closer to the most probable action, positive.
        scale: Larger is faster, positive; 1 changes nothing.
    """

    temperature: float = 1.0
    scale: float = 1.0


class Head(nn.Module, ABC):
    """Makes the distribution over actions of what a network says.

    Attributes:
        never_empty: Whether every action opens something where anything is eligible.
        takes_back: Whether actions may take tokens back.
        corrects: Whether actions may ask for corrections.
        signals: What it needs of readings beside what the network needs.
    """

    never_empty: bool = False
    takes_back: bool = False
    corrects: bool = False
    signals: Signals = Signals()

    def __init__(self) -> None:
        super().__init__()

    def attach(self, network: nn.Module) -> None:
        """Get ready for a network, at the time that the policy is made.

        Raises:
            ValueError: If the network does not have what the head needs.
        """

    @abstractmethod
    def forward(
        self, network: nn.Module, observation: Observation, knobs: Knobs
    ) -> UnmaskDistribution:
        """Return the distribution on the eligible positions."""


def attached(head: Head, network: nn.Module, known: nn.Linear | None, initial: float) -> nn.Linear:
    """Return the map from a network's features and one number more to the logit of a draw.

    Args:
        head: Whose map it is.
        network: Whose features.
        known: The map that the head has already.
        initial: Probability at the start, with weights of zero.

    Raises:
        ValueError: If the network has no features, or the head has those of another one.
    """
    if not all(hasattr(network, name) for name in ("features", "logits", "width")):
        raise ValueError(
            f"{type(head).__name__} needs a network with features, logits and width, not "
            f"{type(network).__name__}; use one like ConfidenceTransformer"
        )
    width = cast(int, network.width)
    if known is None:
        known = nn.Linear(width + 1, 1)
        nn.init.zeros_(known.weight)
        nn.init.constant_(known.bias, float(torch.tensor(initial).logit()))
    elif known.in_features != width + 1:
        raise ValueError(
            f"the head was made for a network of width {known.in_features - 1}, not {width}; make "
            "another head"
        )
    return known


class RowHead(Head):
    """A head that decides on a few numbers for each row, from the mean of the features.

    The mean is over the eligible positions. Its linear map has weights of zero at the start, so
    that an untrained policy does the same in every row. The network's own logits have no part in
    it, and their projection is not trained.

    Args:
        biases: Of the numbers at the start.
    """

    row_proj: nn.Linear | None

    def __init__(self, biases: Sequence[float]) -> None:
        super().__init__()
        self._biases = list(biases)
        self.register_module("row_proj", None)

    def attach(self, network: nn.Module) -> None:
        """Make the map from features to numbers; the width is the network's.

        Raises:
            ValueError: If the network has no features, or the head has those of another one.
        """
        if not all(hasattr(network, name) for name in ("features", "width", "output_proj")):
            raise ValueError(
                f"{type(self).__name__} decides on rows and needs a network with features, width "
                f"and output_proj, not {type(network).__name__}; use one like ConfidenceTransformer"
            )
        width = cast(int, network.width)
        if self.row_proj is None:
            self.row_proj = nn.Linear(width, len(self._biases))
            nn.init.zeros_(self.row_proj.weight)
            with torch.no_grad():
                self.row_proj.bias.copy_(torch.tensor(self._biases))
        elif self.row_proj.in_features != width:
            raise ValueError(
                f"the head was made for a network of width {self.row_proj.in_features}, not "
                f"{width}; make another head"
            )
        for weight in cast(nn.Module, network.output_proj).parameters():
            weight.requires_grad_(False)

    def features(self, network: nn.Module, observation: Observation) -> Tensor:
        """Return the network's features of every position, ``[B, L, W]`` float."""
        return cast(ConfidenceTransformer, network).features(observation)

    def pooled(self, features: Tensor, eligible: Tensor) -> Tensor:
        """Return the numbers ``[B, C]`` of features ``[B, L, W]``."""
        share = eligible.to(features.dtype)
        share = share / share.sum(-1, keepdim=True).clamp(min=1)
        mean = torch.bmm(share[:, None], features).squeeze(1)
        return cast(nn.Linear, self.row_proj)(mean)
