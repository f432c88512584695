"""The objective of self-correcting diffusion."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from lit_unmask.pretrain.data import Demonstrations
from lit_unmask.pretrain.objectives.base import Network, weighted_loss
from lit_unmask.pretrain.objectives.masked_diffusion import MaskedDiffusion


@dataclass(frozen=True)
class ProSeCo(MaskedDiffusion):
    """Masked diffusion, and the clean text from the network's own text in its place.

    Source: ProSeCo, arXiv 2602.11590, the released recipe. The second forward reads the most
    probable token at every position, which has no gradient; its loss is the cross entropy of the
    clean text at all positions, with the weight of the time, one over the share of masks. Two
    forwards and two backwards a step.

    In a response that is noised in one block the masks behind it count in that share, and are
    corrected too. Synonyms are at their mean in the first loss alone: the second text may hold the
    token that stands there, so that which of them it is matters.

    Attributes:
        corrector_weight: Weight of the second loss.
        bounded: Whether the second loss is minus the probability, not the logarithm of it, where
            the text is right; few gradients then come from what is right already.

    Raises:
        ValueError: If a share, a time or the weight lies outside its range.
    """

    least: float = 0.1
    corrector_weight: float = 1.0
    bounded: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.corrector_weight < float("inf"):
            raise ValueError(
                f"corrector_weight={self.corrector_weight} must be finite and at least 0"
            )

    def filled(self, noisy: Tensor, proposed: Tensor, mask_id: int) -> Tensor:
        """Return the text to be corrected, ``[M, L]`` int64."""
        return proposed

    def loss(self, batch: Demonstrations, network: Network) -> Tensor:
        """Return the loss on a batch with fresh masks; see :meth:`Objective.loss`."""
        noised, prompt, clean = self.noise(batch, network)
        rows, everywhere = len(batch.response), torch.ones_like(clean, dtype=torch.bool)
        logits = network.logits(prompt, noised.tokens, everywhere)
        asked, masked = noised.weight > 0, noised.tokens == network.mask_id
        predicted = weighted_loss(
            logits[asked.flatten()], network.meant[clean[asked]], noised.weight[asked], rows
        )
        proposed = network.without_mask(logits.detach()).argmax(-1).view_as(clean)
        text = self.filled(noised.tokens, proposed, network.mask_id)
        corrected = correction(
            network.logits(prompt, text, everywhere).view(*clean.shape, -1),
            clean,
            text == clean if self.bounded else torch.zeros_like(everywhere),
        )
        # Each row of a response counts as its own part of the response's weights does.
        share = noised.weight.sum(1) / masked.sum(1)
        return predicted + self.corrector_weight * (corrected.sum(1) * share).sum() / rows


@dataclass(frozen=True)
class MaskedProSeCo(ProSeCo):
    """The same with the network's own tokens where masks are, and the clean ones beside them.

    Source: as above; the paper's formula.
    """

    def filled(self, noisy: Tensor, proposed: Tensor, mask_id: int) -> Tensor:
        """Return the text to be corrected, ``[M, L]`` int64."""
        return torch.where(noisy == mask_id, proposed, noisy)


def correction(logits: Tensor, clean: Tensor, bounded: Tensor) -> Tensor:
    """Return the loss of each position, ``[M, L]``.

    Args:
        logits: ``[M, L, V]``.
        clean: ``[M, L]`` int64 tokens.
        bounded: ``[M, L]`` bool, where it is minus the probability of the token, in ``[-1, 0]``, in
            place of minus its logarithm.
    """
    entropy = F.cross_entropy(logits.transpose(1, 2), clean, reduction="none")
    return torch.where(bounded, -(-entropy).exp(), entropy)
