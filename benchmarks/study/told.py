"""The tables of policies that are told the wanted speed."""

from __future__ import annotations

from collections.abc import Mapping

from lit_unmask.report.methods import MethodAreas, area_differences, method_areas
from lit_unmask.report.statistics import Estimate
from lit_unmask.report.tables import Table, number, signed, with_interval
from study.evaluating import Trained
from study.outcomes import Study
from study.runs import ALPHAS, CONTINUED, TARGETS, TOLD_ALPHA, TOLD_TARGET, bernoulli

# How the runs of TOLD_ALPHA and of TOLD_TARGET were trained.
_WAYS = ("from the start", "continued")
_NOTE = (
    "In full diffusion, seed 0. From the start: 300 rounds. Continued: 150 rounds after the policy "
    f"of {CONTINUED}, which then is told the speed."
)


def told_tables(study: Study) -> list[Table]:
    """Return the tables, which have no rows as long as there are no results."""
    return [_alphas(study), _areas(study), _targets(study)]


def _alphas(study: Study) -> Table:
    rows = []
    for way, run in zip(_WAYS, TOLD_ALPHA, strict=True):
        before = None
        for alpha in ALPHAS:
            told, own = Trained(run, speed=alpha), Trained(bernoulli(alpha, 64).name)
            if not study.has(told):
                continue
            change = study.change_of_nfe(before, told) if before else ""
            of_its_own = study.numbers(own) if study.has(own) else ["", ""]
            rows.append([way, f"{alpha:g}", *study.numbers(told), change, *of_its_own])
            before = told
    return Table(
        title="One policy that is told alpha, and five that are trained for one each",
        note=f"{_NOTE} The change of NFE is to the row above, with its interval.",
        columns=["told", "alpha", "accuracy", "NFE", "change of NFE", "own: accuracy", "NFE"],
        rows=rows,
        names=2,
    )


def _areas(study: Study) -> Table:
    table = Table(
        title="Their frontiers",
        note=(
            "Areas under accuracy against forwards up to 64, the settings preferred by their "
            "accuracy on the tuning problems; intervals from the same resampled test problems. "
            "The cost is that of the training rollouts in denoiser row-forwards."
        ),
        columns=["policies", "hypervolume", "area over log NFE", "thousand row-forwards"],
        rows=[],
    )
    own = [Trained(bernoulli(alpha, 64).name) for alpha in ALPHAS]
    if not study.has(*own):
        return table
    five = method_areas(study.dataset, study.resampled, study.method("five", own))
    table.rows.append(["five", *_cells(five.areas), _cost(study, *(one.run for one in own))])
    for way, run in zip(_WAYS, TOLD_ALPHA, strict=True):
        told = [Trained(run, speed=alpha) for alpha in ALPHAS]
        if not study.has(*told):
            continue
        method = study.method(f"one that is told alpha, {way}", told)
        one: MethodAreas = method_areas(study.dataset, study.resampled, method)
        (difference,) = area_differences([one], [five])
        runs = [run, CONTINUED] if way == "continued" else [run]
        table.rows.append([method.name, *_cells(one.areas), _cost(study, *runs)])
        table.rows.append(["the same less the five", *_cells(difference.differences), ""])
    return table


def _targets(study: Study) -> Table:
    rows = []
    for way, run in zip(_WAYS, TOLD_TARGET, strict=True):
        for target in TARGETS:
            one = Trained(run, speed=float(target))
            if study.has(one):
                accuracy, nfe = study.numbers(one)
                off = 100 * (study.setting(one).mean_nfe.value / target - 1)
                rows.append([way, f"{target:g}", nfe, signed(off, 1), accuracy])
    return Table(
        title="Answers in about so many forwards",
        note=f"One policy that is told the number of forwards. {_NOTE}",
        columns=["told", "asked for", "NFE", "off by, %", "accuracy"],
        rows=rows,
        names=2,
    )


def _cells(estimates: Mapping[str, Estimate]) -> list[str]:
    return [with_interval(estimate, 3) for estimate in estimates.values()]


def _cost(study: Study, *runs: str) -> str:
    return number(sum(study.logs[run].row_forwards for run in runs) / 1000, 0)
