"""Learn when to unmask: policies for frozen masked diffusion language models.

The public names load on first use, so that light imports (grading workers, ``--version``) stay
free of torch and Lightning.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import ModuleType
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Bernoulli": "policies.actions",
    "Choice": "policies",
    "ConfidenceThreshold": "policies",
    "ConfidenceTransformer": "policies",
    "Decoding": "rollout",
    "Dream": "denoisers",
    "GRPO": "training.grpo",
    "LLaDA": "denoisers",
    "LearnedPolicy": "policies",
    "LitUnmask": "training.module",
    "MultiplicativeSpeed": "training.rewards",
    "Policy": "policies",
    "Problem": "types",
    "Qwen3Diffusion": "denoisers",
    "evaluate": "evaluation.evaluate",
    "load_policy": "sharing",
    "push_to_hub": "sharing",
    "save_policy": "sharing",
    "share_policy": "sharing",
}

__all__ = ["__version__", *sorted(_HOMES)]


def lazily(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a package whose names load on first use.

    Args:
        package: Its name.
        homes: Module below it by public name.
    """

    def load(name: str) -> Any:
        """Import a public name from its module."""
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{homes[name]}"), name)

    return load


__getattr__ = lazily(__name__, _HOMES)

# Modules of before the wings, which class paths in configurations and saved policies may name.
_MOVED = {
    "demonstrations": "training.demonstrations",
    "distributions": "policies.actions",
    "drift": "evaluation.drift",
    "grading": "evaluation.grading",
    "grpo": "training.grpo",
    "rewards": "training.rewards",
    "sandbox": "verifiers.sandbox",
    "schedule": "training.schedule",
    "speed": "training.conditioning",
    "strategy": "training.strategy",
    "trajectories": "inspection.trajectories",
    "verification": "verifiers",
}


class _Moved(MetaPathFinder, Loader):
    """Finds a module under the name that it had."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        """Return a spec of a former name; None for all others."""
        parent, _, name = fullname.rpartition(".")
        known = parent == __name__ and name in _MOVED
        return spec_from_loader(fullname, self) if known else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the module that is meant."""
        module = import_module(f"{__name__}.{_MOVED[spec.name.rpartition('.')[2]]}")
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Leave the module as it is, under its own name."""
        module.__spec__ = self._spec


sys.meta_path.append(_Moved())
