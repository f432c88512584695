"""From logits to what a policy sees: the one place where a softmax over the vocabulary is taken."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lit_unmask.rows import Rows
from lit_unmask.types import ENTROPY, Signals


@dataclass(frozen=True)
class Reduced(Rows):
    """Logits of **M** positions, reduced.

    Attributes:
        proposal: ``[M]`` int64.
        confidence: ``[M, K]`` float32, descending.
        signals: ``[M, ...]``, those of the signals asked for that follow from logits, by name.
    """

    proposal: Tensor
    confidence: Tensor
    signals: Mapping[str, Tensor]


def reduce_logits(
    logits: Tensor,
    signals: Signals,
    mask_id: int,
    uniform: Tensor | None = None,
    temperature: float = 0.0,
) -> Reduced:
    """Reduce logits to proposal, confidence and signals. The logits are overwritten.

    Args:
        logits: ``[M, V]`` float32, ``-inf`` at the mask token.
        signals: What is asked for.
        mask_id: Token id of the mask.
        uniform: ``[M]`` in ``[0, 1)`` to draw the proposal with, or None for the most probable.
        temperature: Of the draw, positive; without ``uniform`` not used.
    """
    top, proposal = logits.max(dim=-1, keepdim=True)
    largest = top if signals.top_k == 1 else logits.topk(signals.top_k, dim=-1).values
    confidence = (largest - top).exp_()
    relative = logits.sub_(top)
    if uniform is not None:
        proposal = _draw(relative, proposal, uniform, temperature, mask_id)
    weight = relative.exp() if ENTROPY in signals else relative.exp_()
    total = weight.sum(dim=-1, keepdim=True)
    found = {}
    if ENTROPY in signals:
        relative[:, mask_id] = 0.0  # its weight is 0, and 0 * -inf is not
        entropy = total.log() - (weight.mul_(relative)).sum(-1, keepdim=True) / total
        found[ENTROPY.name] = entropy.squeeze(-1)
    return Reduced(proposal.squeeze(-1), confidence.div_(total), found)


def _draw(
    relative: Tensor, best: Tensor, uniform: Tensor, temperature: float, mask_id: int
) -> Tensor:
    """Invert the cumulative distribution of ``softmax(relative / temperature)``.

    Args:
        relative: ``[M, V]`` logits minus their largest.
        best: ``[M, 1]`` most probable tokens.
        uniform: ``[M]`` in ``[0, 1)``.
        temperature: Positive.
        mask_id: Token id of the mask.

    Returns:
        ``[M, 1]`` int64, the first token whose cumulative probability exceeds ``uniform``.
    """
    cumulative = (relative / temperature).exp_().cumsum(dim=-1)
    total = cumulative[:, -1:]
    # Rounding may carry uniform * total up to total, where no token is left.
    target = torch.minimum(uniform[:, None].float() * total, total.nextafter(total.new_zeros(())))
    drawn = torch.searchsorted(cumulative, target, right=True)
    # A parallel prefix sum may step by a rounding error at the mask, whose weight is 0.
    return torch.where(drawn == mask_id, best, drawn)


def check_noise(response: Tensor, uniform: Tensor | None, temperature: float) -> Tensor | None:
    """Check the noise of a draw.

    Args:
        response: ``[B, L]``, whose shape the noise must have.
        uniform: ``[B, L]`` in ``[0, 1)``, or None.
        temperature: Of the draw.

    Returns:
        ``[B, L]``, or None at temperature 0.

    Raises:
        ValueError: If the temperature is negative, or positive and there is no fitting noise.
    """
    if temperature < 0:
        raise ValueError(f"temperature={temperature} must not be negative")
    if temperature == 0:
        return None
    if uniform is None or uniform.shape != response.shape:
        found = "None" if uniform is None else f"of shape {tuple(uniform.shape)}"
        raise ValueError(
            f"uniform is {found}, but temperature={temperature} needs one number in [0, 1) for "
            f"each position: shape {tuple(response.shape)}"
        )
    return uniform


# Some processors' matrix products treat the rows beyond whole blocks by other code, which rounds
# differently; blocks of all that are known divide this number.
_BLOCK = 32


def even_chunk(positions: int, most: int) -> int:
    """Return how large chunks of positions are, of at most ``most``, if all are about alike.

    Several chunks are whole blocks where there is room for one, so that a position's numbers do
    not depend on its place in a chunk.
    """
    if positions <= most:
        return max(positions, 1)
    size = math.ceil(positions / math.ceil(positions / most))
    return size if most < _BLOCK else min(math.ceil(size / _BLOCK), most // _BLOCK) * _BLOCK
