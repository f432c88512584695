"""Learn when to unmask: policies for frozen masked diffusion language models.

The public names load on first use, so that light imports (grading workers, ``--version``) stay
free of torch and Lightning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from lit_unmask import former

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
    "evaluate": "evaluation.decode",
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

former.install()
