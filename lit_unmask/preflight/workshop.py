"""Making what a configuration describes, without what is expensive."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lit_unmask.denoisers import Adapter, Denoiser, Placement
from lit_unmask.preflight.asked import Asked
from lit_unmask.preflight.blueprint import Blueprint
from lit_unmask.preflight.missing import Missing


class Workshop:
    """Makes blueprints of denoisers, and notes which optional packages are not installed.

    It takes the place of classes where a configuration is instantiated: called with a class and
    its arguments, it returns what stands for the object.

    Attributes:
        kinds: Classes, with all below them, for which it has to be called.
        denoisers: Blueprints that were made.
        lacks: Packages that are not installed.
    """

    kinds: tuple[type, ...] = (Denoiser, Adapter, Placement)

    def __init__(self) -> None:
        self.denoisers: list[Blueprint] = []
        self.lacks: list[Missing] = []

    def __call__(self, kind: type, *args: Any, **kwargs: Any) -> Any:
        """Return what stands for ``kind(*args, **kwargs)``."""
        if issubclass(kind, Denoiser):
            self.denoisers.append(Blueprint(kind, kwargs))
            return self.denoisers[-1]
        try:
            return kind(*args, **kwargs)
        except ImportError as error:
            what, _, remedy = str(error).rpartition(": ")
            self.lacks.append(Missing(what, remedy))
            return None

    def asked(self, settings: Mapping[str, Any]) -> Asked:
        """Return what a plan works on.

        Args:
            settings: The instantiated configuration of ``lit-unmask plan``.
        """
        return Asked(
            trainer=settings["trainer"],
            model=settings["model"],
            data=settings["data"],
            assumptions=settings["plan"],
            denoisers=self.denoisers,
            lacks=self.lacks,
            stage=settings["stage"],
            ckpt_path=settings.get("ckpt_path"),
        )
