"""The planner head of dUltra: unmasking logits from the denoiser's last hidden states."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lit_unmask.policies.networks.confidence import silu_net
from lit_unmask.policies.networks.layers import TransformerBlock, sinusoid
from lit_unmask.types import HIDDEN, UNMASKED, Observation, Signals

_PERIOD = 10.0


class Planner(nn.Module):
    """One adaLN transformer block on the last hidden states, and a linear map to a logit each.

    The condition of a position is an embedding of the share of the whole sequence, prompt included,
    that is not masked, plus one of its mask flag. It modulates the input, the block and the output.
    Source: dUltra, arXiv 2512.21446, whose block is one of the denoiser's own, of its width, which
    also sees the prompt's states; here the block has a width of its own and sees the response.
    Modulations are zero at the start.

    Args:
        hidden_width: Width **D** of the denoiser's hidden states.
        width: Channels.
        heads: Attention heads.
        feed_forward: Hidden width of the feed-forward net.
        layers: Transformer blocks.
        output_bias: Initial bias of the logits.

    Raises:
        ValueError: If ``width`` does not fit ``heads``, or a count is below 1.
    """

    signals = Signals(names={HIDDEN.name, UNMASKED.name})

    def __init__(
        self,
        hidden_width: int,
        width: int = 128,
        heads: int = 2,
        feed_forward: int = 512,
        layers: int = 1,
        output_bias: float = -2.0,
    ) -> None:
        super().__init__()
        if min(hidden_width, heads, feed_forward, layers) < 1:
            raise ValueError(
                f"hidden_width={hidden_width}, heads={heads}, feed_forward={feed_forward} and "
                f"layers={layers} must be at least 1"
            )
        self.hidden_width, self.width, self.heads = hidden_width, width, heads
        self.feed_forward, self.layers, self.output_bias = feed_forward, layers, output_bias
        self.share_mlp, self.mask_embedding = silu_net(width), nn.Embedding(2, width)
        self.hidden_norm = nn.LayerNorm(hidden_width, elementwise_affine=False)
        self.hidden_proj = nn.Linear(hidden_width, width)
        self.transformer_blocks = nn.ModuleList(
            TransformerBlock(width, heads, feed_forward) for _ in range(layers)
        )
        self.final_norm = nn.LayerNorm(width, elementwise_affine=False)
        self.final_conditioning = nn.Linear(width, 2 * width)
        self.output_proj = nn.Linear(width, 1)
        for weight in self.final_conditioning.parameters():
            nn.init.zeros_(weight)
        nn.init.constant_(self.output_proj.bias, output_bias)

    def forward(self, observation: Observation) -> Tensor:
        """Return the unmasking logits, ``[B, L]`` float; see :meth:`features` for the errors."""
        return self.output_proj(self.features(observation)).squeeze(-1)

    def features(self, observation: Observation) -> Tensor:
        """Return the features of every position after the last norm, ``[B, L, W]`` float.

        Raises:
            ValueError: If a signal is missing, or hidden states have another width.
        """
        hidden, dtype = observation[HIDDEN], self.hidden_proj.weight.dtype
        if hidden.shape[-1] != self.hidden_width:
            raise ValueError(
                f"hidden_width={self.hidden_width} must be the width of the denoiser's hidden "
                f"states, which is {hidden.shape[-1]}"
            )
        waves = sinusoid(observation[UNMASKED].to(dtype), self.width, _PERIOD)
        conditions = self.share_mlp(waves)[:, None] + self.mask_embedding.weight
        choice = F.one_hot(observation.masked.long(), 2).to(dtype)
        x = self.hidden_proj(self.hidden_norm(hidden.to(dtype)))
        for block in self.transformer_blocks:
            x = block(x, conditions, choice)
        scale, shift = torch.bmm(choice, self.final_conditioning(conditions)).chunk(2, dim=-1)
        return self.final_norm(x) * (1 + scale) + shift
