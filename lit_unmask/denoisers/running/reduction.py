"""From logits to what a policy sees: the one place where a softmax over the vocabulary is taken."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lit_unmask.rows import Rows
from lit_unmask.types import ENTROPY, LIKELIHOOD, STANDING, Signals


@dataclass(frozen=True)
class Draw(Rows):
    """Noise of drawn proposals.

    Attributes:
        uniform: ``[...]`` in ``[0, 1)``, a number for each position.
        temperature: Of the draw, positive.
    """

    uniform: Tensor
    temperature: float

    @classmethod
    def of(cls, response: Tensor, uniform: Tensor | None, temperature: float) -> Draw | None:
        """Return the noise of a call.

        Args:
            response: ``[B, L]``, whose shape the noise must have.
            uniform: ``[B, L]`` in ``[0, 1)``, or None.
            temperature: Of the draw.

        Returns:
            None at temperature 0.

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
        return cls(uniform, temperature)


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
    draw: Draw | None = None,
    standing: Tensor | None = None,
) -> Reduced:
    """Reduce logits to proposal, confidence and signals. The logits are overwritten.

    Args:
        logits: ``[M, V]`` float32, ``-inf`` at the mask token.
        signals: What is asked for.
        mask_id: Token id of the mask.
        draw: Noise of **M** positions to draw the proposals with; None for the most probable.
        standing: ``[M]`` int64, tokens whose probability is asked for as ``standing``.
    """
    top, proposal = logits.max(dim=-1, keepdim=True)
    largest = top if signals.top_k == 1 else logits.topk(signals.top_k, dim=-1).values
    confidence = (largest - top).exp_()
    relative = logits.sub_(top)
    if draw is not None:
        proposal = _draw(relative, proposal, draw, mask_id)
    proposed = relative.gather(1, proposal) if LIKELIHOOD in signals else None
    stands = None
    if STANDING in signals:
        assert standing is not None
        stands = relative.gather(1, standing[:, None])
    weight = relative.exp() if ENTROPY in signals else relative.exp_()
    total, found = weight.sum(dim=-1, keepdim=True), {}
    if ENTROPY in signals:
        relative[:, mask_id] = 0.0  # its weight is 0, and 0 * -inf is not
        found[ENTROPY.name] = total.log() - (weight.mul_(relative)).sum(-1, keepdim=True) / total
    if proposed is not None:
        found[LIKELIHOOD.name] = proposed - total.log()
    if stands is not None:
        found[STANDING.name] = stands.exp_() / total
    columns = {name: value.squeeze(-1) for name, value in found.items()}
    return Reduced(proposal.squeeze(-1), confidence.div_(total), columns)


def _draw(relative: Tensor, best: Tensor, draw: Draw, mask_id: int) -> Tensor:
    """Invert the cumulative distribution of ``softmax(relative / temperature)``.

    Args:
        relative: ``[M, V]`` logits minus their largest.
        best: ``[M, 1]`` most probable tokens.
        draw: Noise of **M** positions.
        mask_id: Token id of the mask.

    Returns:
        ``[M, 1]`` int64, the first token whose cumulative probability exceeds the number drawn.
    """
    cumulative = (relative / draw.temperature).exp_().cumsum(dim=-1)
    total = cumulative[:, -1:]
    # Rounding may carry uniform * total up to total, where no token is left.
    limit = total.nextafter(total.new_zeros(()))
    target = torch.minimum(draw.uniform[:, None].float() * total, limit)
    # Among NaN there is no place; whoever reads the confidence notices them.
    drawn = torch.searchsorted(cumulative, target, right=True).clamp_(max=relative.shape[-1] - 1)
    # A parallel prefix sum may step by a rounding error at the mask, whose weight is 0.
    return torch.where(drawn == mask_id, best, drawn)


def divergence(logits: Tensor, before: Tensor) -> Tensor:
    """Return ``KL(softmax(logits) || softmax(before))``, ``[M]`` in nats.

    Args:
        logits: ``[M, V]`` float32, ``-inf`` at the mask token.
        before: The same of the distributions that are compared with.
    """
    now, then = logits.log_softmax(-1), before.log_softmax(-1)
    # The mask has probability 0 in both, and 0 * (inf - inf) is no number.
    moved = (now - then).masked_fill_(now == -torch.inf, 0.0)
    # Rounding may carry the sum below 0, where no divergence is.
    return (now.exp_().mul_(moved)).sum(-1).clamp_(min=0)


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
