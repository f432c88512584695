"""The study: its runs, what is kept of them, and its tables."""

from __future__ import annotations

import importlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from lit_unmask.cli import main
from lit_unmask.policies import ConfidenceTransformer, LearnedPolicy
from lit_unmask.sharing import TrainedWith
from lit_unmask.sharing.saved import read_saved, save_policy

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
runs, training, logs, evaluating, tables = (
    importlib.import_module(f"study.{name}")
    for name in ("runs", "training", "logs", "evaluating", "tables")
)
ALL = {run.name: run for chain in runs.chains() for run in chain}
SMALL = ("--data.init_args.batch_size=1", "--model.rounds.group_size=2")
FEW = "--data.init_args.val.math.init_args.size=2"
# Runs that differ in more than numbers.
KINDS = [n for n in ALL if not n.startswith(("bernoulli/", "imitation/", "demonstrations"))]


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Keep everything of the study in a folder of the test."""
    monkeypatch.chdir(tmp_path)
    # Runs that go on from a policy of the study name its folder from the repository's root.
    start = tmp_path / "benchmarks/study/trained" / runs.bernoulli(1.0, 64).name / "best"
    policy = LearnedPolicy(ConfidenceTransformer(32, 2, 64, top_p=4))
    save_policy(policy, start, TrainedWith(gen_length=64, block_length=64))
    for module in (training, logs, evaluating):
        monkeypatch.setattr(module, "TRAINED", tmp_path / "trained")
    monkeypatch.setattr(training, "WORK", tmp_path / "work")
    return tmp_path


def test_the_study_has_every_weight_block_length_and_three_seeds_of_one():
    blocks = {(a, b) for a in runs.ALPHAS for b in runs.BLOCKS}
    assert {f"bernoulli/alpha-{a:g}-block-{b}-seed-0" for a, b in blocks} <= set(ALL)
    assert {runs.bernoulli(runs.ALPHA, 64, seed).name for seed in range(3)} <= set(ALL)
    assert len(ALL) == sum(len(chain) for chain in runs.chains())


@pytest.mark.parametrize("name", [runs.bernoulli(0.3, 16).name, *KINDS])
def test_a_run_goes_through_a_fast_dev_run(name, places):
    line = training.command(ALL[name])
    main([*line[3:], "--trainer.fast_dev_run=1", *SMALL, FEW])


def test_imitation_and_rewards_go_on_from_one_another(places):
    recording, alone, rewards = (
        ALL[name] for name in ("demonstrations", "imitation/alone", "imitation/then-rewards")
    )
    main([*training.command(recording)[3:], "--data.init_args.test.math.init_args.size=3"])
    main(
        [
            *training.command(alone)[3:],
            *("--data.init_args.store=runs/study/demonstrations", "--data.init_args.batch_size=8"),
            *("--trainer.max_steps=1", "--trainer.val_check_interval=1", FEW),
        ]
    )
    line = training.command(rewards)
    assert line[-1] == str(places / "work" / "imitation" / "alone" / "checkpoints" / "best.ckpt")
    main([*line[3:], "--trainer.max_steps=1", "--trainer.val_check_interval=1", *SMALL, FEW])


def test_a_finished_run_is_kept_with_its_log_and_not_repeated(places, capsys, monkeypatch):
    def in_process(line, **_):
        main(line[3:])
        return subprocess.CompletedProcess(line, 0)

    short = ("--trainer.val_check_interval=1", *SMALL, FEW)
    variant = ALL["imitation/none"].settings
    one, run = (
        replace(ALL["imitation/none"], settings=(*variant, *short, f"--trainer.max_steps={rounds}"))
        for rounds in (1, 2)
    )
    assert training.train(one)  # as if interrupted after a round
    only_there = SimpleNamespace(run=in_process, STDOUT=subprocess.STDOUT)
    monkeypatch.setattr(training, "subprocess", only_there)
    assert training.train_chain((run,)) == [] and "done" in capsys.readouterr().out
    log = logs.read_log(run.name)
    assert log.row_forwards > 0 and len(log.column("val/math/reward")) == 2
    evaluated = [one.kind for one in evaluating.trained(evaluating.names())]
    kept = [places / "trained" / run.name / kind for kind in evaluating.KINDS]
    assert read_saved(kept[1]).trained_with.rounds == 2
    weights = {(folder / "model.safetensors").read_bytes() for folder in kept}
    assert evaluated == ["best", "last"][: len(weights)]
    assert training.train_chain((run,)) == [] and capsys.readouterr().out == ""


def test_a_failed_run_is_named_and_nothing_is_kept(places, monkeypatch):
    run = ALL["imitation/none"]
    monkeypatch.setattr(training, "command", lambda run: [sys.executable, "-c", "exit(2)"])
    assert training.train_chain((run,)) == [run.name]
    assert not training.is_done(run.name)


@pytest.mark.parametrize(
    ("rewards", "verdict"),
    [
        ([0.9] * 40 + [0.5] * 20 + [0.8] * 20, "no collapse: 0.80, 0.80"),
        ([0.1] * 40 + [0.8] * 20 + [0.2] * 20, "collapsed: 0.80, 0.20"),
        ([0.1] * 10, "too short"),
        ([], "no rounds of rollouts"),
    ],
)
def test_a_log_tells_a_collapse(rewards, verdict):
    assert logs.Log([{"train/reward": value} for value in rewards]).verdict == verdict


@pytest.mark.parametrize(("last", "verdict"), [(0.21, "no gain"), (0.3, "no collapse")])
def test_a_log_tells_that_validation_never_rose(last, verdict):
    rounds = [{"train/reward": 0.2} for _ in range(100)]
    rounds[24]["val/math/reward"], rounds[99]["val/math/reward"] = 0.2, last
    assert logs.Log(rounds).verdict.startswith(verdict)


def test_tables_are_made_of_what_there_is(places):
    names = [runs.bernoulli(alpha, 64).name for alpha in runs.ALPHAS]
    for name in (*names, "heads/dpls", "imitation/none"):
        for kind in evaluating.KINDS:
            policy = LearnedPolicy(ConfidenceTransformer(width=16, heads=2, feed_forward=16))
            with_blocks = TrainedWith(gen_length=64, block_length=64)
            save_policy(policy, places / "trained" / name / kind, with_blocks)
        log = places / "trained" / name / "training.csv"
        log.write_text("step,train/reward,train/row_forwards\n0,0.5,100\n1,0.5,50\n")
    first = evaluating.evaluate(places / "store", small=True)
    second = evaluating.evaluate(places / "store", small=True)
    assert first == "24 outcomes computed, 0 found" and second == "0 outcomes computed, 24 found"
