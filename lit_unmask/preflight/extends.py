"""Configurations that say what they change of others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from lit_unmask.errors import ConfigurationError


def with_bases(arguments: list[str]) -> list[str]:
    """Return the arguments with the bases of each configuration in front of it.

    A configuration names them under ``extends``, relative to itself, and holds what it changes.

    Raises:
        ConfigurationError: If a base is missing, or a configuration is its own base.
    """
    given: list[str] = []
    words, extended = iter(arguments), False
    for word in words:
        flag, equals, path = word.partition("=")
        if flag != "--config":
            given.append(word)
            continue
        path = path if equals else next(words, "")
        bases = _bases(Path(path), ())
        given += [f"--config={file}" for file in [*bases, path]]
        extended |= bool(bases)
    # What is saved or printed is whole, and extends nothing.
    return [*given, "--extends=null"] if extended else given


def _bases(config: Path, above: tuple[Path, ...]) -> list[Path]:
    """Return the configurations that one builds on, the lowest first."""
    if config.resolve() in above:
        raise ConfigurationError(f"{config} extends itself; name another base under extends")
    if not config.is_file():
        if above:
            raise ConfigurationError(f"{above[-1]} extends {config}, which is no file; correct it")
        return []  # the parser says what is wrong
    try:
        content = yaml.safe_load(config.read_text())
    except (yaml.YAMLError, UnicodeDecodeError):
        return []
    named = content.get("extends") if isinstance(content, dict) else None
    found: list[Path] = []
    for name in [named] if isinstance(named, str) else named or []:
        base = config.parent / name
        found += [*_bases(base, (*above, config.resolve())), base]
    return found


def read_config(path: str | Path) -> dict[str, Any]:
    """Return a configuration with what it extends, unresolved; for scripts that change some of it.

    Args:
        path: A configuration.
    """
    files = [*_bases(Path(path), ()), Path(path)]
    merged = OmegaConf.merge(*(OmegaConf.create(yaml.safe_load(f.read_text())) for f in files))
    whole = OmegaConf.to_container(merged)
    assert isinstance(whole, dict)
    whole.pop("extends", None)
    return {str(key): value for key, value in whole.items()}
