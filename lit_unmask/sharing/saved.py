"""Saved policies: a folder with ``config.json`` and ``model.safetensors``, or a checkpoint."""

from __future__ import annotations

import hashlib
import json
import pickle
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from lit_unmask.errors import ConfigurationError
from lit_unmask.files import check_sums, parse_json, write_sums, zip_damage
from lit_unmask.policies import LearnedPolicy, Policy
from lit_unmask.policies.networks.reference import check_finite, misfits
from lit_unmask.sharing.description import (
    FORMAT_VERSION,
    Classes,
    TrainedWith,
    build,
    describe,
    head,
)
from lit_unmask.sharing.hub import CONFIG, WEIGHTS, download

_PREFIX = "policy."


@dataclass(frozen=True)
class SavedPolicy:
    """A policy as it was stored.

    Attributes:
        source: File or folder, for messages.
        description: ``class_path`` and ``init_args``.
        trained_with: What it was trained with, as far as it is known.
        weights: Its state dictionary; empty for a heuristic.
    """

    source: Path
    description: dict[str, Any]
    trained_with: TrainedWith = TrainedWith()  # noqa: RUF009  (frozen)
    weights: dict[str, Tensor] = field(default_factory=dict)

    def build(self, classes: Classes = ()) -> Policy:
        """Make the policy, on the CPU and in evaluation mode.

        Args:
            classes: Classes of the caller's that the description may name.

        Raises:
            ConfigurationError: If it names another class, the weights do not fit or are not finite,
                or a file is not the one that was written.
        """
        try:
            policy = build(self.description, classes)
        except ConfigurationError as error:
            raise ConfigurationError(f"{self.source}: {error}") from error
        if not isinstance(policy, Policy):
            raise ConfigurationError(f"{self.source}: {type(policy).__name__} is not a policy")
        types = {value.dtype for value in self.weights.values() if value.is_floating_point()}
        if len(types) == 1:
            policy.to(types.pop())
        if differences := misfits(self.weights, policy.state_dict()):
            raise ConfigurationError(
                f"{self.source}: the weights do not fit {self.description['class_path']} "
                f"({differences}); use the config.json that was saved with them"
            )
        if self.source.is_dir():
            check_sums(self.source)
        check_finite(policy, self.weights, str(self.source))
        policy.load_state_dict(self.weights)
        if isinstance(policy, LearnedPolicy):
            policy.origin = self.trained_with, _weights_hash(policy)
        return policy.eval()


def read_saved(path: str | Path, revision: str | None = None) -> SavedPolicy:
    """Read a policy without making it; see :func:`load_policy`."""
    local = Path(path).expanduser()
    if local.exists():
        if revision is not None:
            raise ConfigurationError(
                f"revision={revision!r} must be None: {path} is on this machine, and only "
                "policies on the hub have revisions"
            )
        return _read_folder(local) if local.is_dir() else read_checkpoint(local)
    return _read_folder(download(str(path), revision))


def _read_folder(folder: Path) -> SavedPolicy:
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise ConfigurationError(
                f"{folder / name} is missing: {folder} holds no policy; save_policy and "
                "lit-unmask-export write such folders"
            )
    try:
        entry = parse_json((folder / CONFIG).read_bytes())
    except ValueError as error:
        raise ConfigurationError(
            f"{folder / CONFIG} must be JSON ({error}); restore it from a copy"
        ) from error
    try:
        weights = load_file(folder / WEIGHTS)
    except SafetensorError as error:
        raise ConfigurationError(
            f"{folder / WEIGHTS} is damaged ({error}); restore it from a copy"
        ) from error
    return replace(_read_head(folder / CONFIG, entry), source=folder, weights=weights)


def _read_head(source: Path, entry: Any) -> SavedPolicy:
    """Return a policy without its weights."""
    version = entry.get("format_version") if isinstance(entry, Mapping) else None
    if type(version) is not int:
        raise ConfigurationError(
            f"{source} has no format_version: it describes no policy; give a folder that "
            "save_policy or lit-unmask-export wrote"
        )
    if version != FORMAT_VERSION:
        raise ConfigurationError(
            f"{source}: format_version={version} must be {FORMAT_VERSION}; it was written by "
            f"lit_unmask {entry.get('lit_unmask_version')}, use that version"
        )
    try:
        return SavedPolicy(source, entry["policy"], TrainedWith(**entry["trained_with"]))
    except (KeyError, TypeError) as error:
        raise ConfigurationError(
            f"{source} describes no policy ({error}); restore it from a copy"
        ) from error


def stored_in(file: Path) -> dict[str, Any]:
    """Return what a checkpoint of ``lit-unmask fit`` holds, compared with its checksums.

    Args:
        file: The checkpoint.

    Raises:
        ConfigurationError: If it is damaged or no such checkpoint; names a whole one beside it.
    """
    if bad := zip_damage(file):
        good = newest_whole(other for other in file.parent.glob("*.ckpt") if other != file)
        remedy = f"the newest whole one beside it is {good}" if good else "restore it from a copy"
        raise ConfigurationError(
            f"{file} is damaged, or not a checkpoint of lit-unmask fit: {bad}; {remedy}"
        )
    stored = None
    with suppress(pickle.UnpicklingError, RuntimeError):
        stored = torch.load(file, map_location="cpu", weights_only=True)
    if not isinstance(stored, dict) or not isinstance(stored.get("state_dict"), dict):
        raise ConfigurationError(f"{file} is not a checkpoint of lit-unmask fit")
    return stored


def newest_whole(files: Iterable[Path]) -> Path | None:
    """Return the file that was written last of those that a run can go on from, if there is one.

    Left out are files that are damaged, and those that hold weights alone.
    """
    for file in sorted(files, key=lambda file: file.stat().st_mtime_ns, reverse=True):
        with suppress(ConfigurationError):
            if zip_damage(file) is None and "loops" in stored_in(file):
                return file
    return None


def read_checkpoint(file: Path, entry: Mapping[str, Any] | None = None) -> SavedPolicy:
    """Read the policy in a checkpoint of ``lit-unmask fit``.

    Args:
        file: The checkpoint.
        entry: What stands in for a missing description, as :func:`head` returns it.

    Raises:
        ConfigurationError: If it is no such checkpoint, or does not say what the policy is.
    """
    stored = stored_in(file)
    entry = stored.get("policy", entry)
    if "trained_denoiser" in stored:
        raise ConfigurationError(
            f"{file} holds a policy that was trained together with its denoiser, and is nothing "
            "without it; use it with --ckpt_path and the configuration of its run"
        )
    if entry is None:
        raise ConfigurationError(
            f"{file} does not say what its policy is, as early checkpoints did not; run "
            f"`lit-unmask-export {file} FOLDER --training CONFIG` with the configuration of its "
            "training run, and load FOLDER"
        )
    if not isinstance(entry, Mapping):
        raise ConfigurationError(f"{file} says {entry!r} of its policy; restore it from a copy")
    if "undescribed" in entry:
        raise ConfigurationError(
            f"{file} does not say what its policy is: {entry['undescribed']}; mend the class, "
            "load the weights into it and call save_policy"
        )
    saved = _read_head(file, entry)
    weights = {
        name.removeprefix(_PREFIX): value
        for name, value in stored["state_dict"].items()
        if name.startswith(_PREFIX)
    }
    trained_with = saved.trained_with
    if "denoiser" in stored and trained_with.denoiser is None:
        trained_with = replace(trained_with, denoiser=stored["denoiser"])
    rounds = stored.get("global_step", trained_with.rounds)
    return replace(saved, weights=weights, trained_with=replace(trained_with, rounds=rounds))


def save_policy(
    policy: Policy,
    folder: str | Path,
    trained_with: TrainedWith | None = None,
    documents: Mapping[str, str] | None = None,
) -> Path:
    """Write a policy into a new folder, as a whole or not at all.

    Args:
        policy: Learned policy or heuristic.
        folder: Where to; it must not exist, or be empty.
        trained_with: What it was trained with; None takes what a loaded policy was trained with,
            if it has the same weights still.
        documents: Further texts by file name, such as ``README.md``.

    Returns:
        The folder.

    Raises:
        ConfigurationError: If the folder is in use, the policy cannot be described, or a weight
            is not finite.
    """
    folder = Path(folder)
    check_free(folder)
    check_finite(policy, policy.state_dict(), str(folder))
    description = describe(policy)
    kinds = [type(module) for module in policy.modules()]
    again = describe(build(description, kinds))
    if again != description:
        raise ConfigurationError(
            f"policy class {type(policy).__qualname__} changes its arguments: made with "
            f"{description['init_args']} it keeps {again['init_args']}; keep them as they come"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as made:
        draft = Path(made) / "policy"
        draft.mkdir()
        weights = {name: v.detach().cpu().clone() for name, v in policy.state_dict().items()}
        (draft / WEIGHTS).write_bytes(save(weights, metadata={"format": "pt"}))
        known = recalled(policy) if trained_with is None else trained_with
        text = json.dumps(head(description, known), indent=2) + "\n"
        for name, content in {CONFIG: text, **(documents or {})}.items():
            (draft / name).write_text(content, encoding="utf-8")
        write_sums(draft, [CONFIG, WEIGHTS])
        draft.rename(folder)
    return folder


def check_free(folder: Path) -> None:
    """Check that there is nothing in the place of a new folder.

    Raises:
        ConfigurationError: If there is.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise ConfigurationError(f"{folder} is there already; remove it, or choose another folder")


def recalled(policy: Policy) -> TrainedWith:
    """Return what a policy was trained with; nothing is known once it was trained further."""
    origin = policy.origin if isinstance(policy, LearnedPolicy) else None
    match origin:
        case (TrainedWith() as trained_with, hashed) if hashed == _weights_hash(policy):
            return trained_with
    return TrainedWith()


def _weights_hash(policy: Policy) -> str:
    weights = {name: v.detach().cpu().clone() for name, v in policy.state_dict().items()}
    return hashlib.blake2b(save(weights), digest_size=8).hexdigest()
