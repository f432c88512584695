"""Modules and classes under the names that they had.

Class paths in configurations and saved policies, and scripts of users, may name them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import ModuleType
from typing import Any

_PACKAGE = __name__.partition(".")[0]
_MOVED = {
    "collection": "training.collection",
    "comparability": "report.reading",
    "continuation": "training.checkpoints",
    "demonstrations": "training.demonstrations",
    "denoisers.base": "denoisers.network",
    "distributions": "policies.actions",
    "drift": "evaluation.drift",
    "evaluating": "training.evaluating",
    "evaluation_set": "evaluation.evaluation_set",
    "experts": "training.experts",
    "fingerprints": "evaluation.fingerprints",
    "frontier": "evaluation.points",
    "grading": "evaluation.grading",
    "grpo": "training.grpo",
    "imitation": "training.imitation",
    "metrics": "evaluation.metrics",
    "module": "training.module",
    "objective": "training.objective",
    "plan": "preflight",
    "rewards": "training.rewards",
    "rounds": "training.settings",
    "sandbox": "verifiers.sandbox",
    "schedule": "training.schedule",
    "speed": "training.conditioning",
    "statistics": "report.statistics",
    "store": "evaluation.store",
    "strategy": "training.strategy",
    "sweep": "evaluation.sweep",
    "trace": "inspection.trace",
    "trajectories": "inspection.trajectories",
    "tuning": "evaluation.grid",
    "verification": "verifiers",
    "viewer": "inspection.viewer",
}

_RENAMED = {"policies": {"Paced": "Conditioned"}}


def renamed(package: str) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a package some of whose classes had other names.

    Args:
        package: Its name.
    """
    names = _RENAMED[package.removeprefix(f"{_PACKAGE}.")]

    def find(name: str) -> Any:
        """Return the class that is meant by a former name."""
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(sys.modules[package], names[name])

    return find


def _today(name: str) -> str | None:
    """Return the name that a module has today; None if it is no former one."""
    package, _, rest = name.partition(".")
    if package != _PACKAGE:
        return None
    parts = rest.split(".")
    for length in (2, 1):
        former = ".".join(parts[:length])
        if former in _MOVED:
            return ".".join([_PACKAGE, _MOVED[former], *parts[length:]])
    return None


class _Former(MetaPathFinder, Loader):
    """Finds a module under the name that it had."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        """Return a spec of a former name; None for all others."""
        return spec_from_loader(fullname, self) if _today(fullname) else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the module that is meant."""
        module = import_module(str(_today(spec.name)))
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Leave the module as it is, under its own name."""
        module.__spec__ = self._spec


def install() -> None:
    """Let former names be imported; first, or what lies below one would be loaded twice."""
    if not any(isinstance(finder, _Former) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Former())
