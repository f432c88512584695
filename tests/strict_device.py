"""A device that computes as the CPU does and refuses to mix with it, as an accelerator would.

Tensors on it claim to be on ``meta``, the one device that every build of torch knows without
hardware, and hold a CPU tensor inside. An operation that takes one of them and a CPU tensor of at
least one dimension raises, but for those that torch allows. So code that forgets a ``.to(device)``
is found without a GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

STRICT = torch.device("meta")
# A tensor there may be indexed, or copied from or to, by one that is elsewhere.
_MAY_MIX = ("aten.index.Tensor", "aten.copy_.default")


class Elsewhere(Tensor):
    """A tensor on the strict device.

    Attributes:
        inner: The numbers, on the CPU.
    """

    inner: Tensor

    @staticmethod
    def __new__(cls: type[Elsewhere], inner: Tensor, requires_grad: bool = False) -> Any:
        made = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=STRICT,
            requires_grad=requires_grad,
        )
        made.inner = inner
        return made

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"Elsewhere({tuple(self.shape)}, {self.dtype})"

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        made: Any = Elsewhere(self.inner.detach().clone(), self.requires_grad)
        if isinstance(self, torch.nn.Parameter):
            made = torch.nn.Parameter(made, self.requires_grad)
        memo[id(self)] = made
        return made

    def tolist(self) -> Any:
        return self.inner.tolist()

    @classmethod
    def __torch_dispatch__(
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _run(function, args, kwargs or {})


class StrictDevice(TorchDispatchMode):
    """Within it, what is made on or moved to ``STRICT`` is an :class:`Elsewhere`."""

    _patched: ClassVar[list[Any]] = []

    def __enter__(self) -> Any:
        # These two make their tensors without asking the mode.
        for owner, name, new in (
            (torch, "tensor", _moving(torch.tensor)),
            (torch, "as_tensor", _moving(torch.as_tensor)),
            (Tensor, "pin_memory", lambda tensor, *_: tensor),
        ):
            patch = mock.patch.object(owner, name, new)
            patch.start()
            self._patched.append(patch)
        return super().__enter__()

    def __exit__(self, *error: Any) -> Any:
        while self._patched:
            self._patched.pop().stop()
        return super().__exit__(*error)

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _run(function, args, kwargs or {})


def _moving(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def made(data: Any, *args: Any, device: Any = None, **kwargs: Any) -> Tensor:
        if isinstance(data, Elsewhere):
            return data if device is None else data.to(device)
        result = make(data, *args, **kwargs)
        return result if device is None else result.to(device)

    return made


def _bare(value: Any) -> Any:
    return value.inner if isinstance(value, Elsewhere) else value


def _clothed(value: Any) -> Any:
    return Elsewhere(value) if isinstance(value, Tensor) else value


def _run(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Run an operation on the numbers, after a look at where its tensors are."""
    tensors = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
    there = any(isinstance(value, Elsewhere) for value in tensors)
    if there:
        _refuse_mixed(str(function), args, tensors)
    name, target = str(function), kwargs.get("device")
    bare = {key: value for key, value in kwargs.items() if key not in ("device", "pin_memory")}
    result = function(*tree_map(_bare, args), **tree_map(_bare, bare))
    if name == "aten.copy_.default":
        return args[0]
    if target is not None:
        there = torch.device(target) == STRICT
    if not there:
        return result
    clothed = tree_map(_clothed, result)
    if name.split(".")[1].endswith("_") or name.endswith("out"):
        return return_and_correct_aliasing(function, args, kwargs, clothed)
    return clothed


def _refuse_mixed(name: str, args: Any, tensors: list[Tensor]) -> None:
    here = [value for value in tensors if not isinstance(value, Elsewhere) and value.ndim]
    allowed = name in _MAY_MIX and (isinstance(args[0], Elsewhere) or "copy_" in name)
    if name.startswith(("aten.index_put", "aten._index_put")):
        values = args[2]
        allowed = isinstance(args[0], Elsewhere) and (
            isinstance(values, Elsewhere) or not values.ndim
        )
    if here and not allowed and not name.startswith("aten._to_copy"):
        shapes = [(type(value).__name__, tuple(value.shape)) for value in tensors]
        raise RuntimeError(f"{name} mixes devices: {shapes}")
