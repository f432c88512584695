"""The frozen denoiser behind one face: tokens in, proposals and signals out."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from lit_unmask.denoisers import checkpoint
from lit_unmask.denoisers.cache import Kept
from lit_unmask.denoisers.layout import Layout
from lit_unmask.denoisers.memory import RowLimit
from lit_unmask.denoisers.probes import run_probes
from lit_unmask.denoisers.reduction import check_noise, join, reduce_logits
from lit_unmask.denoisers.text import ChatText
from lit_unmask.types import DenoiserOutput, Prompt, Signals

DType = Literal["float32", "bfloat16", "float16"]

# In float32 16 MiB, to stay in a CPU's caches, and 256 MiB, to keep an accelerator busy.
MAX_LOGITS_CPU = 2**22
MAX_LOGITS_ACCELERATOR = 2**26


class Denoiser(Layout, ChatText, nn.Module):
    """A frozen masked diffusion language model: a stock network that attends in both directions.

    A subclass says which stock architecture it is and how the original checkpoint maps to it.
    Parameters never get gradients and the module is always in evaluation mode.

    Args:
        path: A folder, a bundled name such as ``tiny-llada``, or a hub id.
        revision: Commit, tag or branch on the hub; None for folders and bundled names.
        dtype: Type of the weights; softmax is float32 whatever it is.
        max_logits: Largest number of logits (positions times **V**) that exist at once; bounds
            memory, does not change results. None takes what is fast on the device.

    Attributes:
        shift: Whether the state at position ``i - 1`` predicts token ``i``.
        tokenizer: The checkpoint's tokenizer, with its chat template.
        mask_id: Token id of the mask.
        pad_id: Token id of padding.
        end_ids: Token ids of which the first to appear ends a response.
        max_length: Largest prompt plus response, in tokens.
        network: The stock network.
        row_limit: Most rows in one call of the network, found out by running out of memory.

    Raises:
        FileNotFoundError: If the checkpoint, or a part of it, cannot be found.
        ValueError: If its config or weights do not fit; the message names fields or keys.
        RuntimeError: If a start-up probe fails.
    """

    shift: ClassVar[bool]

    def __init__(
        self,
        path: str,
        revision: str | None = None,
        dtype: DType = "float32",
        max_logits: int | None = None,
    ) -> None:
        super().__init__()
        if max_logits is not None and max_logits < 1:
            raise ValueError(f"max_logits={max_logits} must be at least 1")
        folder, commit = checkpoint.resolve(path, revision)
        original = checkpoint.read_config(folder)
        config = self.stock_config(original)
        self.network: Any = checkpoint.load_network(
            folder, self.architecture, config, self.key_mapping, dtype
        )
        self.tokenizer: PreTrainedTokenizerBase = checkpoint.load_tokenizer(folder)
        self.mask_id: int = config.token_ids["mask"]
        self.pad_id: int = config.token_ids["pad"]
        known = self.tokenizer.get_vocab()
        ends = [config.token_ids[role] for role in self.end_roles]
        ends += [known[token] for token in self.end_tokens if token in known]
        self.end_ids = tuple(dict.fromkeys(ends))
        self.max_length: int = config.max_position_embeddings
        self.max_logits = max_logits
        self.row_limit = RowLimit()
        self._identity: dict[str, str | None] = {
            "path": path,
            "revision": commit,
            "config_hash": checkpoint.config_hash(original),
        }
        self.requires_grad_(False)
        self.eval()
        self.probe()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.network.lm_head.weight.device

    @property
    def vocab_size(self) -> int:
        """Vocabulary **V**, mask token included."""
        return self.network.config.vocab_size

    @property
    def width(self) -> int:
        """Hidden width **D**."""
        return self.network.config.hidden_size

    @property
    def identity(self) -> dict[str, str | None]:
        """What a policy's checkpoint records: ``path``, ``revision`` and ``config_hash``."""
        return dict(self._identity)

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode, whatever the module around it does."""
        return super().train(False)

    def probe(self) -> None:
        """Check on short inputs that the loaded network is the denoiser it claims to be.

        Raises:
            RuntimeError: If the network is causal, sees padding, is not repeatable, has broken
                rotary buffers, or lacks a row for a special token.
        """
        ids = {"mask": self.mask_id, "padding": self.pad_id}
        run_probes(self.network, ids | {f"end ({token})": token for token in self.end_ids})

    def check_length(self, prompt: Prompt, gen_length: int) -> None:
        """Refuse a sequence with more positions than the model has.

        Args:
            prompt: The prompts.
            gen_length: Generation length **L**.

        Raises:
            ValueError: If ``P + L`` exceeds ``max_length``.
        """
        prompt_length = prompt.tokens.shape[1]
        if prompt_length + gen_length > self.max_length:
            raise ValueError(
                f"prompt length {prompt_length} + gen_length={gen_length} exceeds the model's "
                f"max_length={self.max_length}; lower gen_length or max_prompt_length"
            )

    @torch.no_grad()
    def forward(
        self,
        prompt: Prompt,
        response: Tensor,
        signals: Signals,
        uniform: Tensor | None = None,
        temperature: float = 0.0,
        kept: Kept | None = None,
    ) -> DenoiserOutput:
        """Propose a token for every position of the response, and say how sure the model is.

        Args:
            prompt: **B** prompts.
            response: ``[B, L]`` int64, masks where nothing is committed yet.
            signals: What to return beside the proposal. ``hidden`` is the state that predicts the
                position, after the final norm, in the network's dtype.
            uniform: ``[B, L]`` float32 in ``[0, 1)``, needed at a positive temperature: the
                proposal is where the cumulative distribution first exceeds it.
            temperature: 0 proposes the most probable token, above 0 a draw from
                ``softmax(logits / temperature)``. Confidence and entropy are at temperature 1.
            kept: Keys and values to keep, or to attend to while only a span is computed.

        Returns:
            Proposals and signals, of the span alone (``[B, W]``) if there is one.

        Raises:
            ValueError: If shapes, ``top_k``, ``temperature``, ``uniform`` or ``kept`` do not fit.
        """
        self._check(prompt, response)
        if not 1 <= signals.top_k < self.vocab_size:
            raise ValueError(f"top_k={signals.top_k} must lie in [1, {self.vocab_size - 1}]")
        noise = check_noise(response, uniform, temperature)
        if kept is not None:
            kept.check(len(response), prompt.tokens.shape[1], response.shape[1])
            if noise is not None and kept.span is not None:
                noise = noise.gather(1, kept.span.positions)

        def part(rows: slice) -> DenoiserOutput:
            drawn = None if noise is None else noise[rows].flatten()
            one = Prompt(prompt.tokens[rows], prompt.attention[rows])
            states = self._states(one, response[rows], kept and kept.select(rows))
            return self._read(states, signals, drawn, temperature)

        return DenoiserOutput.cat(self.row_limit.run(part, len(response)))

    def _read(
        self, states: Tensor, signals: Signals, noise: Tensor | None, temperature: float
    ) -> DenoiserOutput:
        """Reduce the logits of states ``[B, W, D]``; ``noise`` is ``[B * W]`` or None."""
        shape = states.shape[:2]
        flat = states.flatten(0, 1)
        chunk = self._chunk()
        parts = []
        for start in range(0, len(flat), chunk):
            piece = None if noise is None else noise[start : start + chunk]
            logits = self._head(flat[start : start + chunk])
            parts.append(reduce_logits(logits, signals, self.mask_id, piece, temperature))
        proposal, confidence, entropy = join(parts)
        return DenoiserOutput(
            proposal.view(shape),
            confidence.view(*shape, signals.top_k),
            None if entropy is None else entropy.view(shape),
            states if signals.hidden else None,
        )

    @torch.no_grad()
    def logits(self, prompt: Prompt, response: Tensor) -> Tensor:
        """Return all logits of the response; large, so for small models and tests.

        Args:
            prompt: **B** prompts.
            response: ``[B, L]`` int64.

        Returns:
            ``[B, L, V]`` float32, ``-inf`` at the mask token.
        """
        self._check(prompt, response)
        return self._head(self._states(prompt, response))

    def _chunk(self) -> int:
        """Return the number of positions whose logits may exist at once."""
        on_cpu = self.device.type == "cpu"
        limit = self.max_logits or (MAX_LOGITS_CPU if on_cpu else MAX_LOGITS_ACCELERATOR)
        return max(1, limit // self.vocab_size)

    def _head(self, states: Tensor) -> Tensor:
        """Turn states ``[..., D]`` into float32 logits ``[..., V]`` that never propose the mask."""
        logits = self.network.lm_head(states).float()
        logits[..., self.mask_id] = -torch.inf
        return logits

    def _states(self, prompt: Prompt, response: Tensor, kept: Kept | None = None) -> Tensor:
        """Return the final states ``[B, L, D]`` that predict the response, or its span."""
        tokens = torch.cat([prompt.tokens, response], 1)
        columns = tokens.shape[1]
        attention = positions = places = cache = None
        if not bool(prompt.attention.all()):
            attention = torch.cat(
                [prompt.attention, torch.ones_like(response, dtype=torch.bool)], 1
            )
            # As without padding, so that rotations round alike.
            positions = (attention.cumsum(1) - 1).clamp_(min=0)
        start, length = prompt.tokens.shape[1] - int(self.shift), response.shape[1]
        if kept is not None and kept.span is not None:
            # The span's own tokens, as their keys and values are what is new, and before them the
            # one whose state predicts the first, if shifted.
            length = kept.span.length
            places = start + kept.span.start[:, None]
            places = places + torch.arange(length + int(self.shift), device=places.device)
            tokens = tokens.gather(1, places)
            positions = places if positions is None else positions.gather(1, places)
            start = 0
        if kept is not None:
            cache = kept.cache(self.network.config.num_hidden_layers, places, columns)
        states = self.network.model(
            input_ids=tokens,
            attention_mask=attention,
            position_ids=positions,
            past_key_values=cache,
            use_cache=cache is not None,
        ).last_hidden_state
        return states[:, start : start + length]

    def _check(self, prompt: Prompt, response: Tensor) -> None:
        """Check that response and prompt are rows of one batch."""
        if response.ndim != 2 or response.shape[0] != len(prompt) or not response.numel():
            raise ValueError(
                f"response of shape {tuple(response.shape)} must be [B, L] with B={len(prompt)}, "
                "the rows of the prompt, and not empty"
            )
        if self.shift and prompt.tokens.shape[1] == 0:
            raise ValueError(
                f"{type(self).__name__} predicts the first token from the prompt's last; the "
                "prompt must hold at least one token"
            )
