"""Measures every decoding system of systems.yaml: same problems, same noise, one ledger.

    python benchmarks/systems.py                                  # all that is missing
    python benchmarks/systems.py --denoisers tiny-dream --tasks math --systems wino klass

A system is tuned over its grid on the tuning problems: the most accurate setting, of equally
accurate ones the cheapest. That one and its control are run on the test problems, the systems that
others are compared with at all settings of their tuning fronts. Outcomes go to a results store,
from which a second run takes all of them; rows to benchmarks/results/systems.json, and the page to
docs/systems.md. Systems that need a folder which is not there are named on the page and left out.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import yaml
from systems_page import RIVALS, commit, measured, said, seen, write_page, write_rows
from systems_settings import Solver, changed, choices, made, recipe_of, short

from lit_unmask.denoisers import Dream, LLaDA
from lit_unmask.evaluation.decode import evaluate
from lit_unmask.evaluation.evaluation_set import EvaluationSet
from lit_unmask.evaluation.grid import Setting, at_thresholds, most_accurate
from lit_unmask.evaluation.majority import ballots, majority
from lit_unmask.evaluation.points import Point, pareto_front
from lit_unmask.evaluation.runs import Outcome, Run
from lit_unmask.evaluation.store import Store
from lit_unmask.evaluation.sweep import FreshForwards, Sweep, outcomes_of, summarise
from lit_unmask.files import canonical_json
from lit_unmask.report.comparisons import (
    CHEAPEST,
    EVERY,
    MATCHED,
    Comparison,
    compare,
    corrected,
)
from lit_unmask.report.methods import Method, Resampled
from lit_unmask.report.results import Dataset, Result, gathered
from lit_unmask.report.statistics import RESAMPLES
from lit_unmask.tasks import ShoppingSums, ShortFunctions

ROOT = Path(__file__).parents[1]
TASKS = {"math": ShoppingSums, "code": ShortFunctions}
DENOISERS = {"tiny-dream": Dream, "tiny-llada": LLaDA}
# How a setting of these is chosen that needs no more forwards, or is the only one.
FAIR = (MATCHED, CHEAPEST, EVERY)
SEED = 0


@dataclass(frozen=True)
class Tested:
    """What was run of a system on the test problems.

    Attributes:
        choice: Its tuned setting.
        key: The run of it.
        front: Runs of what others are compared with.
        control: The run of its control.
    """

    choice: dict[str, Any]
    key: str
    front: list[str]
    control: str


@dataclass
class Cell:
    """One denoiser on one task.

    Attributes:
        denoiser: Name of the bundled denoiser.
        task: Name of the task.
        systems: Entries of systems.yaml by name.
        sweep: Evaluates, and knows the store.
        sizes: Problems by stage.
        results: Runs with their outcomes by stage and key.
        tested: The test runs of each system.
    """

    denoiser: str
    task: str
    systems: dict[str, dict[str, Any]]
    sweep: Sweep
    sizes: dict[str, int]
    results: dict[str, dict[str, tuple[Run, dict[str, Outcome]]]] = field(
        default_factory=lambda: {"tuning": {}, "test": {}}
    )
    tested: dict[str, Tested] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Load the denoiser once, and every wrapper of it once."""
        self.bundled = DENOISERS[self.denoiser](self.denoiser)
        self.set = cache(self._set)

    def _set(self, stage: Any, solver: str) -> EvaluationSet:
        asked = made(Solver, json.loads(solver))
        denoiser = asked.denoiser or self.bundled
        denoiser = asked.wrapper(denoiser) if asked.wrapper else denoiser
        problems = TASKS[self.task](split=stage, size=self.sizes[stage])
        return EvaluationSet.of(f"{self.denoiser}, {self.task}", stage, denoiser, problems)

    def lacks(self, system: dict[str, Any]) -> str | None:
        """Return what a system needs and does not have here."""
        only = system.get("only")
        if only and not {self.denoiser, self.task} & set(only):
            return f"only on {', '.join(only)}"
        folder = system.get("folder")
        return f"needs {system['needs']}" if folder and not (ROOT / folder).is_dir() else None

    def run(self, name: str, stage: str, said: dict[str, Any]) -> tuple[str, Point]:
        """Run a setting on the problems of a stage; returns the key of the run and its point."""
        recipe, solver = recipe_of(said)
        problems = self.set(stage, canonical_json(solver))
        ((policy, _),) = at_thresholds(recipe.policy, recipe.threshold and [recipe.threshold])
        # Whoever decodes alike has one run, whatever it is called.
        params = {"votes": recipe.votes} if recipe.votes > 1 else {}
        setting = Setting.of(name, policy, recipe.decoding, params)
        if recipe.votes > 1:
            self._vote(problems, setting, recipe.votes)
        outcomes = self.sweep.outcomes(problems, setting, SEED)
        run = problems.run(setting, SEED)
        self.results[stage].setdefault(run.key, (run, outcomes))
        return run.key, summarise(setting, {SEED: outcomes})

    def _vote(self, problems: EvaluationSet, setting: Setting, votes: int) -> None:
        """Store what majorities come to: no setting of a decoding, but of the evaluation."""
        missing = Store(self.sweep.folder).missing(problems.run(setting, SEED), problems.problems)
        asked = [problems.problems[uid] for uid in missing]
        if asked:
            rows = ballots(asked, votes)
            said = evaluate(problems.denoiser, setting.policy, rows, setting.decoding, SEED)
            fresh = FreshForwards(len(asked), problems.denoiser.mask_id)
            fresh.count += setting.decoding.gen_length  # at each step something is committed
            found = outcomes_of(asked, majority(said, votes), fresh)
            self.sweep.record(problems, setting, SEED, found)

    def measure(self, name: str) -> None:
        """Tune a system, and run what is to be tested of it."""
        system, before = self.systems[name], self.sweep.computed
        tried = choices(system["grid"])
        settings = [changed(system["setting"], choice) for choice in tried]
        points = [self.run(name, "tuning", setting)[1] for setting in settings]
        best = most_accurate(points)
        front = [points.index(point) for point in pareto_front(points)]
        tested = {best, *(front if system.get("reference") else [])}
        keys = {at: self.run(name, "test", settings[at])[0] for at in sorted(tested)}
        control = changed(settings[best], system["control"]["changes"])
        self.tested[name] = Tested(
            short(tried[best]), keys[best], list(keys.values()), self.run(name, "test", control)[0]
        )
        done = self.sweep.computed - before
        print(f"{self.denoiser}, {self.task}: {name}, outcomes computed: {done}", flush=True)

    def rows(self) -> list[dict[str, Any]]:
        """Return the row of each system that was measured."""
        pairs = {stage: list(found.values()) for stage, found in self.results.items()}
        uids = {stage: sorted(found[0][1]) for stage, found in pairs.items()}
        test, tuning = (gathered(pairs[stage], uids[stage]) for stage in ("test", "tuning"))
        name = f"{self.denoiser}, {self.task}"
        dataset = Dataset(name, test, tuning, uids["test"], uids["tuning"], [])
        place = {result.run.key: index for index, result in enumerate(test)}
        resampled = Resampled.of(dataset, RESAMPLES, SEED)
        methods = {
            name: Method(name, "system", {"": [place[key] for key in mine.front]})
            for name, mine in self.tested.items()
        }
        asked: list[tuple[str, str]] = []
        found: list[Comparison] = []
        for name, mine in self.tested.items():
            subject = Method(name, "system", {"": [place[mine.key]]})
            control = Method("control", "system", {"": [place[mine.control]]})
            others = {other: methods[other] for other in self._others(name)} | {"control": control}
            for other, method in others.items():
                several = compare(dataset, resampled, [subject], [method])
                asked += [(name, other)] * len(several)
                found += several
        rows = []
        tests = list(zip(asked, corrected(found), strict=True))
        for name, mine in self.tested.items():
            own = [(other, one) for (subject, other), one in tests if subject == name]
            front = [test[index] for index in methods[name].indices]
            points = sorted((one.mean_nfe.value, one.accuracy.value) for one in front)
            rows.append(self._row(name, test[place[mine.key]], own) | {"front": points})
        return rows

    def _others(self, name: str) -> list[str]:
        """Return the systems that one is compared with at equal forwards."""
        names = dict.fromkeys([*RIVALS, self.systems[name]["claim"]["against"]])
        return [other for other in names if other in self.tested and other != name]

    def _row(
        self, name: str, result: Result, tests: list[tuple[str, Comparison]]
    ) -> dict[str, Any]:
        system, mine = self.systems[name], self.tested[name]
        claim, control = system["claim"], next(one for other, one in tests if other == "control")
        chosen = {
            other: next(one for its, one in tests if its == other and one.rules[0] in FAIR)
            for other in dict.fromkeys(other for other, _ in tests)
        }
        against = [one for other, one in tests if other == claim["against"]]
        if claim["expects"] != "cheaper":
            against = [chosen[claim["against"]]] if against else []
        return {
            "system": name,
            "task": self.task,
            "denoiser": self.denoiser,
            "setting": mine.choice,
            **measured(result),
            "control": {"name": system["control"]["name"], **measured(control.second)},
            "compared": {other: said(one) for other, one in chosen.items()},
            "claim": claim["text"],
            "seen": seen(claim["expects"], against[-1]) if against else "unclear",
            "problems": len(result.correct),
            "seed": SEED,
            "commit": commit(),
        }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--denoisers", nargs="*", choices=DENOISERS, default=[*DENOISERS])
    parser.add_argument("--tasks", nargs="*", choices=TASKS, default=[*TASKS])
    parser.add_argument("--systems", nargs="*", help="beside those that others are compared with")
    parser.add_argument("--table", type=Path, default=ROOT / "benchmarks" / "systems.yaml")
    parser.add_argument("--store", type=Path, default=ROOT / "runs" / "systems" / "store")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/systems.json")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "systems.md")
    parser.add_argument("--test", type=int, default=100, help="problems that are reported on")
    parser.add_argument("--tuning", type=int, default=24, help="problems that choose settings")
    options = parser.parse_args(arguments)
    systems = yaml.safe_load(options.table.read_text())
    sweep = Sweep(options.store)
    sizes = {"test": options.test, "tuning": options.tuning}
    for denoiser, task in product(options.denoisers, options.tasks):
        cell = Cell(denoiser, task, systems, sweep, sizes)
        for name, system in systems.items():
            asked = system.get("reference") or name in (options.systems or systems)
            if asked and cell.lacks(system) is None:
                cell.measure(name)
        write_rows(options.out, cell.rows())
    print(sweep.counts)
    write_page(options.page, systems, json.loads(options.out.read_text()))


if __name__ == "__main__":
    main()
