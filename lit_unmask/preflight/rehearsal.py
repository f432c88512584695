"""Everything of a run but its denoisers, made to find mistakes before weights are read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lightning.pytorch.utilities.seed import isolate_rng

from lit_unmask.denoisers.face import Denoiser
from lit_unmask.tasks.datamodule import TaskDataModule


class NotLoaded(Exception):
    """Somebody asked for something that only a loaded denoiser has."""


class Absent:
    """Stands for a denoiser that is not loaded yet.

    Attributes:
        missed: Whether anybody asked for something that only a loaded one has.
    """

    def __init__(self) -> None:
        self.missed = False

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        self.missed = True
        raise NotLoaded(f"{name} of a denoiser that is not loaded yet")


class Rehearsal:
    """Makes what a configuration describes; while it rehearses, no denoiser is loaded.

    A parser calls it in the place of the classes ``kinds``. What is rehearsed changes no state of
    random number generators. Problems that were read then are not read again afterwards.

    Attributes:
        kinds: Classes, with all below them, for which it has to be called.
    """

    kinds: tuple[type, ...] = (Denoiser, TaskDataModule)

    def __init__(self) -> None:
        self._rehearsing = False
        self._absent: list[Absent] = []
        self._data: TaskDataModule | None = None

    def __call__(self, kind: Any, *args: Any, **kwargs: Any) -> Any:
        """Return ``kind(*args, **kwargs)``, or what stands for it."""
        if issubclass(kind, Denoiser):
            if not self._rehearsing:
                return kind(*args, **kwargs)
            self._absent.append(Absent())
            return self._absent[-1]
        if self._data is None:
            self._data = kind(*args, **kwargs)
        return self._data

    def rehearse(self, act: Callable[[], None]) -> None:
        """Call a function, with stand-ins for denoisers.

        It ends without a word where it needs a real denoiser; what follows it is then found once
        that is loaded.

        Args:
            act: Makes things by way of this object, and looks at them.
        """
        self._rehearsing = True
        try:
            # Generators of GPUs stay alone, as asking for them would occupy every GPU.
            with isolate_rng(include_cuda=False):
                act()
        except Exception:  # the parser may have put another one around NotLoaded
            if not any(absent.missed for absent in self._absent):
                raise
        finally:
            self._rehearsing = False
