"""Short hashes that say whether two evaluations are of the same thing."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lit_unmask.denoisers.face import Denoiser
from lit_unmask.files import canonical_json
from lit_unmask.policies.base import Policy
from lit_unmask.rollout import Decoding
from lit_unmask.types import Problem

_NAMED = "gen_length", "block_length", "temperature", "on_empty", "approximate"
# Weights of each tensor of a denoiser that are looked at: enough to tell two trainings apart.
_SAMPLE = 64


def denoiser_name(denoiser: Denoiser) -> str:
    """Return a denoiser's path, revision and a hash of the rest of its identity and its weights.

    Of the weights a sample of every tensor is looked at, as large ones take long to read.
    """
    identity = {name: value for name, value in denoiser.identity.items() if value is not None}
    said = hashlib.blake2b(canonical_json(identity["config_hash"]).encode(), digest_size=6)
    rest = identity.keys() - {"path", "revision", "config_hash"}
    if rest:
        said.update(canonical_json({name: identity[name] for name in sorted(rest)}).encode())
    for name, value in denoiser.named_weights():
        stride = max(value.numel() // _SAMPLE, 1)
        _add(said, name, value.flatten()[::stride])
    revision = f"@{identity['revision']}" if "revision" in identity else ""
    return f"{identity['path']}{revision} #{said.hexdigest()}"


def policy_hash(policy: Policy) -> str:
    """Return a hash of a policy's classes, plain settings, weights and buffers, 16 hex digits."""
    said = hashlib.blake2b(digest_size=8)
    for name, module in policy.named_modules():
        kind = type(module)
        said.update(canonical_json([name, kind.__qualname__, plain_settings(module)]).encode())
    for name, value in sorted(policy.state_dict().items()):
        _add(said, name, value)
    return said.hexdigest()


def plain_settings(module: nn.Module) -> dict[str, Any]:
    """Return the public attributes of a module that are numbers, strings or lists of such.

    Those that ``later_settings`` of its class names are left out at the values that it gives.
    """
    later = getattr(type(module), "later_settings", {})
    return {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_") and name != "training" and _is_plain(value)
        if name not in later or value != later[name]
    }


def decoding_fields(decoding: Decoding) -> dict[str, Any]:
    """Return all that trajectories depend on: a field each, and ``further`` what is in use beside.

    A setting that is new is among the further ones, so that no key can miss it.
    """
    settings = decoding.trajectory_settings()
    named = {name: settings.pop(name) for name in _NAMED}
    further = {name: value for name, value in settings.items() if value is not None}
    return named | {"further": further}


def problems_hash(denoiser: Denoiser, problems: Sequence[Problem]) -> str:
    """Return a hash of problems in their order: uid, prompt as the denoiser sees it, answer."""
    said = hashlib.blake2b(digest_size=8)
    prompt = denoiser.encode(problems)
    for problem, tokens, real in zip(problems, prompt.tokens, prompt.attention, strict=True):
        row = [problem.uid, tokens[real].tolist(), problem.answer]
        said.update(canonical_json(row).encode())
    return said.hexdigest()


def verifier_limits(problems: Sequence[Problem]) -> list[dict[str, Any]]:
    """Return what grading may use, as far as verdicts depend on it: each ``limits`` once.

    Verifiers without such limits, as those of most tasks are, add nothing.
    """
    found = (dict(getattr(problem.verifier, "limits", {})) for problem in problems)
    return list({canonical_json(limits): limits for limits in found if limits}.values())


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_plain(item) for item in value)
    return value is None or isinstance(value, bool | int | float | str)


def _add(said: hashlib.blake2b, name: str, value: Tensor) -> None:
    """Add a tensor's name, shape, type and bytes."""
    said.update(canonical_json([name, list(value.shape), str(value.dtype)]).encode())
    said.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
