"""Where a denoiser's weights live, and in how many bits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel
from transformers.integrations.accelerate import load_offloaded_parameter


class Quantization(Protocol):
    """A quantisation config of transformers, for instance ``transformers.BitsAndBytesConfig``."""

    def to_diff_dict(self) -> dict[str, Any]:
        """Return the settings that differ from their defaults."""
        ...


@dataclass(frozen=True)
class Placement:
    """What is passed on to transformers for a denoiser that does not fit one device.

    With a ``device_map`` the weights stay where it puts them: moving the denoiser to the trainer's
    device does nothing, and is refused if that is another accelerator than that of the first
    layer. A map over several GPUs is for one process (``trainer.devices: 1``).

    In YAML::

        denoiser:
          class_path: lit_unmask.denoisers.LLaDA
          init_args:
            path: GSAI-ML/LLaDA-8B-Instruct
            revision: <commit>
            dtype: bfloat16
            placement:
              device_map: auto
              quantization:
                class_path: transformers.BitsAndBytesConfig
                init_args: {load_in_4bit: true}

    Attributes:
        device_map: ``auto``, ``balanced`` or ``sequential``, a device for all, or a module's name
            -> device, ``cpu`` or ``disk``. Needs accelerate: ``pip install 'lit-unmask[large]'``.
        max_memory: Device -> memory that an automatic map may use there, as ``20GiB``.
        offload_folder: For the weights that a map sends to ``disk``.
        quantization: A quantisation config of transformers, with its own package installed.

    Raises:
        ValueError: If ``max_memory`` or ``offload_folder`` is given without a ``device_map``.
        ImportError: If a ``device_map`` is given and accelerate is not installed.
    """

    device_map: str | dict[str, int | str] | None = None
    max_memory: dict[int | str, int | str] | None = None
    offload_folder: str | None = None
    quantization: Quantization | None = None

    def __post_init__(self) -> None:
        """Check that the parts fit together and can be used here."""
        if self.device_map is None:
            for name in ("max_memory", "offload_folder"):
                if getattr(self, name) is not None:
                    raise ValueError(f"placement.{name} needs placement.device_map; set it to auto")
        elif find_spec("accelerate") is None:
            raise ImportError(
                f"placement.device_map={self.device_map!r} needs accelerate: "
                "pip install 'lit-unmask[large]'"
            )

    def arguments(self) -> dict[str, Any]:
        """Return what ``from_pretrained`` is called with."""
        named = {
            "device_map": self.device_map,
            "max_memory": self.max_memory,
            "offload_folder": self.offload_folder,
            "quantization_config": self.quantization,
        }
        return {name: value for name, value in named.items() if value is not None}

    def refuse_move(self, sample: Tensor, moved: Tensor, home: torch.device) -> None:
        """Refuse what would change weights that a device map or ranks have in their places.

        Args:
            sample: An empty tensor on the CPU.
            moved: What became of it.
            home: Where the denoiser's inputs go.

        Raises:
            RuntimeError: If the type changes, or the target is another accelerator than ``home``.
        """
        if moved.dtype != sample.dtype:
            raise RuntimeError(
                "weights that were placed "
                f"{f'by device_map={self.device_map!r}' if self.device_map else 'on ranks'} "
                "keep their type; choose it with the denoiser's dtype"
            )
        if moved.device.type != "cpu" and moved.device != home and self.device_map is not None:
            raise RuntimeError(
                f"device_map={self.device_map!r} puts the denoiser's first layer on {home}, but "
                f"this process runs on {moved.device}; use one process (trainer.devices: 1), or "
                "leave device_map out"
            )


def input_device(embedding: nn.Module) -> torch.device:
    """Return where the input of an embedding goes, also if its weight is offloaded."""
    hook = getattr(embedding, "_hf_hook", None)  # accelerate's
    placed = getattr(hook, "execution_device", None)
    weight: Any = embedding.weight
    return weight.device if placed is None else torch.device(placed)


def named_weights(network: PreTrainedModel) -> Iterator[tuple[str, Tensor]]:
    """Yield the entries of a network's state, by name, as plain tensors.

    Offloaded ones are read, and sharded ones gathered, one by one; quantised ones of a tensor class
    of their own are unpacked.
    """
    for name, value in sorted(network.state_dict().items()):
        if value.is_meta:
            value = load_offloaded_parameter(network, name)
        if isinstance(value, DTensor):
            value = value.full_tensor()
        yield name, value if type(value) in (Tensor, nn.Parameter) else value.dequantize()
