"""Training objectives: what is asked of a network on a batch of worked solutions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lit_unmask.pretrain.data import Demonstrations
from lit_unmask.tasks.base import synonym_shares
from lit_unmask.types import Prompt


@dataclass(frozen=True)
class Network:
    """The network that is trained, as far as objectives ask for it.

    Attributes:
        stock: Stock transformers network.
        shift: Whether the state at position ``i - 1`` predicts token ``i``.
        mask_id: Mask token.
        end_id: Token that ends and fills up responses.
        meant: ``[V, V]`` float32, from :func:`token_distributions`.
        done: Share of the training that is over, in ``[0, 1]``.
    """

    stock: Any
    shift: bool
    mask_id: int
    end_id: int
    meant: Tensor
    done: float = 1.0

    def logits(self, prompt: Prompt, response: Tensor, where: Tensor) -> Tensor:
        """Return the logits ``[M, V]`` of **M** positions, in float32.

        Args:
            prompt: **B** prompts.
            response: ``[B, L]`` int64, as the network reads it.
            where: ``[B, L]`` bool, the positions.
        """
        real = torch.ones_like(response, dtype=torch.bool)
        states = self.stock.model(
            input_ids=torch.cat([prompt.tokens, response], 1),
            attention_mask=torch.cat([prompt.attention, real], 1),
        ).last_hidden_state
        start = prompt.tokens.shape[1] - int(self.shift)
        logits: Tensor = self.stock.lm_head(states[:, start : start + response.shape[1]][where])
        return logits.float()

    def without_mask(self, logits: Tensor) -> Tensor:
        """Return logits ``[..., V]`` that never propose the mask, as in decoding."""
        hidden = torch.arange(logits.shape[-1], device=logits.device) == self.mask_id
        return logits.masked_fill(hidden, -torch.inf)


class Objective(ABC):
    """A training objective; a subclass is one of ``model.objective``.

    Random numbers come from torch's global generator.

    Attributes:
        causal: Whether it is meant for networks alone that do not look ahead.
    """

    # Without an annotation, which jsonargparse would look up in the modules of subclasses.
    causal = False

    @abstractmethod
    def loss(self, batch: Demonstrations, network: Network) -> Tensor:
        """Return the loss on a batch, a mean over its rows, with a gradient."""


def token_distributions(size: int, synonyms: Iterable[Sequence[int]]) -> Tensor:
    """Return what stands in the place of each token, ``[V, V]`` float32: synonyms, or itself.

    The objective is a mean over texts. Where one of several tokens stands whatever the rest of the
    text is, their mean is known, and need not be drawn: the gradient has the same mean and less
    variance (Rao and Blackwell). In the bundled tasks such tokens are three of seven.

    Args:
        size: Vocabulary size **V**.
        synonyms: Tokens of which any may stand where one of them does, from the most to the least
            frequent (:func:`~lit_unmask.tasks.base.synonym_shares`).
    """
    found = torch.eye(size)
    for tokens in synonyms:
        index = torch.tensor(tokens)
        found[index[:, None], index] = torch.tensor(synonym_shares(len(tokens)))
    return found


def weighted_loss(logits: Tensor, target: Tensor, weight: Tensor, rows: int) -> Tensor:
    """Return the mean over rows of the weighted cross entropy of their positions.

    Args:
        logits: ``[M, V]`` of the positions with a weight alone.
        target: ``[M, V]`` float32 distributions of the clean tokens there, or the tokens ``[M]``.
        weight: ``[M]`` their weights.
        rows: Responses **B**.
    """
    losses = F.cross_entropy(logits.float(), target, reduction="none")
    return (losses * weight).sum() / rows
