"""The checkpoint that ``--ckpt_path`` means."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lit_unmask.errors import ConfigurationError
from lit_unmask.sharing.saved import newest_whole, stored_in

# What Lightning itself turns into a path.
_WORDS_OF_LIGHTNING = ("hpc", "registry")


def checkpoint_of(given: str | None, trainer: Mapping[str, Any]) -> str | None:
    """Return the path of the checkpoint that a run goes on from; reads no denoiser.

    Args:
        given: The setting ``ckpt_path``: a file, a folder, ``last``, or None.
        trainer: The settings of the trainer, whose logger and callbacks say where checkpoints are.

    Raises:
        ConfigurationError: If there is no whole checkpoint, or it is asked for by ``best``.
    """
    if given is None or given.split(":")[0] in _WORDS_OF_LIGHTNING:
        return given
    if not given:
        raise ConfigurationError("ckpt_path is empty; leave it out, or give a file or a folder")
    if given == "best":
        raise ConfigurationError(
            "ckpt_path=best is known only to the process that trained; give the path of a "
            "checkpoint, or last"
        )
    if given == "last":
        patterns = _patterns(trainer)
        found = newest_whole(file for folder, pattern in patterns for file in folder.glob(pattern))
        if found is None:
            places = " or ".join(str(folder / pattern) for folder, pattern in patterns)
            raise ConfigurationError(
                f"ckpt_path=last finds no whole checkpoint ({places}); give the path of one, or "
                "leave ckpt_path out"
            )
        return str(found)
    if Path(given).is_dir():
        found = newest_whole(Path(given).rglob("*.ckpt"))
        if found is None:
            raise ConfigurationError(
                f"ckpt_path={given} is a folder without a whole checkpoint of lit-unmask fit; give "
                "another one, or begin from a saved policy with "
                "model.policy={class_path: lit_unmask.load_policy, init_args: {path: ...}}"
            )
        return str(found)
    return given


def check_seed(given: str | None, path: str | None, seed: int) -> None:
    """Check that what ``last`` found is of a run with the same noise.

    Raises:
        ConfigurationError: If it is of another one.
    """
    if given != "last" or path is None:
        return
    entry = stored_in(Path(path)).get("policy", {})
    then = (entry.get("trained_with") or {}).get("seed", seed)
    if then != seed:
        raise ConfigurationError(
            f"ckpt_path=last finds {path}, of a run with model.rounds.seed={then}, and this one "
            f"has {seed}; give the path of a checkpoint, or each run a name or version of its own"
        )


def _patterns(trainer: Mapping[str, Any]) -> list[tuple[Path, str]]:
    """Return folders and patterns of the checkpoints that runs of these settings write."""
    root = Path(trainer["default_root_dir"] or ".")
    loggers = trainer["logger"]
    first = (loggers or [False])[0] if isinstance(loggers, list) else loggers
    if first is False:
        found = [(root / "checkpoints", "*.ckpt")]
    else:
        given = {} if first is None or first is True else first.get("init_args") or {}
        # What Lightning calls the folder by: the project of a service, or the name.
        name = given.get("project", given.get("name"))
        home = Path(given.get("save_dir") or root) / ("lightning_logs" if name is None else name)
        version = given.get("version")
        each = version if isinstance(version, str) else f"version_{version}"
        found = [(home, f"{'version_*' if version is None else each}/checkpoints/*.ckpt")]
    callbacks = trainer["callbacks"] or []
    for callback in callbacks if isinstance(callbacks, list) else [callbacks]:
        folder = (callback.get("init_args") or {}).get("dirpath")
        if folder is not None:
            found.append((Path(folder), "*.ckpt"))
    return found
