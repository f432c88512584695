"""Configurations that say what they change of others."""

from __future__ import annotations

import json
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
        if flag not in ("--config", "-c"):
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
    found: list[Path] = []
    for name in _named(config):
        base = config.parent / name
        found += [*_bases(base, (*above, config.resolve())), base]
    return found


def _named(config: Path) -> list[str]:
    """Return the bases that a configuration names, once it can be read.

    The parser reads it again, but would not say which file it is that cannot be read.

    Raises:
        ConfigurationError: If it is no mapping in YAML, or says something twice.
    """
    try:
        text = config.read_text(encoding="utf-8")
        content = yaml.load(text, _OnceLoader)  # noqa: S506 # nosec B506  # a SafeLoader
        json.dumps(content, default=str)
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{config} is not UTF-8 ({error}); save it as UTF-8") from error
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{config} is not YAML ({error}); correct it") from error
    except (ValueError, RecursionError) as error:
        said = "a value contains itself" if "Circular" in str(error) else "nested too deeply"
        raise ConfigurationError(f"{config} cannot be read ({said}); correct it") from error
    if not isinstance(content, dict):
        raise ConfigurationError(
            f"{config} is {'empty' if content is None else f'a {type(content).__name__}'}; a "
            "configuration must be a mapping such as `seed_everything: 0`"
        )
    named = content.get("extends") or []
    names = [named] if isinstance(named, str) else named
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise ConfigurationError(
            f"{config}: extends={named!r} must be the path of a configuration, or a list of paths"
        )
    return names


class _OnceLoader(yaml.SafeLoader):
    """A loader for which a key that stands twice is a mistake; the first would be lost."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for place, key in enumerate(keys):
            if key in keys[:place]:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice", node.value[place][0].start_mark
                )
        return super().construct_mapping(node, deep)


def read_config(path: str | Path) -> dict[str, Any]:
    """Return a configuration, all of it in one, unresolved, for scripts that change some."""
    parts = [_with_parts(file) for file in [*_bases(Path(path), ()), Path(path)]]
    whole = OmegaConf.to_container(OmegaConf.merge(*map(OmegaConf.create, parts)))
    assert isinstance(whole, dict)
    whole.pop("extends", None)
    return {str(key): value for key, value in whole.items()}


def _with_parts(file: Path) -> Any:
    """Return what a file says, with the content of the files that stand for a value of it."""

    def whole(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: part if key == "extends" else whole(part) for key, part in value.items()}
        if isinstance(value, list):
            return [whole(part) for part in value]
        named = isinstance(value, str) and value.endswith(".yaml") and file.parent / value
        return _with_parts(named) if named and named.is_file() else value

    return whole(yaml.safe_load(file.read_text()))
