"""Building blocks of policy networks: time features, rotary positions, one adaLN block."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_ROTARY_BASE = 10000.0
_INITIAL_LENGTH = 256
"""Positions for which rotary tables exist from the start; they grow on demand."""


def sinusoid(time: Tensor, width: int, max_period: float = 1.0) -> Tensor:
    """Return cosines, then sines, of a time at geometrically falling frequencies.

    Frequency ``i`` of ``width / 2`` is ``max_period ** (-2 i / width)``; at the reference's
    ``max_period = 1`` (arXiv 2512.09106) all of them are 1.

    Args:
        time: ``[B]`` float.
        width: Even number of features.
        max_period: Sets the slowest frequency, positive.

    Returns:
        ``[B, width]`` float, the cosines first.
    """
    half = width // 2
    exponents = torch.arange(half, device=time.device, dtype=time.dtype) / half
    angles = time[:, None] * torch.exp(-math.log(max_period) * exponents)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def pair_order(width: int, heads: int) -> Tensor:
    """Return the order that puts each pair's even channel before all odd ones.

    Args:
        width: Channels over all heads.
        heads: Attention heads.

    Returns:
        ``[2, W / 2]`` int64: even channels head by head, then the odd channels.
    """
    return torch.arange(width).unflatten(0, (heads, -1, 2)).permute(2, 0, 1).flatten(1)


def rotate(even: Tensor, odd: Tensor, cosine: Tensor, sine: Tensor) -> tuple[Tensor, Tensor]:
    """Rotate channel pairs by position-dependent angles (arXiv 2104.09864, equation 34).

    Args:
        even: Any shape, float, first channel of each pair.
        odd: The same shape, second channel of each pair.
        cosine: Broadcast against the pairs.
        sine: Broadcast against the pairs.

    Returns:
        The rotated first and second channels.
    """
    return even * cosine - odd * sine, torch.addcmul(odd * cosine, even, sine)


class TransformerBlock(nn.Module):
    """A bidirectional transformer block that is modulated by a condition (adaLN).

    ``h = LN(x) (1 + g1) + b1; x += attention(h) (1 + a1)``, then the same with ``g2, b2, a2`` and
    the feed-forward net (GELU). The six modulations ``g1, b1, a1, g2, b2, a2`` are one linear map
    of the condition and zero at the start: then the block is a plain pre-norm block. Source:
    the policy network of arXiv 2512.09106, after the DiT block of arXiv 2212.09748, section 3.2;
    unlike there, the gates are ``1 + a``. Parameter names are those of the reference's files.

    Args:
        width: Channels, a multiple of ``2 * heads``.
        heads: Attention heads.
        feed_forward: Hidden width of the feed-forward net.

    Raises:
        ValueError: If ``width`` cannot be split into heads of even width.
    """

    inv_freq: Tensor
    order: Tensor
    rotary: Tensor
    neutral: Tensor

    def __init__(self, width: int, heads: int, feed_forward: int) -> None:
        super().__init__()
        if width % (2 * heads):
            raise ValueError(f"width={width} must be a multiple of 2 * heads={2 * heads}")
        self.heads = heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)
        self.linear1 = nn.Linear(width, feed_forward)
        self.linear2 = nn.Linear(feed_forward, width)
        self.ada_conditioning = nn.Linear(width, 6 * width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        nn.init.zeros_(self.ada_conditioning.weight)
        nn.init.zeros_(self.ada_conditioning.bias)
        channels = width // heads
        exponents = torch.arange(0, channels, 2, dtype=torch.float32) / channels
        self.register_buffer("inv_freq", _ROTARY_BASE**-exponents)
        self.register_buffer("order", pair_order(width, heads), persistent=False)
        self.register_buffer("rotary", self._rotary_table(_INITIAL_LENGTH), persistent=False)
        # Scales and gates are 1 + modulation, shifts are the modulation itself.
        neutral = torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0, 1.0]).repeat_interleave(width)
        self.register_buffer("neutral", neutral, persistent=False)

    def forward(
        self, x: Tensor, conditions: Tensor, choice: Tensor, visible: Tensor | None = None
    ) -> Tensor:
        """Update the features of every position.

        Args:
            x: ``[B, L, W]`` float.
            conditions: ``[B, C, W]`` float, the distinct conditions of each row.
            choice: ``[B, L, C]`` float, 1 at the condition of each position and 0 elsewhere.
            visible: ``[B, L]`` bool, positions that are attended to; None for all of them.

        Returns:
            ``[B, L, W]`` float.
        """
        modulations = (self.ada_conditioning(conditions) + self.neutral).chunk(6, dim=-1)
        # A product with ones and zeros looks a row up exactly, and its gradient is a product too,
        # where that of an index is a slow scatter.
        g1, b1, a1, g2, b2, a2 = (torch.bmm(choice, table) for table in modulations)
        x = torch.addcmul(x, self._attend(torch.addcmul(b1, self.norm1(x), g1), visible), a1)
        hidden = F.gelu(self.linear1(torch.addcmul(b2, self.norm2(x), g2)))
        return torch.addcmul(x, self.linear2(hidden), a2)

    def _attend(self, h: Tensor, visible: Tensor | None) -> Tensor:
        """Return attention of every position to the visible ones, ``[B, L, W]``."""
        even, odd, value = F.linear(h, *self._joint_projection()).chunk(3, dim=-1)
        cosine, sine = self._angles(h.shape[1])
        rotated = rotate(even, odd, cosine, sine)
        # A head's channels are its rotated first channels, then its rotated second ones.
        halves = [half.unflatten(-1, (2, self.heads, -1)) for half in rotated]
        query, key = torch.cat(halves, dim=-1).transpose(1, 3).unbind(2)
        value = value.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        shown = None if visible is None else visible[:, None, None]
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=shown)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))

    def _joint_projection(self) -> tuple[Tensor, Tensor]:
        """Return one weight and bias whose output is even q, k; odd q, k; v: ``W`` channels each.

        Rows of the small matrices are reordered instead of channels of the large activations.
        """
        even, odd = self.order
        weight_q, weight_k = self.q_proj.weight, self.k_proj.weight
        bias_q, bias_k = self.q_proj.bias, self.k_proj.bias
        weight = [weight_q[even], weight_k[even], weight_q[odd], weight_k[odd], self.v_proj.weight]
        bias = [bias_q[even], bias_k[even], bias_q[odd], bias_k[odd], self.v_proj.bias]
        return torch.cat(weight), torch.cat(bias)

    def _angles(self, length: int) -> Tensor:
        """Return cosines and sines for every pair of q and k, ``[2, L, W]``."""
        if length > self.rotary.shape[1]:
            self.rotary = self._rotary_table(max(length, 2 * self.rotary.shape[1]))
        return self.rotary[:, :length]

    def _rotary_table(self, length: int) -> Tensor:
        """Return cosines and sines, tiled over heads of q and k, ``[2, length, W]``."""
        # A table made in inference mode could not take part in a later training step.
        with torch.inference_mode(False), torch.no_grad():
            places = torch.arange(length, device=self.inv_freq.device, dtype=torch.float32)
            angles = (places[:, None] * self.inv_freq).repeat(1, 2 * self.heads)
            return torch.stack([angles.cos(), angles.sin()])
