"""The tables of the study, from a results store and the logs of its runs."""

from __future__ import annotations

from lit_unmask.report.comparisons import Comparison
from lit_unmask.report.tables import Table, number, p_text, points
from study.evaluating import Trained
from study.outcomes import Study
from study.runs import ALPHA, ALPHAS, BLOCKS, TOLD_ALPHA, TOLD_TARGET, bernoulli
from study.told import told_tables
from study.training import TRAINED

_BESIDE = [
    *("heuristic, no more forwards", "accuracy less its"),
    *("heuristic, most accurate", "accuracy less its", "fewer forwards"),
]
# Problems of configs/demonstrations.yaml, and who solves them.
_DEMONSTRATIONS, _EXPERT = 512, ("EntropyBound", {"gamma": 0.3}, 8)


def tables(study: Study) -> list[Table]:
    """Return the tables of the study that have rows."""
    made = [
        _alphas(study),
        _heads(study),
        *told_tables(study),
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
            [f"{alpha:g}", str(block), str(seed), *study.numbers(one), *_beside(study, one)]
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
            [one.run.removeprefix("heads/"), *study.numbers(one), *_beside(study, one)]
            for one in runs
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
            rows.append([label, *study.numbers(Trained(name)), number(cost / 1000, 0)])
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
    speeds = dict.fromkeys(TOLD_ALPHA, ALPHA) | dict.fromkeys(TOLD_TARGET, 12.0)
    for run, log in study.logs.items():
        speed = speeds.get(run)
        best, last = Trained(run, "best", speed), Trained(run, "last", speed)
        if not study.has(best):
            continue
        if study.has(last):
            compared = [*study.numbers(last), study.change_of_accuracy(best, last)]
        else:
            kept = (TRAINED / run / "last").is_dir()
            compared = ["the same" if kept else "not kept", "", ""]
        rows.append([run, *study.numbers(best), *compared, log.verdict])
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
    return "" if comparison.is_different else f", p = {p_text(comparison.corrected)}"
