"""The policy network that sees confidences, masks and time, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from lit_unmask.policies.networks.layers import TransformerBlock, sinusoid
from lit_unmask.types import ENTROPY, SPEED, Observation, Signals

# The speed enters as the logarithm of itself and this, so that a speed of 0 is a place
# among the others. Its slowest feature is nearly linear over speeds up to some hundreds.
_SPEED_OFFSET = 0.1
_SPEED_PERIOD = 10.0


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
        speed: Whether the network is conditioned on the speed of the answer. What a small net makes
            of ``log(speed + 0.1)`` is added to the condition, and to the features behind the last
            norm. Its last layer is zero at the start: then the logits are those of the network
            without it.
        entropy: Whether the entropy of the proposals (nats) is a further input of each position.
        margin: Whether the gap between the two largest probabilities is one.
        see_mask: Whether the mask flag is part of the condition; without it, an ablation of the
            paper.
        see_time: The same of the time.
        context_block: Block-only context, an ablation of the paper: attention reaches the
            positions of one block alone, masked or not, and all others are hidden. It is the
            aligned block of this length that holds the row's first eligible position; with
            ``decoding.block_length`` here it is the row's current block. None sees everything.

    Raises:
        ValueError: If ``width`` does not fit ``heads``, or a count is below 1.
    """

    # At these values they change nothing, and policies of before they were there keep their hash.
    later_settings: ClassVar[Mapping[str, Any]] = {
        "entropy": False, "margin": False, "see_mask": True, "see_time": True,
        "context_block": None,
    }  # fmt: skip

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
        speed: bool = False,
        entropy: bool = False,
        margin: bool = False,
        see_mask: bool = True,
        see_time: bool = True,
        context_block: int | None = None,
    ) -> None:
        super().__init__()
        if context_block is not None and context_block < 1:
            raise ValueError(f"context_block={context_block} must be at least 1, or null")
        if width < 1:
            raise ValueError(f"width={width} must be at least 1")
        if min(heads, feed_forward, layers, top_p) < 1 or not max_period > 0:
            raise ValueError(
                f"heads={heads}, feed_forward={feed_forward}, layers={layers}, top_p={top_p} must "
                f"be at least 1 and max_period={max_period} positive"
            )
        asked = {ENTROPY.name: entropy, SPEED.name: speed}
        self.signals = Signals(
            max(top_p, 1 + margin), {name for name, needed in asked.items() if needed}
        )
        self.width, self.heads = width, heads
        self.feed_forward, self.layers = feed_forward, layers
        self.top_p, self.output_bias = top_p, output_bias
        self.confidence_gain = confidence_gain
        self.max_period = max_period
        self.round_time = round_time
        self.entropy, self.margin = entropy, margin
        self.see_mask, self.see_time = see_mask, see_time
        self.context_block = context_block
        self.register_module("time_mlp", silu_net(width) if see_time else None)
        self.confidence_proj = nn.Linear(top_p + entropy + margin, width)
        self.register_module("mask_embedding", nn.Embedding(2, width) if see_mask else None)
        self.transformer_blocks = nn.ModuleList(
            TransformerBlock(width, heads, feed_forward) for _ in range(layers)
        )
        self.final_norm = nn.LayerNorm(width)
        self.output_proj = nn.Linear(width, 1)
        nn.init.constant_(self.output_proj.bias, output_bias)
        # Last, so that the other weights are those that the same seed gives without it.
        self.register_module("speed_mlp", _speed_net(width) if speed else None)

    @property
    def speed(self) -> bool:
        """Whether the network is conditioned on the speed."""
        return SPEED in self.signals

    def forward(self, observation: Observation) -> Tensor:
        """Return the unmasking logits, ``[B, L]`` float; see :meth:`features` for the errors."""
        return self.logits(self.features(observation), observation)

    def features(self, observation: Observation) -> Tensor:
        """Return the features of every position after the last norm, ``[B, L, W]`` float.

        Raises:
            ValueError: If the observation has fewer probabilities a position than the network
                needs, or lacks a signal that it looks at.
        """
        x = self.embed(observation)
        conditions, choice = self._conditions(observation, x.dtype)
        if self.speed:
            speed, shift = self._speed_features(observation)[:, None].chunk(2, dim=-1)
            conditions = conditions + speed
        visible = None if self.context_block is None else self._visible(observation.eligible)
        for block in self.transformer_blocks:
            x = block(x, conditions, choice, visible)
        x = self.final_norm(x)
        return x + shift if self.speed else x

    def logits(self, features: Tensor, observation: Observation) -> Tensor:
        """Return the unmasking logits ``[B, L]`` of features ``[B, L, W]``."""
        logits = self.output_proj(features).squeeze(-1)
        if self.confidence_gain:
            logits = logits + self.confidence_gain * observation.confidence[..., 0]
        return logits

    def embed(self, observation: Observation) -> Tensor:
        """Return what enters the first block, ``[B, L, W]`` float."""
        needed, kept = self.signals.top_k, observation.confidence.shape[-1]
        if kept < needed:
            raise ValueError(f"confidence holds top_k={kept} values; the network needs {needed}")
        seen = observation.confidence[..., : self.top_p]
        if self.entropy:
            seen = torch.cat([seen, observation[ENTROPY][..., None]], dim=-1)
        if self.margin:
            first, second = observation.confidence[..., :2].split(1, dim=-1)
            seen = torch.cat([seen, first - second], dim=-1)
        return self.confidence_proj(seen)

    def _conditions(self, observation: Observation, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return a row's distinct conditions ``[B, C, W]``, and where each holds ``[B, L, C]``."""
        weight, masked = self.confidence_proj.weight, observation.masked
        if self.see_time:
            conditions = self._time_features(observation.time)[:, None]
        else:
            conditions = weight.new_zeros(len(masked), 1, self.width)
        if self.see_mask:
            # A row has two conditions, unmasked and masked: blocks map those, not L of them.
            conditions = conditions + cast(nn.Embedding, self.mask_embedding).weight
        if not self.see_mask:
            return conditions, torch.ones(*masked.shape, 1, dtype=dtype, device=masked.device)
        return conditions, torch.stack([~masked, masked], dim=-1).to(dtype)

    def _visible(self, eligible: Tensor) -> Tensor:
        """Return the block of each row's first eligible position, ``[B, L]`` bool."""
        block = torch.arange(eligible.shape[1], device=eligible.device) // cast(
            int, self.context_block
        )
        return block == block[eligible.int().argmax(1), None]

    def _time_features(self, time: Tensor) -> Tensor:
        """Return the time's part of the condition, ``[B, W]``."""
        waves = sinusoid(time.float(), self.width, self.max_period)
        if self.round_time:
            waves = waves.bfloat16()
        return cast(nn.Module, self.time_mlp)(waves.to(self.confidence_proj.weight.dtype))

    def _speed_features(self, observation: Observation) -> Tensor:
        """Return the speed's part of the condition, and of the last features, ``[B, 2 W]``."""
        speed = observation.signals.get(SPEED.name)
        if speed is None:
            raise ValueError(
                "the network is conditioned on a speed (speed=True) and got none; wrap the policy "
                "in lit_unmask.policies.Conditioned, or pass Choice(signals={'speed': ...})"
            )
        waves = sinusoid((speed.float() + _SPEED_OFFSET).log(), self.width, _SPEED_PERIOD)
        net = cast(nn.Module, self.speed_mlp)
        return net(waves.to(self.confidence_proj.weight.dtype))


def silu_net(width: int) -> nn.Sequential:
    """Return a small net of one hidden layer that keeps the width."""
    return nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))


def _speed_net(width: int) -> nn.Sequential:
    """Return a small net that gives ``2 W`` zeros until it is trained."""
    last = nn.Linear(width, 2 * width)
    for weight in last.parameters():
        nn.init.zeros_(weight)
    return nn.Sequential(nn.Linear(width, width), nn.SiLU(), last)
