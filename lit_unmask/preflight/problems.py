"""Problem sets that are counted and not downloaded."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import singledispatch
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

from lit_unmask.callbacks import TransferTest
from lit_unmask.errors import ConfigurationError
from lit_unmask.preflight.blueprint import Blueprint
from lit_unmask.preflight.missing import Missing
from lit_unmask.tasks.base import ProblemSet
from lit_unmask.tasks.datamodule import TaskDataModule
from lit_unmask.tasks.limits import prompt_lengths
from lit_unmask.tasks.mixture import Curriculum, Mixture
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
    """A set on the hub of which only the likely size is known.

    Args:
        task: The set.
        size: Number of problems.
    """

    def __init__(self, task: HubTask, size: int) -> None:
        self.task, self._size = task, size

    def __len__(self) -> int:
        """Return the likely number of problems."""
        return self._size

    def __getitem__(self, index: int) -> Problem:  # type: ignore[override]
        """Refuse: the problems have not been read."""
        raise LookupError(f"{type(self.task).__name__} has not been read")


@singledispatch
def expected(problems: ProblemSet) -> ProblemSet:
    """Return a set in which nothing has to be downloaded to know how many problems it has."""
    return problems


@expected.register
def _(problems: HubTask) -> ProblemSet:
    if problems.path is not None:
        return problems
    part, share = problems.parts[problems.split]
    rows = problems.source.sizes.get(part, 0)
    likely = rows * len(share) // 100
    return Expected(problems, min(problems.size or likely, likely or problems.size or 0))


@expected.register
def _(problems: Mixture) -> ProblemSet:
    parts = {name: expected(part) for name, part in problems.parts.items()}
    return Mixture(parts, problems.weights, problems.size, problems.seed)


@expected.register
def _(problems: Curriculum) -> ProblemSet:
    return Curriculum([expected(stage) for stage in problems.stages])


@singledispatch
def sources(problems: ProblemSet) -> Iterator[ProblemSet]:
    """Iterate over the sets that a set is made of."""
    yield problems


@sources.register
def _(problems: Mixture) -> Iterator[ProblemSet]:
    for part in problems.parts.values():
        yield from sources(part)


@sources.register
def _(problems: Curriculum) -> Iterator[ProblemSet]:
    for stage in problems.stages:
        yield from sources(stage)


def count_only(data: TaskDataModule, callbacks: Iterable[object] = ()) -> None:
    """Put sets that need no network in the place of those on the hub.

    Args:
        data: The problems; its sets are replaced.
        callbacks: Those of the run; the sets of transfer cells are replaced too.
    """
    if data.train is not None:
        data.train = expected(data.train)
    kinds: tuple[dict[str, ProblemSet], ...] = (data.val, data.test, data.tuning)
    for named in kinds:
        named.update({name: expected(problems) for name, problems in named.items()})
    for callback in callbacks:
        if isinstance(callback, TransferTest):
            callback.cells = {
                name: replace(cell, test=expected(cell.test), tuning=expected(cell.tuning))
                for name, cell in callback.cells.items()
            }


def missing_problems(sets: Iterable[ProblemSet]) -> list[Missing]:
    """Return what sets need that is not here, after :func:`count_only`."""
    found: dict[str, Missing] = {}
    for source in (source for problems in sets for source in sources(problems)):
        missing = _lacks(source)
        if missing is not None:
            found.setdefault(missing.what, missing)
    return list(found.values())


def _lacks(problems: ProblemSet) -> Missing | None:
    """Return what a set needs that is not here."""
    if not isinstance(problems, Expected):
        try:
            problems.check()
        except NoSandbox:
            return None  # said for all sets together
        except ConfigurationError as error:
            return Missing.of(error)
        return None
    task = problems.task
    command = (
        f"lit-unmask-data export --task lit_unmask.tasks.{type(task).__name__} "
        f"--split {task.split} --output FILE where there is a network, and set its path to FILE"
    )
    part = task.parts[task.split][0]
    name = f"{task.source.name} {part} at {task.revision or task.source.revision}"
    if find_spec("datasets") is None:
        return Missing(
            f"the package datasets, which reads {name}",
            f"pip install 'lit-unmask[data]', or {command}",
        )
    if not _is_cached(task):
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


def missing_graders(sets: Iterable[ProblemSet]) -> list[Missing]:
    """Return the sandboxes, with their packages, that programs need and that do not run here."""
    known = [source for problems in sets for source in sources(problems)]
    tasks = [problems.task if isinstance(problems, Expected) else problems for problems in known]
    verifiers = {
        id(task.verifier): task.verifier for task in tasks if isinstance(task, ProgramTask)
    }
    found: dict[str, Missing] = {}
    for verifier in verifiers.values():
        try:
            verifier.check()
        except ConfigurationError as error:
            first, *more = str(error).splitlines()
            missing = Missing(first.rstrip(":"), _SANDBOXES) if more else Missing.of(error)
            found.setdefault(missing.what, missing)
    return list(found.values())


@dataclass(frozen=True)
class Prompts:
    """How long prompts are.

    Attributes:
        tokens: Mean length.
        kept: Share of the problems whose prompts are short enough.
        source: Where this comes from.
    """

    tokens: int
    kept: float
    source: str


def prompts_of(data: TaskDataModule, denoiser: Blueprint, given: int | None) -> Prompts:
    """Return how long training prompts are, by counting some where that can be done.

    Args:
        data: The problems.
        denoiser: Whose tokenizer it is.
        given: Length that is taken for granted.

    Raises:
        ConfigurationError: If ``data.max_prompt_tokens`` leaves out all that were counted.
    """
    limit = data.max_prompt_tokens
    if given is not None:
        return Prompts(given, 1.0, "given as plan.prompt_tokens")
    lengths = _sampled_lengths(data.train, denoiser)
    if not lengths:
        tokens = min(_LONGEST, limit or _LONGEST)
        return Prompts(tokens, 1.0, "assumed, as tokenizer or problems are not here")
    kept = [length for length in lengths if limit is None or length <= limit]
    if not kept:
        raise ConfigurationError(
            f"data.max_prompt_tokens={limit} leaves out all of {len(lengths)} training prompts, "
            f"which have {min(lengths)} tokens and more; raise it"
        )
    share = len(kept) / len(lengths)
    return Prompts(round(sum(kept) / len(kept)), share, f"mean of {len(kept)} training prompts")


def evaluated_prompts(
    sets: Iterable[ProblemSet], denoiser: Blueprint, given: int | None
) -> Prompts:
    """Return how long the prompts of sets are, all of which are kept.

    Args:
        sets: What is evaluated.
        denoiser: Whose tokenizer it is.
        given: Length that is taken for granted.
    """
    if given is not None:
        return Prompts(given, 1.0, "given as plan.prompt_tokens")
    lengths = [length for problems in sets for length in _sampled_lengths(problems, denoiser)]
    if not lengths:
        return Prompts(_LONGEST, 1.0, "assumed, as tokenizer or problems are not here")
    tokens = round(sum(lengths) / len(lengths))
    return Prompts(tokens, 1.0, f"mean of {len(lengths)} prompts of all sets")


def _sampled_lengths(problems: ProblemSet | None, denoiser: Blueprint) -> list[int]:
    """Return the lengths of some prompts, none if problems or tokenizer are not here."""
    if problems is None or not denoiser.readable:
        return []
    try:
        step = max(len(problems) // _SAMPLE, 1)
        places = islice(range(0, len(problems), step), _SAMPLE)
        return prompt_lengths(_Listed([problems[place] for place in places]), denoiser)
    except (ConfigurationError, LookupError, ZeroDivisionError):
        return []


class _Listed(ProblemSet):
    def __init__(self, problems: list[Problem]) -> None:
        self._problems = problems

    def __len__(self) -> int:
        return len(self._problems)

    def __getitem__(self, index: int) -> Problem:  # type: ignore[override]
        self._check(index)
        return self._problems[index]
