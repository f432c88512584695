"""The objective of causal diffusion."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from lit_unmask.pretrain.data import Demonstrations
from lit_unmask.pretrain.objectives.base import Network, Objective, weighted_loss
from lit_unmask.pretrain.objectives.masks import stratified_times


@dataclass(frozen=True)
class CARD(Objective):
    """Cross entropy of each next token, clean, by a causal network that reads masks near the end.

    Source: CARD, arXiv 2601.22031. At time ``t``, ``n = max(1, floor(L t))`` of the last
    ``min(L, floor(1.5 n))`` tokens are masked, any n of them; all tokens are predicted, and the
    fewer masks its input has lately seen, the more a prediction counts (:func:`weights`). The
    clean prompt precedes the response, whose filling up with ends counts as text. Times are
    stratified over the batch. Weights are divided by their sum in each response; the paper leaves
    that open. What is trained on uniform masks instead is ``stretch: .inf``, and without weights
    :class:`MaskedDiffusion` on a causal network.

    Attributes:
        stretch: Length of the tail that is masked, in masks, at least 1.
        decay: Share of a mask's cost that each further token keeps, in ``[0, 1]``.

    Raises:
        ValueError: If a value lies outside its range.
    """

    causal = True
    stretch: float = 1.5
    decay: float = 0.5

    def __post_init__(self) -> None:
        if not self.stretch >= 1:
            raise ValueError(f"stretch={self.stretch} must be at least 1, a tail of masks alone")
        if not 0 <= self.decay <= 1:
            raise ValueError(f"decay={self.decay} must lie in [0, 1]")

    def draw(self, times: Tensor, length: int) -> Tensor:
        """Return what is masked at times ``[B]``, ``[B, L]`` bool."""
        count = (times * length).long().clamp(min=1)[:, None]
        tail = (self.stretch * count).clamp(max=length).long()
        outside = torch.arange(length) < length - tail
        order = torch.rand(len(times), length).masked_fill(outside, torch.inf)
        return order.argsort(1).argsort(1) < count

    def loss(self, batch: Demonstrations, network: Network) -> Tensor:
        """Return the loss on a batch with fresh masks; see :meth:`Objective.loss`."""
        clean = batch.response
        masked = self.draw(stratified_times(len(clean)), clean.shape[1]).to(clean.device)
        noisy = clean.masked_fill(masked, network.mask_id)
        logits = network.logits(batch.prompt, noisy, torch.ones_like(masked))
        weight = weights(masked, self.decay)
        weight = weight / weight.sum(1, keepdim=True)
        target = network.meant[clean.flatten()]
        return weighted_loss(logits, target, weight.flatten(), len(clean))


def weights(masked: Tensor, decay: float) -> Tensor:
    """Return the weights of the tokens of responses as targets, ``[B, L]`` float32.

    A mask costs 1, and 2 behind another mask. Costs add up over the inputs with a decay:
    ``S_i = C_i + decay S_(i-1)``. The token at ``i + 1``, predicted from the input at ``i``, has
    the weight ``1 / (1 + S_i)``, and the first one, predicted from the prompt, the weight 1.

    Args:
        masked: ``[B, L]`` bool inputs.
        decay: Share of the sum that each further input keeps.
    """
    here = masked.float()
    costs = here * (1 + F.pad(here, (1, 0))[:, :-1])
    sums = [costs.new_zeros(len(costs))]
    for cost in costs[:, :-1].unbind(1):
        sums.append(cost + decay * sums[-1])
    return 1 / (1 + torch.stack(sums, 1))
