"""Drafts of a denoiser, of which an autoregressive model lets a beginning stand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig, PreTrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from lit_unmask.denoisers.face import Adjust, Denoiser
from lit_unmask.denoisers.families.stock import DType
from lit_unmask.denoisers.loading.checkpoint import config_hash, read_config
from lit_unmask.denoisers.loading.hub import is_hub_id, local_folder, resolve
from lit_unmask.denoisers.loading.loading import check_dtype, load_network
from lit_unmask.denoisers.loading.placement import Placement
from lit_unmask.denoisers.loading.tokenizer import load_tokenizer
from lit_unmask.denoisers.network import NetworkDenoiser
from lit_unmask.denoisers.running.cache import Kept
from lit_unmask.denoisers.running.reduction import Draw
from lit_unmask.denoisers.running.sequences import Sequences
from lit_unmask.denoisers.wrappers.base import Wrapper
from lit_unmask.randomness import gumbel
from lit_unmask.types import HIDDEN, SIGNALS, Prompt, Reading, Signals

AUTOREGRESSIVE = "autoregressive"
"""Kind of the forwards of an autoregressive model."""


class AdaptiveParallel(Wrapper):
    """Lets stand as much of a draft as a mixture with an autoregressive model says too.

    Source: adaptive parallel decoding, arXiv 2506.00413. The denoiser drafts all masks, the
    autoregressive model reads the filled text, and from left to right a draft stands while it is
    what the mixture ``mixture * z_denoiser + (1 - mixture) * z_autoregressive`` of their logits
    says there; the first that is not becomes the mixture's token, and ends it. At a positive token
    temperature ``T`` both are ``argmax(z / T + g)`` with one Gumbel vector ``g`` for each position,
    the same at all steps. So mixture 0 decodes, token for token, what the autoregressive model
    draws alone with that noise, mixture 1 accepts all drafts, and each step commits something.

    Proposals are these tokens. Their confidence is 1, that of all other positions 0: decode with
    ``ConfidenceThreshold``, at any threshold below 1. Each reading costs a forward of the
    autoregressive model beside the denoiser's. What wraps this one changes the denoiser's logits.

    Deviations: the release always lets the first draft stand and leaves out the mixture's token
    where they part (``first_accepted``), by which mixture 0 is no longer the autoregressive model;
    its mixture is greedy whatever the temperature, its drafts are cut to a nucleus. There the
    denoiser sees masks of the window alone, here all of the response. Nothing is cached.

    Args:
        inner: The denoiser, of one network.
        autoregressive: Folder or hub id of a causal language model of transformers with the ids
            of the denoiser's tokenizer; runs no code of its own.
        revision: Its commit on the hub.
        dtype: Type of its weights.
        mixture: Weight of the denoiser's logits, in ``[0, 1]``.
        window: Most masks, from the left, that may be committed by a step; None for all.
        first_accepted: Whether to follow the release in what stands.

    Raises:
        FileNotFoundError: If there is no such model.
        ValueError: If a number is out of range, the denoiser is wrapped already, or the model has
            other tokens or is of no causal class of transformers.
    """

    def __init__(
        self,
        inner: Denoiser,
        autoregressive: str,
        revision: str | None = None,
        dtype: DType = "float32",
        mixture: float = 0.5,
        window: int | None = None,
        first_accepted: bool = False,
    ) -> None:
        super().__init__(inner)
        folder, self.revision = resolve(autoregressive, revision)
        self.autoregressive, self.dtype, self.mixture = autoregressive, dtype, mixture
        self.window, self.first_accepted = window, first_accepted
        self.check(**self.settings | {"inner": inner, "autoregressive": str(folder)})
        self._config_hash, config = config_hash(read_config(folder)), _config(folder)
        architecture: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
        self.model = load_network(folder, architecture, config, dtype, Placement())
        self.shared = min(inner.vocab_size, config.get_text_config().vocab_size)
        longest = getattr(config.get_text_config(), "max_position_embeddings", None)
        self.max_length = min(inner.max_length, longest or inner.max_length)
        self.same_draws = True
        self.requires_grad_(False)
        self.eval()

    @classmethod
    def check(
        cls,
        inner: Denoiser,
        autoregressive: str,
        dtype: str = "float32",
        mixture: float = 0.5,
        window: int | None = None,
        **_: object,
    ) -> None:
        """Refuse what cannot work before any weights are read; see :meth:`Wrapper.check`."""
        check_dtype(dtype)
        if not 0 <= mixture <= 1:
            raise ValueError(
                f"mixture={mixture} must lie in [0, 1]; it is the denoiser's share of the logits"
            )
        if window is not None and window < 1:
            raise ValueError(f"window={window} must be at least 1 mask, or null for all")
        if not isinstance(inner, NetworkDenoiser):
            raise ValueError(
                f"inner={type(inner).__name__} must be a denoiser of one network, as its output "
                "layer is asked twice; put other wrappers around this one"
            )
        if local_folder(autoregressive) is not None or not is_hub_id(autoregressive):
            # What is on the hub is not fetched for a check.
            _check_tokens(inner, resolve(autoregressive, None)[0])

    @property
    def identity(self) -> dict[str, str | None]:
        """What names the denoiser, the wrapper and the config of the autoregressive model."""
        return super().identity | {AUTOREGRESSIVE: self._config_hash}

    def check_signals(self, signals: Signals) -> None:
        """Refuse all but one confidence; see :meth:`Denoiser.check_signals`."""
        names = {name for name in signals.names if not SIGNALS[name].condition}
        if names or signals.top_k > 1:
            raise ValueError(
                f"AdaptiveParallel says of a position only whether its token is accepted, and the "
                f"policy or what stands beside it looks at {Signals(signals.top_k, names)}; decode "
                "by lit_unmask.policies.ConfidenceThreshold"
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
        adjust: Adjust | None = None,
    ) -> Reading:
        """Ask both models once; see :meth:`Denoiser.forward`.

        Raises:
            ValueError: If keys and values are kept, a prompt is empty, or an argument does not fit.
        """
        self.check_signals(signals)
        if kept is not None:
            raise ValueError(
                "an autoregressive model reads whole texts, of which a cache computes a part; "
                "leave out decoding.approximate.cache or AdaptiveParallel"
            )
        if not bool(prompt.attention.any(1).all()):
            raise ValueError(
                "an autoregressive model predicts the first token from the prompt's last; every "
                "prompt must hold at least one token"
            )
        draw = Draw.of(response, uniform, temperature)

        def part(rows: slice) -> Reading:
            one = Prompt(prompt.tokens[rows], prompt.attention[rows])
            first = rows.start * response.shape[1]

            def change(logits: Tensor, place: Tensor) -> Tensor:
                logits = logits if adjust is None else adjust(logits, place + first)
                logits[:, self.shared :] = -torch.inf
                return logits

            return self._read(one, response[rows], draw and draw.select(rows), change)

        reading: Reading = Reading.cat(self.row_limit.run(part, len(response)))
        return reading

    def _read(self, prompt: Prompt, response: Tensor, draw: Draw | None, change: Adjust) -> Reading:
        """Return what is accepted of rows that fit into memory together."""
        network = self.inner
        assert isinstance(network, NetworkDenoiser)

        def noised(logits: Tensor, place: Tensor) -> Tensor:
            if draw is None:
                return logits
            numbers, column = draw.uniform.flatten().to(place.device)[place], place % length
            return logits.add_(gumbel(numbers, column, logits.shape[1]).mul_(draw.temperature))

        def drafting(logits: Tensor, place: Tensor) -> Tensor:
            return noised(change(logits, place), place)

        def mixing(logits: Tensor, place: Tensor) -> Tensor:
            logits = change(logits, place)
            impossible = logits == -torch.inf
            other = theirs[place.to(theirs.device)].to(logits).mul_(1 - self.mixture)
            logits.mul_(self.mixture)[:, : self.shared].add_(other)
            return noised(logits.masked_fill_(impossible, -torch.inf), place)

        length = response.shape[1]
        draft = network(prompt, response, Signals(1, {HIDDEN.name}), adjust=drafting)
        filled = torch.where(response == self.mask_id, draft.proposal, response)
        theirs = self._logits(prompt, filled)
        states = draft.signals[HIDDEN.name]
        target = network.read(states, Signals(), None, None, mixing)
        tokens, accepted = self._accepted(response, draft.proposal, target.proposal)
        # What is not finite shows in a confidence, also in one that says something else.
        finite = 0 * (draft.confidence + target.confidence)
        price = dict(draft.price) | {AUTOREGRESSIVE: torch.ones_like(tokens[:, 0])}
        return Reading(tokens, accepted.float()[..., None] + finite, {}, price)

    def _accepted(self, response: Tensor, draft: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return the proposals ``[B, L]`` int64, and which of them are accepted, ``[B, L]`` bool.

        Args:
            response: ``[B, L]`` int64, the buffers.
            draft: ``[B, L]`` int64, what the denoiser says.
            target: ``[B, L]`` int64, what the mixture says after the drafts before.
        """
        masked = response == self.mask_id
        order = masked.cumsum(1)
        window = masked if self.window is None else masked & (order <= self.window)
        if self.first_accepted:
            target = torch.where(order == 1, draft, target)
        wrong = window & (draft != target)
        behind = wrong.cumsum(1) - (0 if self.first_accepted else wrong.long())
        accepted = window & (behind == 0)
        return torch.where(accepted, target, draft), accepted

    def _logits(self, prompt: Prompt, text: Tensor) -> Tensor:
        """Return the model's logits of texts ``[B, L]``, ``[B * L, shared]`` in its own type."""
        call, length = Sequences.padded(prompt, text, shift=True), text.shape[1]
        said = self.model(
            input_ids=call.tokens,
            attention_mask=call.attention,
            position_ids=call.positions,
            use_cache=False,
            logits_to_keep=length + 1,
        )
        logits: Tensor = said.logits[:, -length - 1 : -1, : self.shared]
        return logits.flatten(0, 1)


def _config(folder: Path) -> PreTrainedConfig:
    """Return a model's config; raise ValueError if transformers has no causal class for it."""
    kind = read_config(folder).get("model_type")
    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise ValueError(
            f"config.json of {folder}: model_type={kind!r} is none of the causal language models "
            "of transformers; give one of these, as a 'llama' or 'qwen2'"
        )
    config: PreTrainedConfig = AutoConfig.from_pretrained(  # nosec B615  # a folder
        folder, local_files_only=True, trust_remote_code=False
    )
    return config


def _check_tokens(inner: Denoiser, folder: Path) -> None:
    """Refuse a model whose tokens are not those of the denoiser.

    Special tokens that only the denoiser has are allowed, as those that Dream adds to Qwen2.5's.

    Raises:
        ValueError: If ids differ, or a token has no row in the model's embedding.
    """
    rows = _config(folder).get_text_config().vocab_size
    known, theirs = inner.tokenizer.get_vocab(), load_tokenizer(folder).get_vocab()
    added = inner.tokenizer.get_added_vocab()
    pairs = {token: (known.get(token), theirs.get(token)) for token in known | theirs}
    for token, (mine, other) in pairs.items():
        if mine != other and not (other is None and token in added):
            raise ValueError(
                f"token {token!r} has the id {mine} for the denoiser and {other} in {folder}; both "
                "models must share a tokenizer, so choose an autoregressive model with its ids"
            )
        if mine is not None and mine != inner.mask_id and mine >= rows:
            raise ValueError(
                f"token {token!r} has the id {mine}, but the embedding of {folder} has {rows} "
                "rows; choose an autoregressive model with the denoiser's vocabulary"
            )
