"""Denoisers that run as stock transformers classes, so that no code comes with a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from transformers import PreTrainedTokenizerBase
from transformers.cache_utils import Cache

from lit_unmask.denoisers.families.layout import Layout, StockConfig
from lit_unmask.denoisers.loading import hub
from lit_unmask.denoisers.loading.adapter import Adapter, FittingAdapter, fit
from lit_unmask.denoisers.loading.checkpoint import config_hash, read_config, refuse_other_family
from lit_unmask.denoisers.loading.headers import Shapes, read_shapes, refuse_misfit
from lit_unmask.denoisers.loading.loading import Loaded, check_dtype, empty_shapes, load_network
from lit_unmask.denoisers.loading.placement import Placement
from lit_unmask.denoisers.loading.probes import probe_rotary
from lit_unmask.denoisers.loading.tokenizer import check_vocabulary, load_tokenizer
from lit_unmask.denoisers.network import NetworkDenoiser
from lit_unmask.denoisers.running.cache import Kept
from lit_unmask.denoisers.running.compilation import Compile
from lit_unmask.denoisers.running.sharding import Shards

DType = Literal["float32", "bfloat16", "float16"]
HEAD = "lm_head.weight"


class StockDenoiser(Layout, NetworkDenoiser):
    """A denoiser in an original layout that a stock architecture fills.

    A subclass says which architecture it is and how the original checkpoint maps to it. Config,
    tokenizer, and the names and shapes of all weights are checked before any weight is loaded.

    Args:
        path: A folder, a bundled name such as ``tiny-llada``, or a hub id.
        revision: Commit on the hub; a tag or branch works, with a warning that it may move. None
            for folders and bundled names.
        dtype: Type of the weights; softmax is float32 whatever it is.
        max_logits: Largest number of logits (positions times **V**) that exist at once; bounds
            memory, does not change results. None takes what is fast on the device.
        placement: Device map and quantisation, for what does not fit one device.
        adapter: LoRA adapter to put on top.
        compile: How the layers are compiled; None runs them as they are.

    Raises:
        FileNotFoundError: If the checkpoint, or a part of it, cannot be found.
        ValueError: If its config, tokenizer or weights do not fit; names fields or keys.
        RuntimeError: If a start-up probe fails.
    """

    def __init__(
        self,
        path: str,
        revision: str | None = None,
        dtype: DType = "float32",
        max_logits: int | None = None,
        placement: Placement | None = None,
        adapter: Adapter | None = None,
        compile: Compile | None = None,
    ) -> None:
        if max_logits is not None and max_logits < 1:
            raise ValueError(f"max_logits={max_logits} must be at least 1")
        check_dtype(dtype)
        placement = placement or Placement()
        _refuse_rounding(adapter, placement)
        _refuse_compiling(compile, adapter, placement)
        folder, commit = hub.resolve(path, revision)
        written = read_config(folder)
        refuse_other_family(written, self.model_types, type(self).__name__)
        tokenizer = load_tokenizer(folder)
        original = self.complete(written, tokenizer)
        config = self.stock_config(original)
        check_vocabulary(tokenizer, config.token_ids, config.vocab_size)
        shapes = self._check_weights(folder, config)
        lora = None if adapter is None else self._fit(adapter, shapes, config)
        network = load_network(
            folder, self.architecture, config, dtype, placement, self.key_mapping
        )
        _refuse_untied(folder, network)
        identity = {"path": path, "revision": commit, "config_hash": config_hash(original)}
        loaded = Loaded(
            network=network if lora is None else lora.apply(network),
            tokenizer=tokenizer,
            mask_id=config.token_ids["mask"],
            pad_id=config.token_ids["pad"],
            end_ids=self._end_ids(config, tokenizer),
            max_length=config.max_position_embeddings,
            identity=identity | ({} if lora is None else lora.identity),
            placement=placement,
        )
        super().__init__(loaded, max_logits)
        self.compilation = compile
        self._compile()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Compile the copy too: what is compiled is no part of a module's state."""
        super().__setstate__(state)
        self._compile()

    def _compile(self) -> None:
        """Let the layers be compiled when they are first called."""
        if self.compilation is not None:
            self.network.model.compile(**self.compilation.arguments())

    @classmethod
    def _check_weights(cls, folder: Path, config: StockConfig) -> Shapes:
        """Compare names and shapes in the files with the network's; returns the latter."""
        shapes = empty_shapes(cls.architecture, config)
        head = cls.original_name(HEAD) if config.tie_word_embeddings else None
        refuse_misfit(
            read_shapes(folder),
            {cls.original_name(name): shape for name, shape in shapes.items()},
            head,
            f"weights in {folder} do not fit {cls.__name__}",
        )
        return shapes

    @classmethod
    def _fit(cls, adapter: Adapter, shapes: Shapes, config: StockConfig) -> FittingAdapter:
        """Compare an adapter with the network's layers, of which a tied head is none."""
        tied = config.tie_word_embeddings
        layers = {name: shape for name, shape in shapes.items() if not (tied and name == HEAD)}
        return fit(adapter, layers, {cls.original_name(name): name for name in layers})

    def shard(self, mesh: DeviceMesh) -> None:
        """Spread the weights over ranks by FSDP2, for a denoiser that is too large for one device.

        From now on the ranks make all forwards together, see
        :class:`~lit_unmask.denoisers.running.sharding.Shards`; in a trainer,
        :class:`lit_unmask.training.strategy.ShardedDenoiser` sees to it. What is decoded does not
        change.

        Raises:
            ValueError: If the weights are spread, placed by a device map, quantised or compiled
                already.
        """
        if self.shards is not None:
            raise ValueError("the denoiser's weights are spread over ranks already")
        if self.placement != Placement():
            raise ValueError(
                f"{self.placement} and weights spread over ranks exclude each other; leave the "
                "denoiser's placement out"
            )
        if self.compilation is not None:
            raise ValueError(
                f"{self.compilation} and weights spread over ranks exclude each other; leave the "
                "denoiser's compile out"
            )
        self.shards = Shards(self.network, self.network.model.layers, mesh)

    @property
    def vocab_size(self) -> int:
        """Vocabulary **V**, mask token included, also where the head is quantised."""
        return self.network.config.vocab_size

    @property
    def width(self) -> int:
        """Hidden width **D**."""
        return self.network.config.hidden_size

    def probe(self) -> None:
        """Check on short inputs that the loaded network is the denoiser it claims to be.

        Raises:
            RuntimeError: If the network is causal, sees padding, is not repeatable or has broken
                rotary buffers.
        """
        probe_rotary(self.network)
        super().probe()

    @classmethod
    def _end_ids(cls, config: StockConfig, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
        """Return the tokens that end a response, each once."""
        known = tokenizer.get_vocab()
        ends = [
            token for role, token in config.token_ids.items() if role.split("_")[0] in cls.end_roles
        ]
        ends += [known[token] for token in cls.end_tokens if token in known]
        return tuple(dict.fromkeys(ends))

    def _body(
        self,
        tokens: Tensor,
        attention: Tensor | None = None,
        positions: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        """Return the states ``[B, S, D]`` that the head reads, of tokens ``[B, S]``."""
        if self.compilation is not None:
            real = torch.ones_like(tokens, dtype=torch.bool) if attention is None else attention
            positions = real.cumsum(1) - 1 if positions is None else positions
            return self.compilation.call(self.network.model, tokens, real, positions)
        return self.network.model(
            input_ids=tokens,
            attention_mask=attention,
            position_ids=positions,
            past_key_values=cache,
            use_cache=cache is not None,
        ).last_hidden_state

    def _cache(self, kept: Kept, places: Tensor | None, columns: int) -> Cache:
        """Return the cache of one call of the network."""
        if self.compilation is not None:
            raise ValueError(
                "a compiled denoiser keeps no keys and values; leave out "
                "decoding.approximate.cache or the denoiser's compile"
            )
        return super()._cache(kept, places, columns)


def _refuse_compiling(
    compilation: Compile | None, adapter: Adapter | None, placement: Placement
) -> None:
    """Refuse to compile what it was not tried with."""
    if compilation is not None and placement != Placement():
        raise ValueError(
            f"compile={compilation} is for a denoiser that is on one device in its own type, not "
            f"for {placement}; leave compile or placement out"
        )
    if compilation is not None and adapter is not None and not adapter.merge:
        raise ValueError(
            f"compile={compilation} needs the adapter {adapter.path!r} in the weights; set merge: "
            "true"
        )


def _refuse_rounding(adapter: Adapter | None, placement: Placement) -> None:
    if adapter is not None and adapter.merge and placement.quantization is not None:
        raise ValueError(
            f"adapter {adapter.path!r}: merge=True would round it to the quantised weights; set "
            "merge: false"
        )


def _refuse_untied(folder: Path, network: Any) -> None:
    """Tie the head to the embedding where the config says so; refuse one that differs."""
    head, embedding = network.lm_head.weight, network.model.embed_tokens.weight
    if not network.config.tie_word_embeddings or head is embedding or head.is_meta:
        return
    if not torch.equal(head, embedding):
        raise ValueError(
            f"config.json of {folder} ties the vocabulary head to the embedding, but the files "
            "hold a head that differs from it; correct the config"
        )
    network.lm_head.weight = embedding  # which older versions of transformers leave apart
