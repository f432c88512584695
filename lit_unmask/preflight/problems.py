"""Problem sets that are counted and not downloaded."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TypeGuard

from lit_unmask.errors import ConfigurationError
from lit_unmask.preflight.devices import Missing
from lit_unmask.preflight.dry_run import Request
from lit_unmask.tasks.base import ProblemSet
from lit_unmask.tasks.mixture import Mixture
from lit_unmask.tasks.programs import ProgramTask
from lit_unmask.tasks.published import HubTask
from lit_unmask.types import Problem
from lit_unmask.verifiers.sandbox import NoSandbox

# Prompts that are turned into tokens to learn how long they are.
_SAMPLE = 64
_SANDBOXES = "apt-get install bubblewrap, or pip install 'lit-unmask[sandbox]'"
# Where they cannot be counted: the longest that arXiv 2512.09106 trains on.
_LONGEST = 200


class Expected(ProblemSet):
    """Problems of which only the likely number is known, as they are on the hub."""

    def __init__(self, size: int) -> None:
        self._size = size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: int) -> Problem:  # type: ignore[override]
        """Refuse: the problems have not been read."""
        raise LookupError("the problems have not been read")


def expected(problems: ProblemSet) -> ProblemSet:
    """Return a set in which nothing has to be downloaded to know how many problems it has."""
    if isinstance(problems, Mixture):
        parts = {name: expected(part) for name, part in problems.parts.items()}
        return Mixture(parts, problems.weights, problems.size, problems.seed)
    if not _on_hub(problems):
        return problems
    part, share = problems.parts[problems.split]
    likely = problems.source.sizes.get(part, 0) * len(share) // 100
    return Expected(min(problems.size or likely, likely or problems.size or 0))


def size_of(problems: ProblemSet | None) -> int | None:
    """Return the number of problems, or None if they cannot be had or nobody knows."""
    try:
        return (len(expected(problems)) or None) if problems is not None else None
    except (ConfigurationError, ZeroDivisionError):  # the latter from a mixture of unknown sizes
        return None


def missing_problems(sets: Iterable[ProblemSet]) -> list[Missing]:
    """Return what sets need that is not here, and what graders of their programs need."""
    sources = [source for problems in sets for source in _sources(problems)]
    verifiers = {id(s.verifier): s.verifier for s in sources if isinstance(s, ProgramTask)}
    lacks = [lack for lack in map(_lacks, sources) if lack is not None]
    for verifier in verifiers.values():
        try:
            verifier.check()
        except ConfigurationError as error:
            first, *more = str(error).splitlines()
            lacks.append(Missing(first.rstrip(":"), _SANDBOXES) if more else Missing.of(error))
    found: dict[str, Missing] = {}
    return [found.setdefault(lack.what, lack) for lack in lacks if lack.what not in found]


def _sources(problems: ProblemSet) -> Iterator[ProblemSet]:
    """Iterate over the sets that a set is made of."""
    if not isinstance(problems, Mixture):
        yield problems
        return
    for part in problems.parts.values():
        yield from _sources(part)


def _on_hub(problems: ProblemSet) -> TypeGuard[HubTask]:
    return isinstance(problems, HubTask) and problems.path is None


def _lacks(problems: ProblemSet) -> Missing | None:
    """Return what a set needs that is not here."""
    if not _on_hub(problems):
        try:
            problems.check()
        except NoSandbox:
            pass  # said for all sets together
        except ConfigurationError as error:
            return Missing.of(error)
        return None
    command = (
        f"lit-unmask-data export --task lit_unmask.tasks.{type(problems).__name__} "
        f"--split {problems.split} --output FILE where there is a network, and set its path to FILE"
    )
    part = problems.parts[problems.split][0]
    name = f"{problems.source.name} {part} at {problems.revision or problems.source.revision}"
    if find_spec("datasets") is None:
        what = f"the package datasets, which reads {name}"
        return Missing(what, f"pip install 'lit-unmask[data]', or {command}")
    if not _is_cached(problems):
        return Missing(f"{name} is not in the cache of datasets", f"go online, or {command}")
    return None


def _is_cached(task: HubTask) -> bool:
    """Return whether ``datasets`` has prepared all rows at this commit before.

    It keeps them in ``<cache>/<owner>___<name>/<config>/<version>/<commit>``.
    """
    home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser()
    cache = Path(os.environ.get("HF_DATASETS_CACHE", home / "datasets")).expanduser()
    folder = cache / task.source.name.replace("/", "___")
    commit = task.revision or task.source.revision
    configs = task.source.configs or ("*",)
    return all(any(folder.glob(f"{config}/*/{commit}/*.arrow")) for config in configs)


@dataclass(frozen=True)
class Prompts:
    """How long prompts are.

    Attributes:
        tokens: Mean length.
        kept: Share of the training problems whose prompts are short enough.
        source: Where this comes from.
    """

    tokens: int
    kept: float
    source: str


def prompts_of(request: Request) -> Prompts:
    """Return how long prompts are, by counting some where that can be done.

    While it trains, those of training problems; else of all sets, of which all are kept.

    Raises:
        ConfigurationError: If ``data.max_prompt_tokens`` leaves out all that were counted.
    """
    given, fits = request.assumptions.prompt_tokens, request.stage == "fit"
    if given is not None:
        return Prompts(given, 1.0, "given as plan.prompt_tokens")
    limit = request.data.max_prompt_tokens if fits else None
    sets = [request.data.train] if fits else request.sets.values()
    lengths = [length for problems in sets for length in _sampled_lengths(problems, request)]
    if not lengths:
        tokens = min(_LONGEST, limit or _LONGEST)
        return Prompts(tokens, 1.0, "assumed, as tokenizer or problems are not here")
    kept = [length for length in lengths if limit is None or length <= limit]
    if not kept:
        raise ConfigurationError(
            f"data.max_prompt_tokens={limit} leaves out all of {len(lengths)} training prompts, "
            f"which have {min(lengths)} tokens and more; raise it"
        )
    said = f"mean of {len(kept)} " + ("training prompts" if fits else "prompts of all sets")
    return Prompts(round(sum(kept) / len(kept)), len(kept) / len(lengths), said)


def _sampled_lengths(problems: ProblemSet | None, request: Request) -> list[int]:
    """Return the lengths of some prompts, none if problems or tokenizer are not here."""
    if problems is None or not request.spec.readable:
        return []
    try:
        known = expected(problems)
        places = range(0, len(known), max(len(known) // _SAMPLE, 1))
        sample = [known[place] for place in islice(places, _SAMPLE)]
    except (ConfigurationError, LookupError, ZeroDivisionError):
        return []
    return [int(length) for length in request.spec.encode(sample, sys.maxsize).attention.sum(1)]
