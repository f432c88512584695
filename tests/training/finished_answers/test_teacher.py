"""Rounds of teaching: what is kept, drawn, resumed and refused."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers.logger import Logger
from toys import (
    DECODING,
    After,
    Coins,
    Hopeless,
    large_steps,
    make_data,
    make_module,
    make_trainer,
    small_policy,
)

from lit_unmask.denoisers import LLaDA
from lit_unmask.errors import ConfigurationError
from lit_unmask.evaluation.grading import InProcess
from lit_unmask.policies import (
    Conditioned,
    ConfidenceThreshold,
    ConfidenceTransformer,
    CountHead,
    LearnedPolicy,
    Thresholded,
)
from lit_unmask.rollout import Decoding
from lit_unmask.training.demonstrations import DemonstrationStore, ImitationData
from lit_unmask.training.experts import Expert
from lit_unmask.training.finished_answers import FinishedAnswers, Labeller, Teacher
from lit_unmask.types import Steps

PLAIN = replace(DECODING, block_length=8, temperature=0.0)
EXPERT = Expert(ConfidenceThreshold(0.3), block_length=2)
TEACHING = FinishedAnswers(EXPERT, rounds=4, oracle_rounds=2, updates=3, batch_size=5, rate=1.0)
PROBLEMS = list(Coins("train", size=12))


def teacher(denoiser: LLaDA, folder: Path, **settings: Any) -> Teacher:
    labeller = Labeller(denoiser, small_policy(), EXPERT, PLAIN, 3, InProcess())
    return Teacher(replace(TEACHING, **settings), labeller, folder)


class Counting(LLaDA):
    """Counts the rows that it is asked about."""

    rows = 0

    def forward(self, prompt: Any, *args: Any, **settings: Any) -> Any:
        self.rows += len(prompt)
        return super().forward(prompt, *args, **settings)


def test_updates_draw_from_all_states_so_far(tiny_llada: LLaDA, tmp_path: Path) -> None:
    who = teacher(tiny_llada, tmp_path)
    first = who.lesson(PROBLEMS[:6], 0)
    both = who.lesson(PROBLEMS[6:], 1)
    store = DemonstrationStore(tmp_path)
    counts = [lessons.readings["teaching/states"] for lessons in (first, both)]
    assert 0 < counts[0] < counts[1] == len(store)
    known = {_key(store[index]) for index in range(len(store))}
    drawn = [both.draw(update) for update in range(40)]
    assert {_key(steps.select(slice(i, i + 1))) for steps in drawn for i in range(5)} == known
    assert not torch.equal(drawn[0].observation.confidence, drawn[1].observation.confidence)
    again = both.draw(0)
    assert torch.equal(drawn[0].observation.confidence, again.observation.confidence)


def _key(step: Steps) -> tuple[Any, ...]:
    seen = step.observation
    parts = step.chosen, seen.masked, seen.confidence, seen.time
    return tuple(tuple(part.flatten().tolist()) for part in parts)


def test_what_is_in_the_store_is_not_decoded_again(tiny_checkpoint: Path, tmp_path: Path) -> None:
    denoiser = Counting(str(tiny_checkpoint))
    before = [teacher(denoiser, tmp_path).lesson(PROBLEMS, number) for number in range(3)]
    spent = denoiser.rows
    after = [teacher(denoiser, tmp_path).lesson(PROBLEMS, number) for number in range(3)]
    assert denoiser.rows == spent > 0
    for one, other in zip(before, after, strict=True):
        assert _key(one.draw(1)) == _key(other.draw(1))
    with pytest.raises(ConfigurationError, match=r"holds demonstrations with further="):
        teacher(denoiser, tmp_path, thresholds=(0.5,)).lesson(PROBLEMS[:2], 3)


def test_states_of_later_rounds_are_not_seen_earlier(tiny_llada: LLaDA, tmp_path: Path) -> None:
    who = teacher(tiny_llada, tmp_path)
    for number in range(2):
        who.lesson(PROBLEMS[6 * number : 6 * number + 6], number)
    again = teacher(tiny_llada, tmp_path).lesson(PROBLEMS[:6], 0)
    assert len(again.shards) == 1


def run(
    denoiser: LLaDA, folder: Path, steps: int, ckpt: Path | None = None, **settings: Any
) -> Any:
    torch.manual_seed(0)
    defaults: dict[str, Any] = {"decoding": PLAIN, "teaching": TEACHING, "optimizer": large_steps}
    module = make_module(denoiser, **(defaults | settings))
    saves = ModelCheckpoint(
        folder / "saved", every_n_train_steps=1, save_top_k=-1, filename="{step}"
    )
    trainer = make_trainer(folder, saves, max_steps=steps, enable_checkpointing=True)
    trainer.fit(module, make_data(train=Coins("train", size=24), batch_size=4), ckpt_path=ckpt)
    return module, trainer


def test_a_policy_is_taught_at_temperature_1_and_draws_rewards_at_its_own(
    tiny_llada: LLaDA, tmp_path: Path
) -> None:
    ends = {}
    for rounds in (4, 5):
        for temperature in (1.0, 0.25):
            policy = small_policy().at(temperature=temperature)
            folder = tmp_path / f"{rounds}-{temperature}"
            module, _ = run(tiny_llada, folder, rounds, policy=policy)
            weights = [weight.flatten() for weight in module.policy.state_dict().values()]
            ends[rounds, temperature] = torch.cat(weights)
    assert torch.equal(ends[4, 1.0], ends[4, 0.25])
    assert not torch.equal(ends[4, 1.0], ends[5, 1.0])
    assert not torch.equal(ends[5, 1.0], ends[5, 0.25])


def test_a_resumed_run_ends_as_one_that_was_not_interrupted(
    tiny_llada: LLaDA, tmp_path: Path
) -> None:
    whole, _ = run(tiny_llada, tmp_path / "whole", 6)
    run(tiny_llada, tmp_path / "parts", 6)
    halfway = tmp_path / "parts/saved/step=3.ckpt"
    resumed, trainer = run(tiny_llada, tmp_path / "parts", 6, halfway)
    assert trainer.global_step == 6
    elsewhere, _ = run(tiny_llada, tmp_path / "elsewhere", 6, halfway)
    assert not (tmp_path / "elsewhere/finished_answers").exists()
    for name, weight in whole.policy.state_dict().items():
        for other in (resumed, elsewhere):
            assert torch.equal(weight, other.policy.state_dict()[name]), name
    (tmp_path / "parts/finished_answers").rename(tmp_path / "away")
    with pytest.raises(ConfigurationError, match=r"first 3 rounds were in .*put it back"):
        run(tiny_llada, tmp_path / "late", 6, halfway)


def test_rewards_begin_without_the_moments_of_the_teaching(
    tiny_llada: LLaDA, tmp_path: Path
) -> None:
    steps: list[set[float]] = []

    def note(trainer: Trainer, batch: Any) -> None:
        states = trainer.optimizers[0].state.values()
        steps.append({float(state["step"]) for state in states})

    module = make_module(tiny_llada, decoding=PLAIN, teaching=TEACHING)
    data = make_data(train=Coins("train", size=24), batch_size=4)
    make_trainer(tmp_path, After(note), max_steps=6).fit(module, data)
    iterations = module.rounds.num_iterations
    assert steps == [{3.0}, {6.0}, {9.0}, {12.0}, {iterations}, {2.0 * iterations}]


class Scalars(Logger):
    """Keeps what is logged in each round."""

    name, version = "scalars", 0

    def __init__(self) -> None:
        self.rounds: dict[int, set[str]] = {}

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        self.rounds.setdefault(step or 0, set()).update(metrics)

    def log_hyperparams(self, *args: Any, **settings: Any) -> None:
        pass


def test_rounds_after_the_teaching_learn_from_rewards(tiny_llada: LLaDA, tmp_path: Path) -> None:
    scalars = Scalars()
    module = make_module(tiny_llada, decoding=PLAIN, teaching=TEACHING)
    trainer = make_trainer(tmp_path, max_steps=6, logger=scalars, log_every_n_steps=1)
    trainer.fit(module, make_data(train=Coins("train", size=24), batch_size=4))
    taught = {"train/teaching/states", "train/teaching/row_forwards", "train/imitation/agreement"}
    for number, names in scalars.rounds.items():
        assert (taught <= names) == (number < 4) and (taught & names == set()) == (number >= 4)
        assert ("train/reward" in names) == (number >= 4), number
    assert set(scalars.rounds) == set(range(6))


def test_teaching_makes_safe_positions_likely(tiny_llada: LLaDA, tmp_path: Path) -> None:
    teaching = replace(TEACHING, rounds=8, updates=40, batch_size=32, caution=1.0)
    before = make_module(tiny_llada).policy
    after = run(tiny_llada, tmp_path, 8, teaching=teaching)[0].policy
    store = DemonstrationStore(tmp_path / "finished_answers")
    steps = store.__getitems__(range(len(store)))
    share = float(steps.chosen.sum() / steps.observation.masked.sum())
    chance_is_all_one_knows = -(share * math.log(share) + (1 - share) * math.log(1 - share))

    def loss(policy: LearnedPolicy) -> float:
        seen = policy(steps.observation)
        return float(-seen.log_prob(steps.chosen).sum().detach() / seen.eligible.sum())

    assert loss(after) < 0.99 * chance_is_all_one_knows < loss(before)


def test_another_policy_can_learn_from_the_store(tiny_llada: LLaDA, tmp_path: Path) -> None:
    run(tiny_llada, tmp_path, 4)
    data = ImitationData(str(tmp_path / "finished_answers"), batch_size=8)
    module = make_module(tiny_llada, small_policy(seed=1), decoding=PLAIN)
    make_trainer(tmp_path).fit(module, data)
    both = make_module(tiny_llada, small_policy(seed=1), decoding=PLAIN, teaching=TEACHING)
    with pytest.raises(ConfigurationError, match=r"leave model\.teaching out"):
        make_trainer(tmp_path).fit(both, data)


@pytest.mark.parametrize(("settings", "message"), [
    ({"policy": Conditioned(1.0, LearnedPolicy(ConfidenceTransformer(16, speed=True)))},
     "conditioned on a speed"),
    ({"policy": LearnedPolicy(ConfidenceTransformer(16), head=CountHead())}, "acts by"),
    ({"temperature": 0.5}, "decoding.temperature=0.5"),
    ({"on_empty": "wait"}, "on_empty='wait'"),
    ({"block_length": 1}, "block_length=2 must divide .*block_length=1"),
], ids=lambda value: "" if isinstance(value, dict) else value)  # fmt: skip
def test_what_cannot_be_taught_is_refused(
    tiny_llada: LLaDA, settings: dict[str, Any], message: str
) -> None:
    policy = settings.pop("policy", small_policy())
    with pytest.raises(ConfigurationError, match=message):
        TEACHING.check(policy, replace(PLAIN, **settings), tiny_llada)


def test_a_policy_behind_a_threshold_is_taught(tiny_llada: LLaDA, tmp_path: Path) -> None:
    policy = Thresholded(0.5, small_policy())
    TEACHING.check(policy, Decoding(8, 8), tiny_llada)
    before = {name: weight.clone() for name, weight in policy.state_dict().items()}
    torch.manual_seed(0)
    module = make_module(tiny_llada, policy, decoding=PLAIN, teaching=TEACHING)
    make_trainer(tmp_path, max_steps=3).fit(module, make_data())
    assert any(not torch.equal(before[n], w) for n, w in policy.state_dict().items())


def test_an_expert_that_solves_nothing_is_named(tiny_llada: LLaDA, tmp_path: Path) -> None:
    module = make_module(tiny_llada, decoding=PLAIN, teaching=TEACHING)
    data = make_data(train=Hopeless("train", size=10))
    before = {name: weight.clone() for name, weight in module.policy.state_dict().items()}
    make_trainer(tmp_path / "oracle", max_steps=2).fit(module, data)
    # AdamW decays weights where there is no gradient.
    after = module.policy.state_dict().items()
    assert all(torch.allclose(before[name], weight, rtol=1e-2) for name, weight in after)
    with pytest.raises(ConfigurationError, match="solved none of the 6 problems so far"):
        make_trainer(tmp_path / "policy", max_steps=3).fit(module, data)


@pytest.mark.parametrize(("settings", "message"), [
    ({"oracle_rounds": 0}, r"oracle_rounds=0 must lie in \[1, rounds=4\]"),
    ({"oracle_rounds": 5}, r"oracle_rounds=5 must lie"),
    ({"updates": 0}, "updates=0"),
    ({"batch_size": 0}, "batch_size=0"),
    ({"thresholds": ()}, "thresholds="),
    ({"thresholds": (0.5, 1.0)}, "thresholds="),
    ({"caution": 0.0}, "caution=0.0 and rate=1.0 must be positive"),
], ids=str)  # fmt: skip
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(TEACHING, **settings)
