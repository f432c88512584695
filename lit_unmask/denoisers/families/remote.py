"""Networks whose code comes with the checkpoint, by explicit choice alone."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase
from transformers.cache_utils import Cache
from transformers.dynamic_module_utils import get_class_from_dynamic_module

from lit_unmask.denoisers.families.stock import DType
from lit_unmask.denoisers.loading import hub
from lit_unmask.denoisers.loading.checkpoint import config_hash, read_config
from lit_unmask.denoisers.loading.headers import read_shapes
from lit_unmask.denoisers.loading.loading import Loaded, check_dtype, load_network
from lit_unmask.denoisers.loading.placement import Placement
from lit_unmask.denoisers.loading.probes import probe_tokens
from lit_unmask.denoisers.loading.tokenizer import check_vocabulary, load_tokenizer
from lit_unmask.denoisers.network import NetworkDenoiser
from lit_unmask.denoisers.running.cache import Kept

END_TOKENS = ("<|im_end|>", "<|eot_id|>")
LENGTHS = ("max_position_embeddings", "max_sequence_length")
# Relative to the largest logit: the head computed on some of the states rounds differently.
HEAD_TOLERANCE = {torch.float32: 1e-3, torch.float16: 0.1, torch.bfloat16: 0.1}


@dataclass(frozen=True)
class Code:
    """Which Python code of a checkpoint may run here.

    Attributes:
        trust_remote_code: True says that the code was read and may do whatever this user may.
        revision: Full commit on the hub, 40 hex digits; None for a folder.
        sha256: Hash of the Python files of a folder, which has no commits; the refusal without it
            names the right one. Checked on the hub too, if given.
        auto_class: Which entry of the config's ``auto_map`` is the network with its head.

    Raises:
        ValueError: If ``trust_remote_code`` is not true.
    """

    trust_remote_code: bool = False
    revision: str | None = None
    sha256: str | None = None
    auto_class: str = "AutoModel"

    def __post_init__(self) -> None:
        """Refuse code that nobody answers for."""
        if self.trust_remote_code is not True:
            raise ValueError(
                "RemoteCode runs Python that comes with the checkpoint: read it, then set "
                "code.trust_remote_code: true and pin what was read (code.revision on the hub, "
                "code.sha256 for a folder)"
            )

    def resolve(self, path: str) -> tuple[Path, str | None]:
        """Find the checkpoint, code included, and check that it is the pinned one.

        Args:
            path: A folder or a hub id.

        Returns:
            The local folder, and the hub commit (None for a folder).

        Raises:
            ValueError: If the code is not pinned, or is another than the pinned one.
            FileNotFoundError: If the checkpoint cannot be found.
        """
        on_hub = hub.local_folder(path) is None
        if on_hub and not hub.is_commit(self.revision):
            raise ValueError(
                f"code.revision={self.revision!r} must be a full commit of {path!r} (40 hex "
                "digits): a branch or tag may come to hold other code than was read"
            )
        folder, commit = hub.resolve(path, self.revision, (*hub.DATA_FILES, "*.py"))
        found = code_hash(folder)
        if self.sha256 != found and (self.sha256 is not None or not on_hub):
            raise ValueError(
                f"code.sha256={self.sha256!r}, but the Python files of {folder} have {found}; "
                "read them, then set code.sha256 to that"
            )
        return folder, commit


class RemoteCode(NetworkDenoiser):
    """A network whose own code is run: the last resort, for architectures without a stock class.

    The code can do whatever this user can; nothing is isolated. Prefer a stock class. The network
    must be a transformers ``PreTrainedModel`` whose logits are its output embeddings applied to
    its last states, and must honour the attention mask; start-up probes refuse it otherwise. It is
    computed without a key-value cache.

    In YAML::

        denoiser:
          class_path: lit_unmask.denoisers.RemoteCode
          init_args:
            path: someone/diffusion-model
            shift: false
            code:
              trust_remote_code: true
              revision: <40 hex digits>
              auto_class: AutoModelForMaskedLM

    Args:
        path: A folder or a hub id.
        shift: Whether the state at position ``i - 1`` predicts token ``i``; the model's authors
            say so.
        code: Which code may run.
        dtype: Type of the weights; softmax is float32 whatever it is.
        max_logits: Largest number of logits (positions times **V**) that exist at once; bounds
            memory, does not change results. None takes what is fast on the device.
        placement: Device map and quantisation, for what does not fit one device.

    Raises:
        FileNotFoundError: If the checkpoint, or a part of it, cannot be found.
        ValueError: If the code is not trusted or not pinned, or config, tokenizer or weights do
            not fit.
        RuntimeError: If a start-up probe fails.
    """

    def __init__(
        self,
        path: str,
        shift: bool,
        code: Code,
        dtype: DType = "float32",
        max_logits: int | None = None,
        placement: Placement | None = None,
    ) -> None:
        check_dtype(dtype)
        self.shift = shift
        placement = placement or Placement()
        folder, commit = code.resolve(path)
        original = read_config(folder)
        tokenizer = load_tokenizer(folder)
        read_shapes(folder)
        architecture: Any = _own_class(folder, original, code.auto_class)
        config = architecture.config_class.from_pretrained(folder)
        network: Any = load_network(folder, architecture, config, dtype, placement)
        ids = _token_ids(original, tokenizer)
        check_vocabulary(tokenizer, ids, network.get_input_embeddings().weight.shape[0])
        known = tokenizer.get_vocab()
        ends = [token for role, token in ids.items() if role.startswith(("eos", "pad"))]
        ends += [known[end] for end in END_TOKENS if end in known]
        identity = {
            "path": path,
            "revision": commit,
            "config_hash": config_hash(original),
            "code_hash": code_hash(folder),
            "shift": str(shift),
        }
        loaded = Loaded(
            network=network,
            tokenizer=tokenizer,
            mask_id=ids["mask"],
            pad_id=ids["pad"],
            end_ids=tuple(dict.fromkeys(ends)),
            max_length=_max_length(original),
            identity=identity,
            placement=placement,
        )
        super().__init__(loaded, max_logits)

    @torch.no_grad()
    def probe(self) -> None:
        """Check on short inputs that the loaded network is a denoiser this class can run.

        Raises:
            RuntimeError: If its logits are not its output embeddings of its last states, or it is
                causal, sees padding or is not repeatable.
        """
        tokens = probe_tokens(self.vocab_size, self.device)
        said = self.network(input_ids=tokens).logits
        difference = (self._project(self._body(tokens)) - said).abs().max().item()
        if not difference <= HEAD_TOLERANCE[said.dtype] * said.abs().max().item():
            raise RuntimeError(
                f"head probe: the network's logits differ by {difference:.1e} from its output "
                "embeddings of its last states, so it does something else to them; write a "
                "NetworkDenoiser of its own for it"
            )
        super().probe()

    def _cache(self, kept: Kept, places: Tensor | None, columns: int) -> Cache:
        """Refuse: whether foreign code fills a cache as the stock classes do is not known."""
        raise ValueError(
            "RemoteCode keeps no keys and values; leave decoding.approximate.cache out"
        )

    def _body(
        self,
        tokens: Tensor,
        attention: Tensor | None = None,
        positions: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        """Return the states ``[B, S, D]`` that the head reads, of tokens ``[B, S]``."""
        states: list[Tensor] = []

        def take(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor]:
            states.append(inputs[0])
            return (inputs[0][:, :1],)  # so that the head computes almost nothing

        hook = self.network.get_output_embeddings().register_forward_pre_hook(take)
        try:
            self.network(
                input_ids=tokens, attention_mask=None if attention is None else attention.long()
            )
        finally:
            hook.remove()
        if len(states) != 1:
            raise RuntimeError(
                f"head probe: the network called its output embeddings {len(states)} times in a "
                "forward, must be once; write a NetworkDenoiser of its own for it"
            )
        return states[0].to(self.device)


def code_hash(folder: Path) -> str:
    """Return the SHA-256 of the names and contents of a folder's Python files."""
    said = hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        content = file.read_bytes()
        said.update(f"{file.relative_to(folder).as_posix()} {len(content)}\n".encode() + content)
    return said.hexdigest()


def _own_class(folder: Path, original: Mapping[str, Any], auto_class: str) -> type:
    """Import a class of the checkpoint's own code.

    Raises:
        ValueError: If the config does not name it, or it is the code of another repository.
    """
    entries = original.get("auto_map") or {}
    if auto_class not in entries:
        raise ValueError(
            f"code.auto_class={auto_class!r} is not in the auto_map of config.json, which has "
            f"{', '.join(sorted(entries)) or 'nothing'}"
        )
    reference = entries[auto_class]
    if "--" in reference:
        raise ValueError(
            f"auto_map[{auto_class!r}]={reference!r} is code of another repository, which no "
            "commit pins; download both and put them into one folder"
        )
    return get_class_from_dynamic_module(reference, folder, local_files_only=True)


def _token_ids(original: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """Return mask, end and padding, from the config or else the tokenizer."""
    ids: dict[str, int] = {}
    for role in ("mask", "eos", "pad"):
        found = original.get(f"{role}_token_id")
        found = getattr(tokenizer, f"{role}_token_id") if found is None else found
        if found is None:
            raise ValueError(
                f"neither config.json nor the tokenizer has a {role} token; add {role}_token_id "
                "to config.json"
            )
        several = found if isinstance(found, list) else [found]
        ids |= {f"{role}_{n}" if n > 1 else role: token for n, token in enumerate(several, 1)}
    return ids


def _max_length(original: Mapping[str, Any]) -> int:
    """Return the largest number of positions."""
    for name in LENGTHS:
        if original.get(name) is not None:
            return int(original[name])
    raise ValueError(f"config.json: {' and '.join(LENGTHS)} are missing; give one")
