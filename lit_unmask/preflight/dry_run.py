"""Everything that a configuration describes, made without the weights of its denoisers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, TypeVar

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import Logger

from lit_unmask.denoisers import Adapter, Denoiser, Placement, StockDenoiser, Wrapper
from lit_unmask.preflight.assumptions import Assumptions
from lit_unmask.preflight.checks import problems_of
from lit_unmask.preflight.devices import Missing
from lit_unmask.preflight.spec import Spec, stand_in
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
        """The spec of the module's denoiser, without its wrappers."""
        found: Any = self.model.denoiser
        while issubclass(found.itself.kind, Wrapper):
            found = found.inner
        return found.itself

    @property
    def knows_prompts(self) -> bool:
        """Whether the denoiser's config and tokenizer are here, and it has no wrapper."""
        denoiser: Any = self.model.denoiser
        spec = denoiser.itself
        return issubclass(spec.kind, StockDenoiser) and spec.readable

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


@dataclass(frozen=True)
class Later:
    """A logger that is not made yet, as those of services open a run when they are made."""

    kind: type[Logger]
    arguments: Mapping[str, Any]

    @property
    def save_dir(self) -> Any:
        """Where it will write."""
        return self.arguments.get("save_dir")


class DryRun:
    """Makes what a configuration describes, but no denoiser and no logger while it is dry.

    A parser calls it in the place of the classes ``kinds``. What was made is what runs: specs
    become denoisers by :meth:`load`. Only where somebody needed a denoiser before that, all but
    the problems has to be made again.

    Attributes:
        kinds: Classes, with all below them, for which it has to be called.
        lacks: Optional packages that are not installed.
    """

    kinds: tuple[type, ...] = (Denoiser, Adapter, Placement, TaskDataModule, Logger)

    def __init__(self) -> None:
        self.lacks: list[Missing] = []
        self._waiting: list[Any] = []
        self._dry = False
        self._data: TaskDataModule | None = None

    def __call__(self, kind: Any, *args: Any, **kwargs: Any) -> Any:
        """Return ``kind(*args, **kwargs)``, or what stands for it."""
        if issubclass(kind, TaskDataModule):
            self._data = self._data or kind(*args, **kwargs)
            return self._data
        if not self._dry:
            return kind(*args, **kwargs)
        if issubclass(kind, Logger):
            return Later(kind, kwargs)
        if issubclass(kind, Wrapper):
            kind.check(**kwargs)
        if issubclass(kind, Denoiser):
            self._waiting.append(stand_in(Spec(kind, kwargs)))
            return self._waiting[-1]
        try:
            return kind(*args, **kwargs)
        except ImportError as error:
            what, _, remedy = str(error).rpartition(": ")
            self.lacks.append(Missing(what, remedy))
            return None

    @property
    def specs(self) -> list[Spec]:
        """What stands for denoisers, wrappers left out."""
        specs = (waiting.itself for waiting in self._waiting)
        return [spec for spec in specs if not issubclass(spec.kind, Wrapper)]

    @property
    def missed(self) -> str | None:
        """What somebody asked of a denoiser that only a loaded one knows, if anybody did."""
        missed = (waiting.itself.missed for waiting in self._waiting)
        return next((what for what in missed if what is not None), None)

    def run(self, act: Callable[[], T]) -> T | None:
        """Return what a function returns that makes things by way of this object.

        Returns:
            None where it needed a real denoiser; what follows is found once that is loaded.
        """
        self._dry, state = True, torch.get_rng_state()
        try:
            return act()
        except Exception:  # the parser may have put another one around NotLoaded
            if self.missed is None:
                raise
            torch.set_rng_state(state)
            return None
        finally:
            self._dry = False

    def load(self, trainer: Trainer) -> None:
        """Make what was left out: read denoisers, and give the trainer its loggers."""
        for waiting in self._waiting:
            spec = waiting.itself
            waiting.__class__ = spec.kind  # for everyone who holds it
            waiting.__init__(**spec.arguments)
            # Prompts are tokenised once.
            vars(waiting)["_encoded"] = vars(spec).get("_encoded", {})
        loggers: list[Any] = trainer.loggers
        trainer.loggers = [
            one.kind(**one.arguments) if isinstance(one, Later) else one for one in loggers
        ]

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
