"""The policy network that sees confidences, masks and time, and nothing else."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lit_unmask.policies.layers import TransformerBlock, sinusoid
from lit_unmask.types import Observation, Signals


class ConfidenceTransformer(nn.Module):
    """One small adaLN transformer from confidences to unmasking logits.

    Each position of the generation region enters with its largest token probabilities; mask flag
    and time enter as the condition. The prompt, the tokens and the set of eligible positions are
    not seen. With the default arguments it is the network of arXiv 2512.09106 (331,265
    parameters), under the parameter names of its published files.

    Args:
        width: Channels.
        heads: Attention heads.
        feed_forward: Hidden width of the feed-forward net.
        layers: Transformer blocks.
        top_p: Largest token probabilities for each position, **K**.
        output_bias: Initial bias of the logits; -2 opens about 12 % of the positions a step.
        confidence_gain: Fixed slope that the largest probability adds to the logits. 0 is the
            reference: an untrained policy then opens positions whatever their confidence, which
            earns nothing where a solution has to hold as a whole. With a gain it starts as a soft
            confidence threshold, ``sigmoid(gain * confidence + bias)``, and training moves on from
            there; it adds no parameter.
        max_period: Slowest period of the time features; 1 makes all frequencies 1.
        round_time: Round the time features to bfloat16, as the reference does even in float32.

    Raises:
        ValueError: If ``width`` does not fit ``heads``, or a count is below 1.
    """

    def __init__(
        self,
        width: int = 128,
        heads: int = 2,
        feed_forward: int = 512,
        layers: int = 1,
        top_p: int = 1,
        output_bias: float = -2.0,
        confidence_gain: float = 0.0,
        max_period: float = 1.0,
        round_time: bool = True,
    ) -> None:
        super().__init__()
        if min(heads, feed_forward, layers, top_p) < 1 or not max_period > 0:
            raise ValueError(
                f"heads={heads}, feed_forward={feed_forward}, layers={layers}, top_p={top_p} must "
                f"be at least 1 and max_period={max_period} positive"
            )
        self.signals = Signals(top_k=top_p)
        self.width, self.heads = width, heads
        self.feed_forward, self.layers = feed_forward, layers
        self.top_p, self.output_bias = top_p, output_bias
        self.confidence_gain = confidence_gain
        self.max_period = max_period
        self.round_time = round_time
        self.time_mlp = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.confidence_proj = nn.Linear(top_p, width)
        self.mask_embedding = nn.Embedding(2, width)
        self.transformer_blocks = nn.ModuleList(
            TransformerBlock(width, heads, feed_forward) for _ in range(layers)
        )
        self.final_norm = nn.LayerNorm(width)
        self.output_proj = nn.Linear(width, 1)
        nn.init.constant_(self.output_proj.bias, output_bias)

    def forward(self, observation: Observation) -> Tensor:
        """Return the unmasking logits, ``[B, L]`` float.

        Raises:
            ValueError: If the observation has fewer than ``top_p`` probabilities a position.
        """
        top_p, kept = self.signals.top_k, observation.confidence.shape[-1]
        if kept < top_p:
            raise ValueError(f"confidence holds top_k={kept} values; the network needs {top_p}")
        x = self.confidence_proj(observation.confidence[..., :top_p])
        # A row has two conditions, unmasked and masked: blocks map those, not L of them.
        conditions = self._time_features(observation.time)[:, None] + self.mask_embedding.weight
        choice = torch.stack([~observation.masked, observation.masked], dim=-1).to(x.dtype)
        for block in self.transformer_blocks:
            x = block(x, conditions, choice)
        logits = self.output_proj(self.final_norm(x)).squeeze(-1)
        if self.confidence_gain:
            logits = logits + self.confidence_gain * observation.confidence[..., 0]
        return logits

    def _time_features(self, time: Tensor) -> Tensor:
        """Return the time's part of the condition, ``[B, W]``."""
        waves = sinusoid(time.float(), self.width, self.max_period)
        if self.round_time:
            waves = waves.bfloat16()
        return self.time_mlp(waves.to(self.mask_embedding.weight.dtype))
