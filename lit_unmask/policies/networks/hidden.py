"""A policy network that also sees the denoiser's final hidden states."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from lit_unmask.policies.networks.confidence import ConfidenceTransformer
from lit_unmask.types import HIDDEN, Observation, Signals


class HiddenTransformer(ConfidenceTransformer):
    """The small adaLN transformer with a projection of the final hidden state added to its input.

    The hidden state of each position is normalised (LayerNorm) and mapped to the width; confidence,
    mask flag and time enter as in :class:`ConfidenceTransformer`. The map is zero at the start, so
    that the logits are then those of the network without it. Small heads on hidden states are
    those of OnTrack (top-1 confidence and a projected hidden state) and dUltra (mask embedding and
    the unmasked share as conditions); the block-sized one of arXiv 2512.09106 did worse than
    confidences alone.

    Args:
        hidden_width: Width **D** of the denoiser's hidden states.
        width: Channels.
        heads: Attention heads.
        feed_forward: Hidden width of the feed-forward net.
        layers: Transformer blocks.
        top_p: Largest token probabilities for each position, **K**.
        output_bias: Initial bias of the logits.
        confidence_gain: Fixed slope that the largest probability adds to the logits.
        speed: Whether the speed of the answer is a further part of the condition.

    Raises:
        ValueError: If ``width`` does not fit ``heads``, or a count is below 1.
    """

    def __init__(
        self,
        hidden_width: int,
        width: int = 128,
        heads: int = 2,
        feed_forward: int = 512,
        layers: int = 1,
        top_p: int = 1,
        output_bias: float = -2.0,
        confidence_gain: float = 0.0,
        speed: bool = False,
    ) -> None:
        sizes: dict[str, Any] = {
            "width": width, "heads": heads, "feed_forward": feed_forward, "layers": layers,
        }  # fmt: skip
        super().__init__(
            **sizes, top_p=top_p, output_bias=output_bias, confidence_gain=confidence_gain,
            speed=speed,
        )  # fmt: skip
        if hidden_width < 1:
            raise ValueError(f"hidden_width={hidden_width} must be at least 1")
        self.hidden_width = hidden_width
        self.signals = self.signals | Signals(names={HIDDEN.name})
        self.hidden_norm = nn.LayerNorm(hidden_width)
        self.hidden_proj = nn.Linear(hidden_width, width)
        nn.init.zeros_(self.hidden_proj.weight)
        nn.init.zeros_(self.hidden_proj.bias)

    def embed(self, observation: Observation) -> Tensor:
        """Return what enters the first block, ``[B, L, W]`` float.

        Raises:
            ValueError: If there is no hidden state, or it has another width.
        """
        hidden = observation[HIDDEN]
        if hidden.shape[-1] != self.hidden_width:
            raise ValueError(
                f"hidden_width={self.hidden_width} must be the width of the denoiser's hidden "
                f"states, which is {hidden.shape[-1]}"
            )
        normed = self.hidden_norm(hidden.to(self.hidden_proj.weight.dtype))
        return super().embed(observation) + self.hidden_proj(normed)
