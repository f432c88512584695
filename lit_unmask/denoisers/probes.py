"""Start-up probes: a checkpoint that loads without an error may still be no denoiser."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lit_unmask.denoisers.layout import StockNetwork, rotary_base

# Few positions and several last tokens, so that their effect survives rounding to bfloat16.
PROBE_LENGTH = 4
PROBE_ROWS = 8
# Largest difference that padding may make, relative to the largest state. Attention that sees
# the padding of the probe changes states by their own size.
PADDING_TOLERANCE = {torch.float32: 1e-3, torch.float16: 0.1, torch.bfloat16: 0.1}
ROTARY_TOLERANCE = 1e-3


def run_probes(network: StockNetwork, token_ids: Mapping[str, int]) -> None:
    """Check that a network is bidirectional, repeatable, blind to padding and whole.

    Takes three forwards of 8 to 32 tokens.

    Args:
        network: Stock network, in evaluation mode.
        token_ids: Special tokens by role; each must have an embedding.

    Raises:
        RuntimeError: Names the probe that failed and the remedy.
    """
    _probe_vocabulary(network, token_ids)
    _probe_rotary(network)
    _probe_forward(network)


def _probe_vocabulary(network: StockNetwork, token_ids: Mapping[str, int]) -> None:
    rows = network.model.embed_tokens.weight.shape[0]
    for role, token in token_ids.items():
        if not 0 <= token < rows:
            raise RuntimeError(
                f"vocabulary probe: {role} token id {token} must lie in [0, {rows}), the rows of "
                "the embedding; correct the id in config.json or use the tokenizer that belongs "
                "to the weights"
            )


def _probe_rotary(network: StockNetwork) -> None:
    """Compare the rotary frequencies with their formula; they are not part of a checkpoint."""
    found = network.model.rotary_emb.inv_freq
    exponent = torch.arange(found.numel(), device=found.device, dtype=torch.float32) / found.numel()
    expected = rotary_base(network.config) ** -exponent
    # Written so that NaN fails too.
    if not bool(((found.float() - expected).abs() <= ROTARY_TOLERANCE * expected).all()):
        raise RuntimeError(
            "rotary probe: rotary buffers are not base**(-2i/d), as if never initialised; load "
            "with transformers>=5.2 and do not cast buffers below their precision"
        )


@torch.no_grad()
def _probe_forward(network: StockNetwork) -> None:
    device = network.model.embed_tokens.weight.device
    vocab_size = network.config.vocab_size
    tokens = (torch.arange(PROBE_LENGTH, device=device) % vocab_size).repeat(PROBE_ROWS, 1)
    tokens[:, -1] = torch.arange(PROBE_ROWS, device=device) * vocab_size // PROBE_ROWS
    first, again = _states(network, tokens), _states(network, tokens)
    logits = network.lm_head(first)
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
    if torch.equal(logits[:, 0], logits[:1, 0].expand(PROBE_ROWS, -1)):
        raise RuntimeError(
            "bidirectional probe: changing the last token does not change the logits at position "
            "0, so attention is causal; use transformers>=5.2 and config.is_causal=False"
        )
    _probe_padding(network, tokens[:1], first[:1])


def _probe_padding(network: StockNetwork, tokens: Tensor, expected: Tensor) -> None:
    padded = torch.cat([tokens.flip(1), tokens], dim=1)
    attention = torch.ones_like(padded, dtype=torch.bool)
    attention[:, :PROBE_LENGTH] = False
    found = _states(network, padded, attention)[:, PROBE_LENGTH:]
    difference = (found - expected).abs().max().item()
    limit = PADDING_TOLERANCE[expected.dtype] * expected.abs().max().item()
    if not difference <= limit:
        raise RuntimeError(
            f"padding probe: left padding changes states by {difference:.1e}, more than "
            f"{limit:.1e}, so padding is attended to; use an attention implementation that honours "
            "the attention mask"
        )


def _states(network: StockNetwork, tokens: Tensor, attention: Tensor | None = None) -> Tensor:
    outputs = network.model(input_ids=tokens, attention_mask=attention, use_cache=False)
    return outputs.last_hidden_state
