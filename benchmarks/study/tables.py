"""The tables of the study, from a results store and the logs of its runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from lit_unmask.report.comparisons import Comparison, compare, corrected
from lit_unmask.report.families import (
    Family,
    Resampled,
    all_heuristics,
    area_differences,
    families,
    family_areas,
)
from lit_unmask.report.numbers import number, p_text, points, signed, with_interval
from lit_unmask.report.reading import Dataset, Setting
from lit_unmask.report.tables import Table
from lit_unmask.statistics import RESAMPLES, bootstrap_estimate
from study.evaluating import Trained, names
from study.logs import Log, read_log
from study.runs import ALPHA, ALPHAS, BLOCKS, TARGETS, bernoulli
from study.training import TRAINED

_BESIDE = [
    *("heuristic, no more forwards", "accuracy less its"),
    *("heuristic, most accurate", "accuracy less its", "fewer forwards"),
]
# Problems of configs/demonstrations.yaml, and who solves them.
_DEMONSTRATIONS, _EXPERT = 512, ("EntropyBound", {"gamma": 0.3}, 8)


@dataclass(frozen=True)
class Study:
    """Results of the study and of the heuristics, on the same problems.

    Attributes:
        dataset: The results.
        logs: Logs of the runs by name.
    """

    dataset: Dataset
    logs: dict[str, Log]

    @classmethod
    def of(cls, dataset: Dataset) -> Study:
        """Read the logs that go with results."""
        return cls(dataset, {name: read_log(name) for name in names()})

    @cached_property
    def resampled(self) -> Resampled:
        """Means over resampled problems."""
        return Resampled.of(self.dataset, RESAMPLES, 0)

    @cached_property
    def places(self) -> dict[str, int]:
        """Indices of the test settings of learned policies by name."""
        return {
            setting.run.name: index
            for index, setting in enumerate(self.dataset.test)
            if setting.run.kind == "learned"
        }

    def has(self, *wanted: Trained) -> bool:
        """Return whether all of the policies have results."""
        return all(one.name in self.places for one in wanted)

    def setting(self, one: Trained) -> Setting:
        """Return the results of a policy."""
        return self.dataset.test[self.places[one.name]]

    def family(self, name: str, members: Sequence[Trained]) -> Family:
        """Return several policies as one, whose frontier is of interest."""
        return Family(name, "learned", {"": [self.places[one.name] for one in members]})

    @cached_property
    def beside(self) -> dict[str, list[Comparison]]:
        """Comparisons of each policy with the heuristics tuned over setting and block length."""
        heuristics = all_heuristics(families(self.dataset))
        assert heuristics is not None
        subjects = [Family(name, "learned", {"": [i]}) for name, i in self.places.items()]
        found: dict[str, list[Comparison]] = {name: [] for name in self.places}
        for each in corrected(compare(self.dataset, self.resampled, subjects, [heuristics])):
            found[each.first.run.name].append(each)
        return found


def tables(study: Study) -> list[Table]:
    """Return the tables of the study that have rows."""
    made = [
        _alphas(study),
        _heads(study),
        _speeds(study),
        _areas(study),
        _budget(study),
        _imitation(study),
        _collapse(study),
    ]
    return [table for table in made if table.rows]


def _alphas(study: Study) -> Table:
    runs = [
        (alpha, block, seed, Trained(bernoulli(alpha, block, seed).name))
        for block in BLOCKS
        for alpha in ALPHAS
        for seed in range(3)
    ]
    return Table(
        title="The weight of speed and the block length",
        note=(
            "Bernoulli, one policy for each weight alpha of speed and block length (BL), the best "
            "checkpoint by validation. The heuristics are tuned over their setting and the block "
            "length on 64 other problems; differences in points."
        ),
        columns=["alpha", "BL", "seed", "accuracy", "NFE", *_BESIDE],
        rows=[
            [f"{alpha:g}", str(block), str(seed), *_numbers(study, one), *_beside(study, one)]
            for alpha, block, seed, one in runs
            if study.has(one)
        ],
        names=3,
    )


def _heads(study: Study) -> Table:
    runs = [Trained(bernoulli(ALPHA, 64).name)]
    runs += [Trained(name) for name in study.logs if name.startswith("heads/")]
    return Table(
        title=f"Distributions and ways of training at alpha {ALPHA:g}",
        note=(
            "In full diffusion, seed 0. Heads of a row (count, beta-threshold, block-threshold) "
            "cannot be taught by the demonstrations that the others start from."
        ),
        columns=["policy", "accuracy", "NFE", *_BESIDE],
        rows=[
            [one.run.removeprefix("heads/"), *_numbers(study, one), *_beside(study, one)]
            for one in runs
            if study.has(one)
        ],
    )


def _speeds(study: Study) -> Table:
    pairs = [
        (alpha, Trained("told/conditioned", speed=alpha), Trained(bernoulli(alpha, 64).name))
        for alpha in ALPHAS
    ]
    present = [(a, told, single) for a, told, single in pairs if study.has(told)]
    rows = []
    for place, (alpha, told, single) in enumerate(present):
        trained_for = _numbers(study, single) if study.has(single) else ["", ""]
        change = _change(study, present[place - 1][1], told) if place else ""
        rows.append([f"{alpha:g}", *_numbers(study, told), change, *trained_for])
    return Table(
        title="One policy that is told alpha, and five that are trained for one each",
        note="In full diffusion, seed 0. The change of NFE is to the row above, with its interval.",
        columns=["alpha", "told: accuracy", "NFE", "change of NFE", "own: accuracy", "NFE"],
        rows=rows,
    )


def _areas(study: Study) -> Table:
    told = [Trained("told/conditioned", speed=alpha) for alpha in ALPHAS]
    own = [Trained(bernoulli(alpha, 64).name) for alpha in ALPHAS]
    table = Table(
        title="Their frontiers",
        note=(
            "Areas under accuracy against forwards up to 64, the settings preferred by their "
            "accuracy on the tuning problems; intervals from the same resampled test problems."
        ),
        columns=["policies", "hypervolume", "area over log NFE"],
        rows=[],
    )
    if not study.has(*told, *own):
        return table
    one, five = (
        family_areas(study.dataset, study.resampled, study.family(name, members))
        for name, members in (("one, told alpha", told), ("five", own))
    )
    (difference,) = area_differences([one], [five])
    for areas in (one, five):
        cells = [with_interval(estimate, 3) for estimate in areas.areas.values()]
        table.rows.append([areas.family.name, *cells])
    cells = [with_interval(estimate, 3) for estimate in difference.differences.values()]
    table.rows.append(["one minus five", *cells])
    return table


def _budget(study: Study) -> Table:
    policies = [(t, Trained("told/budget", speed=float(t))) for t in TARGETS]
    return Table(
        title="Answers in about so many forwards",
        note="One policy that is told the number of forwards, in full diffusion, seed 0.",
        columns=["asked for", "NFE", "off by, %", "accuracy"],
        rows=[
            [
                f"{target:g}",
                _numbers(study, one)[1],
                signed(100 * (study.setting(one).mean_nfe.value / target - 1), 1),
                _numbers(study, one)[0],
            ]
            for target, one in policies
            if study.has(one)
        ],
    )


def _imitation(study: Study) -> Table:
    alone, after = "imitation/alone", "imitation/then-rewards"
    runs = [
        (f"imitation of {_DEMONSTRATIONS} problems alone", alone, 0.0),
        ("the same, then 75 rounds of rewards", after, 0.0),
        ("a warm start of 96 problems, 150 rounds of rewards", bernoulli(ALPHA, 64).name, 96.0),
        ("150 rounds of rewards alone", "imitation/none", 0.0),
    ]
    rows = []
    for label, name, problems in runs:
        if study.has(Trained(name)):
            shown = problems if name not in (alone, after) else _DEMONSTRATIONS
            cost = shown * _expert_nfe(study) + study.logs[name].row_forwards
            rows.append([label, *_numbers(study, Trained(name)), number(cost / 1000, 0)])
    return Table(
        title="Imitation and rewards",
        note=(
            f"Bernoulli in full diffusion, alpha {ALPHA:g}, seed 0. The cost is that of what was "
            "trained on, demonstrations and rollouts, in denoiser row-forwards, without validation."
        ),
        columns=["trained by", "accuracy", "NFE", "thousand row-forwards"],
        rows=rows,
    )


def _expert_nfe(study: Study) -> float:
    """Return the mean NFE of the policy that is imitated, as far as it is known."""
    policy, params, block_length = _EXPERT
    for setting in [*study.dataset.test, *study.dataset.tuning]:
        run = setting.run
        if (run.policy, run.params, run.block_length) == (policy, params, block_length):
            return setting.mean_nfe.value
    return float("nan")


def _collapse(study: Study) -> Table:
    rows = []
    for run, log in study.logs.items():
        speed = {"told/conditioned": ALPHA, "told/budget": 12.0}.get(run)
        best, last = Trained(run, "best", speed), Trained(run, "last", speed)
        if not study.has(best):
            continue
        if study.has(last):
            compared = [*_numbers(study, last), _accuracy_change(study, best, last)]
        else:
            kept = (TRAINED / run / "last").is_dir()
            compared = ["the same" if kept else "not kept", "", ""]
        rows.append([run, *_numbers(study, best), *compared, log.verdict])
    return Table(
        title="Collapse watch",
        note=(
            "The best checkpoint by validation and the last one (told policies at alpha 3 and 12 "
            "forwards), and what the log of the run says: mean training reward of 20 rounds at its "
            "best and at the end, in the second half of the rounds."
        ),
        columns=["run", "best: accuracy", "NFE", "last: accuracy", "NFE", "last less best", "log"],
        rows=rows,
    )


def _numbers(study: Study, one: Trained) -> list[str]:
    setting = study.setting(one)
    return [with_interval(setting.accuracy, 3), with_interval(setting.mean_nfe, 1)]


def _beside(study: Study, one: Trained) -> list[str]:
    """Return the heuristic of no more forwards, the most accurate one, and the differences."""
    found = study.beside[one.name]
    matched, best = found[0], found[-1]
    return [
        matched.second.label + _cost(matched),
        points(matched.accuracy) + _mark(matched),
        best.second.label + _cost(best),
        points(best.accuracy) + _mark(best),
        f"{number(best.saved.value * 100, 0)} %",
    ]


def _cost(comparison: Comparison) -> str:
    return f" @ {number(comparison.second.mean_nfe.value, 1)}"


def _mark(comparison: Comparison) -> str:
    return "" if comparison.is_different else f", {p_text(comparison.corrected)}"


def _change(study: Study, before: Trained, after: Trained) -> str:
    nfe = study.resampled.nfe[[study.places[one.name] for one in (before, after)]]
    difference = nfe[1] - nfe[0]
    return with_interval(bootstrap_estimate(float(difference[0]), difference[1:]), 1)


def _accuracy_change(study: Study, before: Trained, after: Trained) -> str:
    accuracy = study.resampled.accuracy[[study.places[one.name] for one in (before, after)]]
    difference = accuracy[1] - accuracy[0]
    return points(bootstrap_estimate(float(difference[0]), difference[1:]))
