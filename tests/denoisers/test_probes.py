"""Start-up probes: each catches the broken denoiser it is named after."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lit_unmask.denoisers import CausalQwen2, LLaDA
from lit_unmask.denoisers.loading.checkpoint import check_transformers
from tests.denoisers.conftest import Writer


@pytest.fixture
def folder(write_checkpoint: Writer) -> Path:
    """A fresh checkpoint that a test may damage."""
    return write_checkpoint(LLaDA)


def test_weights_that_are_not_finite_fail_the_probe(folder: Path) -> None:
    file = folder / "model.safetensors"
    weights = load_file(file) | {"model.transformer.ln_f.weight": torch.full((16,), torch.nan)}
    save_file(weights, file, metadata={"format": "pt"})
    (folder / "SHA256SUMS").unlink()
    with pytest.raises(RuntimeError, match="finite probe"):
        LLaDA(str(folder))


class Causal(LLaDA):
    """LLaDA that forgot to look ahead."""

    @classmethod
    def stock_config(cls, original):
        """Return the config of a causal network."""
        config = super().stock_config(original)
        config.is_causal = True
        return config


def test_a_causal_network_fails_the_probe(folder: Path) -> None:
    with pytest.raises(RuntimeError, match=r"bidirectional probe.*is_causal=False"):
        Causal(str(folder))


def test_a_network_that_looks_ahead_fails_the_probe_of_a_causal_one(
    write_checkpoint: Writer,
) -> None:
    denoiser = CausalQwen2(str(write_checkpoint(CausalQwen2)))
    denoiser.network.config.is_causal = False
    with pytest.raises(RuntimeError, match=r"causal probe.*is_causal=True"):
        denoiser.probe()


@pytest.mark.parametrize("value", [torch.nan, 0.5])
def test_uninitialised_rotary_buffers_fail_the_probe(llada: LLaDA, value: float) -> None:
    broken = copy.deepcopy(llada)
    broken.network.model.rotary_emb.inv_freq.fill_(value)
    with pytest.raises(RuntimeError, match="rotary probe"):
        broken.probe()


def test_dropout_fails_the_probe(llada: LLaDA) -> None:
    broken = copy.deepcopy(llada)
    broken.network.model.norm = torch.nn.Dropout(0.5).train()
    with pytest.raises(RuntimeError, match="repeatable probe"):
        broken.probe()


class Unmasked(torch.nn.Module):
    """A body that ignores the attention mask, as LLaDA's original code does."""

    def __init__(self, body: torch.nn.Module) -> None:
        super().__init__()
        self.body, self.rotary_emb = body, body.rotary_emb
        self.embed_tokens = body.embed_tokens

    def forward(self, input_ids, attention_mask, **arguments):
        """Run without the mask."""
        return self.body(input_ids=input_ids, **arguments)


def test_a_network_that_sees_padding_fails_the_probe(llada: LLaDA) -> None:
    broken = copy.deepcopy(llada)
    broken.network.model = Unmasked(broken.network.model)
    with pytest.raises(RuntimeError, match="padding probe"):
        broken.probe()


@pytest.mark.parametrize("version", ["4.57.1", "5.0.0", "5.1.2"])
def test_transformers_that_ignore_is_causal_are_refused(version: str) -> None:
    with pytest.raises(RuntimeError, match=r"transformers>=5\.2"):
        check_transformers(version)


@pytest.mark.parametrize("version", ["5.2.0", "5.23.0", "6.0.0.dev0"])
def test_later_transformers_are_accepted(version: str) -> None:
    check_transformers(version)
