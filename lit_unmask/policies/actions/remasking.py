"""Independent draws at every position, also of tokens that are taken back."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from lit_unmask.policies.actions.base import check_shapes
from lit_unmask.policies.actions.bernoulli import Bernoulli
from lit_unmask.policies.actions.head import Head, Knobs, attached
from lit_unmask.policies.networks.confidence import ConfidenceTransformer
from lit_unmask.types import REMOVABLE, STANDING, Observation, Signals


class Remasking(Bernoulli):
    """Independent Bernoulli draws: eligible positions are opened, removable tokens taken back.

    An action is the set ``[B, L]`` bool of the positions that change. Its log-probability is that
    of :class:`Bernoulli` over both kinds together, so that the one formula of policy gradients
    holds for what is taken back too. "Unmask, keep, remask" is this: a mask that does not change
    stays a mask, and a token that does not change is kept.

    Args:
        opening: As in :class:`Bernoulli`.
        removal: ``[B, L]`` float, logits of taking a token back.
        removable: ``[B, L]`` bool, disjoint from the eligible positions.

    Raises:
        ValueError: If the shapes differ.
    """

    def __init__(self, opening: Bernoulli, removal: Tensor, removable: Tensor) -> None:
        check_shapes(opening.eligible, removal=removal, removable=removable)
        super().__init__(
            torch.where(removable, removal.to(opening.logits.dtype), opening.logits),
            opening.eligible | removable,
        )
        self.opening, self.removable = opening, removable

    def positions(self, action: Tensor) -> Tensor:
        """Return what an action opens, ``[B, L]`` bool."""
        return action & self.opening.eligible

    def taken_back(self, action: Tensor) -> Tensor:
        """Return the tokens that an action takes back, ``[B, L]`` bool."""
        return action & self.removable

    def ranking(self) -> Tensor:
        """Return the logits of opening, -inf where not eligible."""
        return self.opening.ranking()

    def probability(self) -> Tensor:
        """Return the probability of each position to be opened, ``[B, L]``."""
        return self.opening.probability()

    def removal_probability(self) -> Tensor:
        """Return the probability of each token to be taken back, ``[B, L]``."""
        return super().probability().masked_fill(~self.removable, 0.0)

    def forced(self, positions: Tensor) -> Tensor:
        """Return the positions, with the first-ranked eligible one in rows where there are none."""
        return self.opening.forced(positions)


class RemaskingHead(Head):
    """Each mask is opened, and each token of the current block taken back, by a draw of its own.

    Masks have the network's own logits, as with
    :class:`~lit_unmask.policies.actions.bernoulli.BernoulliHead`. Tokens have those of a linear map
    of the network's features and of the probability that the denoiser gives to the token that
    stands there. Its weights are zero at the start. The paper (arXiv 2512.09106) has no such
    action; its successors report that revision pays (arXiv 2606.12232).

    It needs ``decoding.max_block_steps``. In a loop of one's own, which does not show what may be
    taken back, nothing is.

    Args:
        initial: Probability of a token to be taken back at the start, in ``(0, 1)``.

    Raises:
        ValueError: If the probability is out of range, or the network has no features.
    """

    takes_back = True
    signals = Signals(names={STANDING.name})
    removal_proj: nn.Linear | None

    def __init__(self, initial: float = 0.005) -> None:
        super().__init__()
        if not 0 < initial < 1:
            raise ValueError(f"initial={initial} must lie in (0, 1); it is a probability")
        self.initial = initial
        self.register_module("removal_proj", None)

    def attach(self, network: nn.Module) -> None:
        """Make the map from features to logits; see ``attached``."""
        self.removal_proj = attached(self, network, self.removal_proj, self.initial)

    def forward(self, network: nn.Module, observation: Observation, knobs: Knobs) -> Bernoulli:
        """Return the draws; temperature and scale are those of opening."""
        trunk = cast(ConfidenceTransformer, network)
        features = trunk.features(observation)
        logits = trunk.logits(features, observation)
        opening = Bernoulli(logits, observation.eligible, knobs.temperature, knobs.scale)
        removable = observation.signals.get(REMOVABLE.name)
        if removable is None:
            return opening
        standing = observation[STANDING][..., None].to(features.dtype)
        removal = cast(nn.Linear, self.removal_proj)(torch.cat([features, standing], -1))
        return Remasking(opening, removal.squeeze(-1) / knobs.temperature, removable)
