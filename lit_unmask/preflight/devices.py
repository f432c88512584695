"""The devices that a run asks for and those that are here, and how to say what is missing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch.accelerators import AcceleratorRegistry

from lit_unmask.errors import ConfigurationError

GIB = 2**30
# From this many parameters on, a run without a GPU is not what anybody wants.
_LARGE = 5e8


@dataclass(frozen=True)
class Missing:
    """Something that has to be there before a run can start."""

    what: str
    remedy: str

    @classmethod
    def of(cls, error: Exception) -> Missing:
        """Return an error of ours, whose message ends with the remedy, as something missing."""
        what, _, remedy = str(error).rpartition("; ")
        return cls(what or remedy, remedy if what else "see the message")


@dataclass(frozen=True)
class Devices:
    """What the trainer's settings come to on this machine.

    Attributes:
        accelerator: ``cuda``, ``mps`` or ``cpu``.
        chosen: Whether the configuration names it, instead of taking what is here.
        ranks: Processes, over all nodes.
        nodes: Machines.
        here: Devices of the kind on this machine.
        name: What the device is called.
        memory: Memory of one device in bytes, or None if it is not here.
    """

    accelerator: str
    chosen: bool
    ranks: int
    nodes: int
    here: int
    name: str
    memory: float | None

    @property
    def device(self) -> torch.device:
        """What can be measured on: a device of the kind if there is one, else the CPU."""
        return torch.device(self.accelerator if self.here else "cpu")

    def missing(self, parameters: int) -> list[Missing]:
        """Return the devices that are asked for and not here.

        Args:
            parameters: Of the denoiser; a large one should not run on a CPU.
        """
        wanted = self.ranks // self.nodes
        if self.accelerator == "cpu":
            large = not self.chosen and parameters > _LARGE
            remedy = "run it on a machine with a GPU, or choose the CPU with --trainer.accelerator"
            what = f"no GPU is here, and the denoiser has {parameters / 1e9:.1f} billion parameters"
            return [Missing(what, remedy)] if large else []
        if self.here < wanted:
            what = f"{wanted} {self.accelerator} devices are asked for and {self.here} are here"
            remedy = "run it where they are"
            if self.here:
                remedy += f", or set --trainer.devices={self.here}"
            return [Missing(what, remedy)]
        return []


def find_devices(trainer: Mapping[str, Any]) -> Devices:
    """Return what the trainer's settings come to.

    Raises:
        ConfigurationError: If there is no such accelerator, or no such number of devices.
    """
    accelerator, chosen = _accelerator(trainer["accelerator"])
    here = {"cuda": torch.cuda.device_count(), "cpu": os.cpu_count() or 1}.get(accelerator)
    if here is None:
        here = int(accelerator == "mps" and torch.backends.mps.is_available())
    name, memory = f"CPU, threads: {torch.get_num_threads()}", None
    if accelerator == "cuda" and here:
        properties = torch.cuda.get_device_properties(0)
        name, memory = properties.name, float(properties.total_memory)
    nodes = trainer["num_nodes"]
    each = _count(trainer["devices"], 1 if accelerator == "cpu" else max(here, 1))
    return Devices(accelerator, chosen, each * nodes, nodes, here, name, memory)


def _accelerator(asked: Any) -> tuple[str, bool]:
    if asked == "auto":
        if torch.cuda.is_available():
            return "cuda", False
        return ("mps" if torch.backends.mps.is_available() else "cpu"), False
    if not isinstance(asked, str):
        return str(asked.name()), True
    known = sorted({*AcceleratorRegistry.available_accelerators(), "gpu", "auto"})
    if asked not in known:
        raise ConfigurationError(f"trainer.accelerator={asked!r} must be one of {', '.join(known)}")
    on_mac = asked == "gpu" and torch.backends.mps.is_available()
    return ("mps" if on_mac else {"gpu": "cuda"}.get(asked, asked)), True


def _count(asked: Any, automatic: int) -> int:
    """Return the processes on a node that ``trainer.devices`` asks for."""
    if asked in ("auto", -1, "-1", None):
        return automatic
    if isinstance(asked, str):
        listed = [part for part in asked.split(",") if part.strip()]
        if not all(part.strip().isdigit() for part in listed) or not listed:
            raise ConfigurationError(f"trainer.devices={asked!r} must be a number or a list")
        return len(listed) if "," in asked else int(asked)
    count = len(asked) if isinstance(asked, list) else int(asked)
    if count < 1:
        raise ConfigurationError(f"trainer.devices={asked} must be at least 1")
    return count
