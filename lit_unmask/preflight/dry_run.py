"""Everything that a configuration describes, made without the weights of its denoisers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, TypeVar

from lightning.pytorch.utilities.seed import isolate_rng

from lit_unmask.denoisers import Adapter, Denoiser, Placement
from lit_unmask.preflight.assumptions import Assumptions
from lit_unmask.preflight.checks import problems_of
from lit_unmask.preflight.devices import Missing
from lit_unmask.preflight.spec import Spec
from lit_unmask.tasks.base import ProblemSet
from lit_unmask.tasks.datamodule import TaskDataModule
from lit_unmask.training.module import LitUnmask

T = TypeVar("T")


@dataclass(frozen=True)
class Request:
    """A configuration whose objects are made, with specs in the place of denoisers.

    Attributes:
        stage: ``fit``, ``validate``, ``test`` or ``predict``.
        trainer: Arguments of ``Trainer``, callbacks and loggers made.
        model: The module.
        data: The problems.
        specs: Those of all denoisers; callbacks may have some too.
        lacks: Optional packages that are not installed.
        ckpt_path: Checkpoint that the run starts from.
        assumptions: What a plan takes for granted.
    """

    stage: str
    trainer: Mapping[str, Any]
    model: LitUnmask
    data: TaskDataModule
    specs: list[Spec] = field(default_factory=list)
    lacks: list[Missing] = field(default_factory=list)
    ckpt_path: str | None = None
    assumptions: Assumptions = field(default_factory=Assumptions)

    @property
    def spec(self) -> Spec:
        """The spec of the module's denoiser."""
        found: Any = self.model.denoiser
        return found

    @property
    def callbacks(self) -> list[Any]:
        """The callbacks of the trainer's settings."""
        callbacks = self.trainer["callbacks"] or []
        return callbacks if isinstance(callbacks, list) else [callbacks]

    @property
    def sets(self) -> dict[str, ProblemSet]:
        """The problem sets that the stage reads, by what to call them."""
        return problems_of(self.stage, self.data, self.callbacks)

    def settings(self, ranks: int = 1) -> SimpleNamespace:
        """Return the trainer's settings under the names that a trainer has them by."""
        return SimpleNamespace(**self.trainer, world_size=ranks)

    @property
    def policy_size(self) -> int:
        """Parameters of the policy."""
        return sum(weight.numel() for weight in self.model.policy.parameters())


class DryRun:
    """Makes what a configuration describes, and no denoiser while it is dry.

    A parser calls it in the place of the classes ``kinds``. The state of random number generators
    stays as it was, and problems that were read are not read again afterwards.

    Attributes:
        kinds: Classes, with all below them, for which it has to be called.
        specs: What stands for denoisers.
        lacks: Optional packages that are not installed.
    """

    kinds: tuple[type, ...] = (Denoiser, Adapter, Placement, TaskDataModule)

    def __init__(self) -> None:
        self.specs: list[Spec] = []
        self.lacks: list[Missing] = []
        self._dry = False
        self._data: TaskDataModule | None = None

    def __call__(self, kind: Any, *args: Any, **kwargs: Any) -> Any:
        """Return ``kind(*args, **kwargs)``, or what stands for it."""
        if issubclass(kind, TaskDataModule):
            self._data = self._data or kind(*args, **kwargs)
            return self._data
        if not self._dry:
            return kind(*args, **kwargs)
        if issubclass(kind, Denoiser):
            self.specs.append(Spec(kind, kwargs))
            return self.specs[-1]
        try:
            return kind(*args, **kwargs)
        except ImportError as error:
            what, _, remedy = str(error).rpartition(": ")
            self.lacks.append(Missing(what, remedy))
            return None

    @property
    def missed(self) -> str | None:
        """What somebody asked of a denoiser that only a loaded one knows, if anybody did."""
        return next((spec.missed for spec in self.specs if spec.missed is not None), None)

    def run(self, act: Callable[[], T]) -> T | None:
        """Return what a function returns that makes things by way of this object.

        Returns:
            None where it needed a real denoiser; what follows is found once that is loaded.
        """
        self._dry = True
        try:
            # Generators of GPUs stay alone, as asking for them would occupy every GPU.
            with isolate_rng(include_cuda=False):
                return act()
        except Exception:  # the parser may have put another one around NotLoaded
            if self.missed is None:
                raise
            return None
        finally:
            self._dry = False

    def request(self, stage: str, settings: Mapping[str, Any]) -> Request:
        """Return what a configuration asks for.

        Args:
            stage: ``fit``, ``validate``, ``test`` or ``predict``.
            settings: The configuration, instantiated by way of this object.
        """
        trainer, model, data = (settings[name] for name in ("trainer", "model", "data"))
        path = settings.get("ckpt_path")
        assumptions = settings.get("plan", Assumptions())
        return Request(stage, trainer, model, data, self.specs, self.lacks, path, assumptions)
