"""Start-up probes: a checkpoint that loads without an error may still be no denoiser."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lit_unmask.denoisers.families.layout import StockNetwork, rotary_base

# Few positions and several last tokens, so that their effect survives rounding to bfloat16.
PROBE_LENGTH = 4
PROBE_ROWS = 8
# Largest difference that padding may make, relative to the largest state. Attention that sees
# the padding of the probe changes states by their own size.
PADDING_TOLERANCE = {torch.float32: 1e-3, torch.float16: 0.1, torch.bfloat16: 0.1}
ROTARY_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Probed:
    """The network of a denoiser, as far as probes ask for it.

    Attributes:
        states: Tokens ``[B, S]`` and attention ``[B, S]`` or None -> states ``[B, S, D]``.
        logits: States -> logits ``[B, S, V]``.
        vocab_size: Vocabulary **V**.
        device: Where tokens go.
        causal: Whether it must look ahead nowhere; it must look everywhere otherwise.
    """

    states: Callable[[Tensor, Tensor | None], Tensor]
    logits: Callable[[Tensor], Tensor]
    vocab_size: int
    device: torch.device
    causal: bool = False


@torch.no_grad()
def run_probes(probed: Probed) -> None:
    """Check that a network is bidirectional or causal, repeatable, blind to padding and finite.

    Takes three forwards of 8 to 32 tokens.

    Raises:
        RuntimeError: Names the probe that failed and the remedy.
    """
    tokens = probe_tokens(probed.vocab_size, probed.device)
    first, again = probed.states(tokens, None), probed.states(tokens, None)
    logits = probed.logits(first)
    if not bool(logits.isfinite().all()):
        raise RuntimeError(
            "finite probe: logits are not finite; the weights are damaged, or overflow their "
            "dtype (try bfloat16 or float32)"
        )
    if not torch.equal(first, again):
        raise RuntimeError(
            "repeatable probe: two forwards on the same tokens differ; switch off dropout and use "
            "deterministic kernels"
        )
    blind = torch.equal(logits[:, 0], logits[:1, 0].expand(PROBE_ROWS, -1))
    if probed.causal and not blind:
        raise RuntimeError(
            "causal probe: changing the last token changes the logits at position 0, so attention "
            "looks ahead; use config.is_causal=True"
        )
    if blind and not probed.causal:
        raise RuntimeError(
            "bidirectional probe: changing the last token does not change the logits at position "
            "0, so attention is causal; use transformers>=5.2 and config.is_causal=False"
        )
    _probe_padding(probed, tokens[:1], first[:1])


def probe_tokens(vocab_size: int, device: torch.device) -> Tensor:
    """Return rows ``[8, 4]`` that differ in their last token alone."""
    tokens = (torch.arange(PROBE_LENGTH, device=device) % vocab_size).repeat(PROBE_ROWS, 1)
    tokens[:, -1] = torch.arange(PROBE_ROWS, device=device) * vocab_size // PROBE_ROWS
    return tokens


def _probe_padding(probed: Probed, tokens: Tensor, expected: Tensor) -> None:
    others = (tokens + probed.vocab_size // 2) % probed.vocab_size
    padded = torch.cat([others, tokens], dim=1)
    attention = torch.ones_like(padded, dtype=torch.bool)
    attention[:, :PROBE_LENGTH] = False
    found = probed.states(padded, attention)[:, PROBE_LENGTH:]
    difference = (found - expected).abs().max().item()
    limit = PADDING_TOLERANCE[expected.dtype] * expected.abs().max().item()
    if not difference <= limit:
        raise RuntimeError(
            f"padding probe: left padding changes states by {difference:.1e}, more than "
            f"{limit:.1e}, so padding is attended to; use an attention implementation that honours "
            "the attention mask"
        )


def probe_rotary(network: StockNetwork) -> None:
    """Compare the rotary frequencies with their formula; they are not part of a checkpoint.

    Raises:
        RuntimeError: If they differ, as where buffers were never initialised.
    """
    found = network.model.rotary_emb.inv_freq
    exponent = torch.arange(found.numel(), device=found.device, dtype=torch.float32) / found.numel()
    expected = rotary_base(network.config) ** -exponent
    # Written so that NaN fails too.
    if not bool(((found.float() - expected).abs() <= ROTARY_TOLERANCE * expected).all()):
        raise RuntimeError(
            "rotary probe: rotary buffers are not base**(-2i/d), as if never initialised; load "
            "with transformers>=5.2 and do not cast buffers below their precision"
        )
