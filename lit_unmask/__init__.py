"""Learn when to unmask: policies for frozen masked diffusion language models.

The public names load on first use, so that light imports (grading workers, ``--version``) stay
free of torch and Lightning.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Bernoulli": "distributions",
    "Choice": "policies",
    "ConfidenceThreshold": "policies",
    "ConfidenceTransformer": "policies",
    "Decoding": "rollout",
    "Dream": "denoisers",
    "GRPO": "grpo",
    "LLaDA": "denoisers",
    "LearnedPolicy": "policies",
    "LitUnmask": "module",
    "MultiplicativeSpeed": "rewards",
    "Policy": "policies",
    "Problem": "types",
    "Qwen3Diffusion": "denoisers",
    "evaluate": "evaluation",
    "load_policy": "sharing",
    "push_to_hub": "sharing",
    "save_policy": "sharing",
    "share_policy": "sharing",
}

__all__ = ["__version__", *sorted(_HOMES)]


def __getattr__(name: str) -> Any:
    """Import a public name from its module."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"lit_unmask.{_HOMES[name]}"), name)
