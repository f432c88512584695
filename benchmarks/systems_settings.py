"""What systems.yaml describes: settings, grids, and controls that are no system of their own."""

from __future__ import annotations

import re
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from jsonargparse import ArgumentParser

from lit_unmask.denoisers import Denoiser
from lit_unmask.policies import Dilated, Policy
from lit_unmask.rollout import Decoding

LENGTHS = {"gen_length": 64, "block_length": 64}
_STEP = re.compile(r"(\+\d+) \w+ (\d+)\b|\w+ = (?:\w+ ([+-]) (\d+)|(\d+) \+ \w+) ; (\d+)\b")


class Shuffled(Dilated):
    """Rounds of as many positions in a random order, which is the same in all blocks."""

    def _rounds(self) -> torch.Tensor:
        rounds = super()._rounds()
        return rounds[torch.randperm(len(rounds), generator=torch.Generator().manual_seed(0))]


def unfiltered(policy: Policy, block_length: int) -> Policy:
    """Return the policy that a filter would show a part of the positions."""
    return policy


def constant(text: str) -> float:
    """Return a reward that says nothing."""
    return 1.0


def adds_up(text: str) -> float:
    """Return which share of the steps of a text have the value that follows from the one before.

    Of a sum a step is ``+3 giving 8 .``, of a program ``rise = lift + 2 ; 25 ;``.
    """
    steps = [
        (int(bought or f"{sign or ''}{operand or first}"), int(total or value))
        for bought, total, sign, operand, first, value in _STEP.findall(text)
    ]
    pairs = list(pairwise(steps))
    return sum(one[1] + two[0] == two[1] for one, two in pairs) / max(len(pairs), 1)


@dataclass(frozen=True)
class Recipe:
    """How a system decodes, apart from the denoiser.

    Attributes:
        policy: What decides.
        decoding: How it decodes.
        threshold: Lays a threshold on a trained policy; None takes it as it is.
        votes: Rows of which the most frequent answer is taken.
    """

    policy: Policy
    decoding: Decoding
    threshold: float | None = None
    votes: int = 1


@dataclass(frozen=True)
class Solver:
    """What proposes, if not a bundled denoiser alone.

    Attributes:
        denoiser: In its place.
        wrapper: Around it.
    """

    denoiser: Denoiser | None = None
    wrapper: Callable[[Denoiser], Denoiser] | None = None


def made(kind: type, said: dict[str, Any]) -> Any:
    """Return the object that a part of systems.yaml describes."""
    parser = ArgumentParser()
    parser.add_argument("--made", type=kind)
    return parser.instantiate_classes(parser.parse_object({"made": said})).made


def changed(said: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return a description with values at dotted keys; None takes a key away."""
    said = deepcopy(said)
    for names, values in changes.items():
        keys = names.split(", ")
        each = values if isinstance(values, list) and len(keys) > 1 else [values] * len(keys)
        for key, value in zip(keys, each, strict=True):
            *path, last = key.split(".")
            place = said
            for part in path:
                place = place.setdefault(part, {})
            place[last] = deepcopy(value)
            if value is None:
                del place[last]
    return said


def choices(grid: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """Return every choice of a grid: a value, or a list of values, by key."""
    found: list[dict[str, Any]] = [{}]
    for key, values in grid.items():
        found = [one | {key: value} for one in found for value in values]
    return found


def short(choice: dict[str, Any]) -> dict[str, Any]:
    """Return a choice by the last parts of its keys."""
    named = {}
    for names, values in choice.items():
        keys = [name.rpartition(".")[2] for name in names.split(", ")]
        each = values if isinstance(values, list) and len(keys) > 1 else [values] * len(keys)
        named |= dict(zip(keys, each, strict=True))
    return named


def recipe_of(said: dict[str, Any]) -> tuple[Recipe, dict[str, Any]]:
    """Return how a setting decodes, and the description of its solver."""
    solver = {key: said[key] for key in ("denoiser", "wrapper") if key in said}
    rest = {key: value for key, value in said.items() if key not in solver}
    return made(Recipe, rest | {"decoding": LENGTHS | said.get("decoding", {})}), solver
