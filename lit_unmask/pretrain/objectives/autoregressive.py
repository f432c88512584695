"""The objective of ordinary language models."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lit_unmask.pretrain.data import Demonstrations
from lit_unmask.pretrain.objectives.base import Network, Objective, weighted_loss


@dataclass(frozen=True)
class Autoregressive(Objective):
    """Mean cross entropy of each token of the response, given the prompt and what is before it.

    The end tokens that fill up a response count too, so that the network also knows what follows an
    end, as denoisers do.
    """

    causal = True

    def loss(self, batch: Demonstrations, network: Network) -> Tensor:
        """Return the loss on a batch; see :meth:`Objective.loss`."""
        clean = batch.response
        logits = network.logits(batch.prompt, clean, torch.ones_like(clean, dtype=torch.bool))
        target = network.meant[clean.flatten()]
        weight = logits.new_full((clean.numel(),), 1 / clean.shape[1])
        return weighted_loss(logits, target, weight, len(clean))
