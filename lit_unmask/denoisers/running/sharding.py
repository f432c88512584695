"""Weights spread over ranks, whose forwards then go step by step together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard

Result = TypeVar("Result")


class Shards:
    """A frozen network whose weights are spread over the ranks of a mesh by FSDP2.

    A forward gathers the weights of one layer after the other from all ranks and drops them again,
    so that each rank has to take part whenever one of them makes a forward. Ranks that decode
    their own prompts make different numbers of forwards, in other moments. Therefore:

    - :meth:`run` is one forward. Those of different ranks need not be of the same rows or shapes,
      as only weights are exchanged. Each says first that it is at work.
    - :meth:`join` is for a rank that has nothing to ask. It takes part in the others' forwards,
      without computing anything, and returns when all ranks have come here. It must stand before
      anything else that ranks do together, so before each other collective operation.
    - :meth:`finish` is for a rank whose forward failed in the middle. The others go on with
      theirs, so it gathers what is left of it.

    Args:
        network: The network; it is changed.
        layers: Its layers, in the order in which each forward calls each of them once.
        mesh: One-dimensional, of the ranks that share the weights.
    """

    def __init__(self, network: nn.Module, layers: Sequence[nn.Module], mesh: DeviceMesh) -> None:
        self._group, self._device = mesh.get_group(), mesh.device_type
        self._layers: list[Any] = []
        for place, layer in enumerate(layers):
            sharded: Any = fully_shard(layer, mesh=mesh, reshard_after_forward=True)
            # After FSDP's own hook, so that it tells that the layer's weights are here.
            sharded.register_forward_pre_hook(self._note(place + 1))
            self._layers.append(sharded)
        # The root has what is in no layer: embedding, last norm and head, tied or not.
        self._root: Any = fully_shard(_Root(network), mesh=mesh, reshard_after_forward=True)
        self._gathered = 0

    def run(self, forward: Callable[[], Result]) -> Result:
        """Make one forward.

        Args:
            forward: Calls the network, all its layers in order, and reads what it says.
        """
        self._say(at_work=True)
        return self._gather(forward)

    def join(self) -> None:
        """Take part in the forwards of other ranks until none of them makes any."""
        while bool(self._say(at_work=False)):
            self._gather(self._pass_by)

    def finish(self) -> None:
        """Gather what a forward of this rank that failed has left to gather."""
        self._gather(self._pass_by)
        for layer in self._layers:
            layer.reshard()

    def _say(self, at_work: bool) -> Tensor:
        """Return how many ranks are at work; whoever does not look at it need not wait for it."""
        count = torch.full((), int(at_work), device=self._device)
        distributed.all_reduce(count, group=self._group)
        self._gathered = 0
        return count

    def _gather(self, forward: Callable[[], Result]) -> Result:
        # Gathered weights are not made in inference mode, where they could not be replaced.
        with torch.inference_mode(False), torch.no_grad():
            return self._root(forward)

    def _pass_by(self) -> None:
        """Gather and drop the weights of the layers that are left of a forward."""
        for layer in self._layers[self._gathered :]:
            layer.unshard()
            layer.reshard()

    def _note(self, count: int) -> Callable[..., None]:
        def gathered(module: nn.Module, inputs: Any) -> None:
            self._gathered = count

        return gathered


class _Root(nn.Module):
    """Has the network, and does with it what it is told."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, call: Callable[[], Result]) -> Result:
        """Call it while the weights outside the layers are here."""
        return call()


def mesh_of_ranks(device_type: str, ranks: int | None = None) -> DeviceMesh:
    """Return the ranks that share the weights of one copy with this one.

    Args:
        device_type: ``cpu`` or ``cuda``.
        ranks: Ranks a copy; neighbours share one. None for one copy on all ranks.

    Raises:
        ValueError: If they do not divide the number of ranks, or a copy is on one rank alone.
    """
    world = distributed.get_world_size()
    size = world if ranks is None else ranks
    if size < 2 or world % size:
        raise ValueError(
            f"a denoiser cannot be spread over {size} of {world} ranks: it must be at least 2 that "
            "divide their number; change trainer.devices or the strategy's ranks"
        )
    mesh = init_device_mesh(device_type, (world // size, size), mesh_dim_names=("copy", "shard"))
    return mesh["shard"]
