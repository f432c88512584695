"""LoRA adapters of peft on top of a denoiser."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from transformers import PreTrainedModel

from lit_unmask.denoisers.loading import hub
from lit_unmask.denoisers.loading.headers import Shapes, file_shapes, listing
from lit_unmask.files import check_sums

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."
_SIDES = ("lora_A", "lora_B")
# Starting points that leave the network's own weights as they were.
_PLAIN_STARTS = (True, False, "gaussian")
# Settings of peft under which the product of the two halves is not all there is.
_VARIANTS = (
    *("use_dora", "use_qalora", "use_bdlora", "lora_bias", "layer_replication", "alpha_pattern"),
    *("alora_invocation_tokens", "arrow_config", "kasa_config", "velora_config"),
)


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter in peft's format, trained on the stock network or on the original code.

    Needs peft: ``pip install 'lit-unmask[lora]'``.

    Attributes:
        path: A folder with ``adapter_config.json`` and ``adapter_model.safetensors``, or a hub id.
        revision: Commit, tag or branch on the hub; None for folders.
        merge: Whether to add the adapter to the weights, which makes it free, instead of
            computing it beside them, which quantised weights need.

    Raises:
        ImportError: If peft is not installed.
    """

    path: str
    revision: str | None = None
    merge: bool = True

    def __post_init__(self) -> None:
        """Check that adapters can be used here."""
        if find_spec("peft") is None:
            raise ImportError(f"adapter {self.path!r} needs peft: pip install 'lit-unmask[lora]'")


@dataclass(frozen=True)
class FittingAdapter:
    """An adapter whose names and shapes fit a network that may not have been loaded yet.

    Attributes:
        config: Peft's config, aimed at exactly the layers that the adapter has.
        file: Its weights.
        renamed: Name in the file -> name in peft's model.
        merge: Whether to add it to the weights.
        identity: Its part of the denoiser's identity.
    """

    config: Any
    file: Path
    renamed: dict[str, str]
    merge: bool
    identity: dict[str, str | None]

    def apply(self, network: PreTrainedModel) -> PreTrainedModel:
        """Put the adapter on the network it was fitted to.

        Returns:
            The network with the adapter merged, or computed beside its layers.

        Raises:
            RuntimeError: If weights are offloaded.
            ConfigurationError: If the file is not the one whose digest lies beside it.
        """
        from peft import PeftModel, set_peft_model_state_dict

        if any(weight.is_meta for weight in network.parameters()):
            raise RuntimeError(
                f"adapter {self.identity['adapter']!r} needs all weights in memory, but the "
                "device_map offloads some; map them to devices alone"
            )
        check_sums(self.file.parent)
        loaded = load_file(self.file)
        model = PeftModel(network, self.config)
        set_peft_model_state_dict(model, {self.renamed[key]: loaded[key] for key in loaded})
        adapted: Any = model
        return adapted.merge_and_unload(safe_merge=True) if self.merge else adapted.get_base_model()


def fit(adapter: Adapter, shapes: Shapes, stock_names: Mapping[str, str]) -> FittingAdapter:
    """Read an adapter's config and header, and compare them with a network's layers.

    Args:
        adapter: Where it is.
        shapes: The network's weights by stock name; tied ones once.
        stock_names: Original name of each weight -> stock name.

    Returns:
        What :meth:`FittingAdapter.apply` needs.

    Raises:
        FileNotFoundError: If the adapter, or a part of it, cannot be found.
        ValueError: If it is no plain LoRA, or its layers are not the network's; names them.
    """
    from peft import PeftConfig

    folder, commit = hub.resolve(adapter.path, adapter.revision, (CONFIG, WEIGHTS))
    missing = [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(f"adapter {adapter.path!r} lacks {' and '.join(missing)}")
    config = PeftConfig.from_pretrained(str(folder))
    _refuse_other_kinds(adapter.path, config)
    found = file_shapes(folder / WEIGHTS)
    layers = _layers(adapter.path, found, shapes, stock_names)
    ranks = {layer: found[sides["lora_A"]][0] for layer, sides in layers.items()}
    if not config.rank_pattern and set(ranks.values()) != {config.r}:
        raise ValueError(
            f"adapter {adapter.path!r}: {CONFIG} says r={config.r}, but its weights have ranks "
            f"{sorted(set(ranks.values()))}"
        )
    config.rank_pattern = {layer: rank for layer, rank in ranks.items() if rank != config.r}
    config.target_modules = set(layers)
    config.layers_to_transform = config.layers_pattern = config.exclude_modules = None
    config.inference_mode = True
    said = hashlib.sha256((folder / CONFIG).read_bytes() + (folder / WEIGHTS).read_bytes())
    renamed = {
        key: f"{_PREFIX}{layer}.{side}.weight"
        for layer, sides in layers.items()
        for side, key in sides.items()
    }
    identity = {
        "adapter": adapter.path,
        "adapter_revision": commit,
        "adapter_hash": said.hexdigest()[:16],
    }
    return FittingAdapter(config, folder / WEIGHTS, renamed, adapter.merge, identity)


def _refuse_other_kinds(path: str, config: Any) -> None:
    kind = getattr(config.peft_type, "value", config.peft_type)
    if kind != "LORA":
        raise ValueError(f"adapter {path!r}: peft_type={kind!r} is not supported; it must be LORA")
    if config.init_lora_weights not in _PLAIN_STARTS:
        raise ValueError(
            f"adapter {path!r}: init_lora_weights={config.init_lora_weights!r} changed the "
            "weights below it; convert it to a plain LoRA with peft first"
        )
    for name in _VARIANTS:
        if getattr(config, name, None):
            raise ValueError(
                f"adapter {path!r}: {name}={getattr(config, name)!r} is not supported; merge the "
                "adapter into its checkpoint with peft"
            )


def _layers(
    path: str, found: Shapes, shapes: Shapes, stock_names: Mapping[str, str]
) -> dict[str, dict[str, str]]:
    """Return for each adapted layer, by stock name, its two keys in the file."""
    layers: dict[str, dict[str, str]] = {}
    strange, misshapen = [], []
    for key in sorted(found):
        name, _, side = key.removeprefix(_PREFIX).removesuffix(".weight").rpartition(".")
        weight = stock_names.get(f"{name}.weight", f"{name}.weight")
        if side not in _SIDES or len(shapes.get(weight, ())) != 2:
            strange.append(key)
        else:
            layers.setdefault(weight.removesuffix(".weight"), {})[side] = key
    for layer, sides in layers.items():
        if len(sides) == 1:
            strange.append(f"{next(iter(sides.values()))} without its other half")
            continue
        outer = shapes[f"{layer}.weight"]
        first, second = found[sides["lora_A"]], found[sides["lora_B"]]
        if (second[0], first[1]) != outer or first[0] != second[1]:
            misshapen.append(
                f"{layer}: {list(second)} times {list(first)} on a layer of {list(outer)}"
            )
    if strange or misshapen or not layers:
        raise ValueError(
            f"adapter {path!r} does not fit this denoiser: "
            f"{listing(strange + misshapen) or 'it has no weights'}"
        )
    return layers
