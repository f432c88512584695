"""One policy that is conditioned on speed: what is drawn, what it is worth, and that it learns."""

from __future__ import annotations

import math
import multiprocessing
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import distributed
from toy_trade import LENGTH, Riddles, conditioned_policy, fit, trade_module
from toys import make_data, make_module

from lit_unmask.denoisers import LLaDA
from lit_unmask.errors import ConfigurationError
from lit_unmask.evaluation.decode import evaluate
from lit_unmask.policies import ConfidenceThreshold, LowConfidence
from lit_unmask.preflight.checks import check
from lit_unmask.rollout import Decoding
from lit_unmask.training.conditioning import (
    AlphaList,
    AlphaRange,
    Ascent,
    Budget,
    Condition,
    ConditionedRollouts,
)
from lit_unmask.training.experts import Expert
from lit_unmask.training.module import LitUnmask
from lit_unmask.training.rewards import MultiplicativeSpeed, NearTarget

CONDITIONS: dict[str, Condition] = {
    "range": AlphaRange(0.0, 10.0, offset=0.1),
    "list": AlphaList([0, 0.3, 1, 3]),
    "budget": Budget([2, 4, 6, 8]),
}


def numbers(count: int) -> torch.Tensor:
    return torch.arange(count) * 7919 + 2**40


@pytest.mark.parametrize("condition", CONDITIONS.values(), ids=CONDITIONS)
def test_a_speed_follows_from_problem_and_seed_alone(condition: Condition) -> None:
    drawn = condition.draw(numbers(50), seed=3)
    order = torch.randperm(50)
    assert torch.equal(condition.draw(numbers(50)[order], seed=3), drawn[order])
    assert torch.equal(condition.draw(numbers(50)[7:8], seed=3), drawn[7:8])
    assert not torch.equal(condition.draw(numbers(50), seed=4), drawn)


@pytest.mark.parametrize("condition", CONDITIONS.values(), ids=CONDITIONS)
def test_every_range_of_speeds_is_as_likely_as_the_others(condition: Condition) -> None:
    drawn = condition.draw(numbers(8000), seed=0)
    low, high = condition.limits
    assert low <= drawn.min() and drawn.max() <= high
    shares = condition.places(drawn).bincount(minlength=4) / 8000
    torch.testing.assert_close(shares, torch.full((4,), 0.25), atol=0.03, rtol=0)
    rising = condition.speeds(torch.linspace(0, 0.999, 40))
    assert (rising.diff() >= 0).all() and rising[0] == low


def test_a_range_is_log_uniform_behind_its_offset() -> None:
    middle = AlphaRange(0.3, 10.0, offset=0.0).speeds(torch.tensor([0.0, 0.5]))
    torch.testing.assert_close(middle, torch.tensor([0.3, math.sqrt(3)]))
    assert AlphaRange(0.0, 0.7, offset=0.1, ranges=3).labels == ["0-0.1", "0.1-0.3", "0.3-0.7"]


def test_the_reward_of_a_budget_by_hand() -> None:
    budget = Budget([4, 8], Ascent(damping=0.5))
    budget.multipliers = [0.2, -0.1]
    nfe, asked = torch.tensor([4, 6, 12, 4]), torch.tensor([4.0, 4.0, 4.0, 8.0])
    rollouts = ConditionedRollouts(torch.tensor([1.0, 1.0, 0.0, 1.0]), nfe, asked)
    # Excess 0, 0.5, 2 and -0.5; their huber losses 0, 0.125, 1.5 and 0.125.
    expected = [1, 1 - 0.1 - 0.0625, -0.4 - 0.75, 1 - 0.05 - 0.0625]
    torch.testing.assert_close(
        budget.rewards(NearTarget(4), rollouts, 64), torch.tensor(expected)
    )  # fmt: skip


def test_multipliers_rise_above_their_target_and_fall_below_it() -> None:
    budget = Budget([4, 8, 16], Ascent(step=0.1, lowest=-0.15))
    nfe, asked = torch.tensor([5, 7, 100, 6]), torch.tensor([4.0, 4.0, 16.0, 8.0])
    logged = budget.close_round(ConditionedRollouts(torch.tensor([1.0, 0.0, 1.0, 1.0]), nfe, asked))
    assert budget.multipliers == pytest.approx([0.05, -0.025, 0.1])  # the excess is held at 1
    assert logged["speed/4/nfe"] == 6 and logged["speed/4/accuracy"] == 0.5
    assert logged["speed/8/multiplier"] == pytest.approx(-0.025)
    budget.close_round(ConditionedRollouts(torch.ones(1), torch.tensor([1]), torch.tensor([8.0])))
    assert budget.multipliers == pytest.approx([0.05, -0.1125, 0.1])  # others were not drawn
    budget.close_round(ConditionedRollouts(torch.ones(1), torch.tensor([1]), torch.tensor([8.0])))
    assert budget.multipliers[1] == -0.15


def _one_rank(folder: Path, rank: int, rollouts: ConditionedRollouts) -> None:
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/ranks", rank=rank, world_size=2
    )
    budget = Budget([4, 8])
    half = slice(rank, None, 2)
    mine = ConditionedRollouts(rollouts.correct[half], rollouts.nfe[half], rollouts.speed[half])
    logged = budget.close_round(mine)
    torch.save((budget.state_dict(), logged), folder / f"{rank}.pt")


def test_two_ranks_have_the_multipliers_of_one(tmp_path: Path) -> None:
    # The second rank was not asked for 4 at all.
    rollouts = ConditionedRollouts(
        torch.tensor([1.0, 0.0, 1.0, 1.0]), torch.tensor([9, 3, 6, 8]), torch.tensor([4.0, 8, 4, 8])
    )
    context = multiprocessing.get_context("fork")
    ranks = [context.Process(target=_one_rank, args=(tmp_path, r, rollouts)) for r in range(2)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(60)
    alone = Budget([4, 8])
    logged = alone.close_round(rollouts)
    for rank in range(2):
        state, its = torch.load(tmp_path / f"{rank}.pt")
        assert state == alone.state_dict() and its == logged


def conditioned_module(denoiser: LLaDA, condition: Condition, **settings: Any) -> LitUnmask:
    return make_module(denoiser, conditioned_policy(1.0), condition=condition, **settings)


def test_a_group_shares_a_speed_and_is_rewarded_for_it(tiny_llada: LLaDA) -> None:
    condition = AlphaRange(0.0, 10.0)
    module = conditioned_module(tiny_llada, condition, reward=MultiplicativeSpeed(1.0))
    problems = list(make_data().train)[:3]
    experience = module.collect(problems)
    steps = experience.steps
    speeds = torch.stack(
        [steps.observation.signals["speed"][steps.rollout == rollout][0] for rollout in range(12)]
    )
    assert len(speeds.unique()) == 3 and torch.equal(speeds, speeds[::4].repeat_interleave(4))
    assert torch.equal(steps.observation.signals["speed"], speeds[steps.rollout])
    expected = experience.correct * ((9 - experience.decisions) / 8) ** speeds
    torch.testing.assert_close(experience.rewards, expected)
    assert any(name.startswith("speed/") for name in experience.diagnostics)
    # Another batch, as on another rank: the same rollouts at the same speeds.
    alone = module.collect(problems[2:])
    assert torch.equal(alone.rewards, experience.rewards[8:])
    assert set(alone.steps.observation.signals["speed"].tolist()) == {float(speeds[-1])}


def test_a_resumed_run_has_the_multipliers_of_an_uninterrupted_one(tmp_path: Path) -> None:
    def make(seed: int) -> tuple[LitUnmask, Budget]:
        budget = Budget([2, 6])
        return trade_module(budget, NearTarget(2), conditioned_policy(2, seed)), budget

    save = ModelCheckpoint(tmp_path, filename="{step}", save_top_k=-1, every_n_train_steps=2)
    (straight, multipliers), (resumed, again) = make(0), make(1)
    fit(straight, tmp_path, 5, batch_size=2, callbacks=[save], enable_checkpointing=True)
    fit(resumed, tmp_path, 5, batch_size=2, ckpt_path=tmp_path / "step=2.ckpt")
    assert all(multipliers.multipliers) and again.state_dict() == multipliers.state_dict()
    for name, value in straight.policy.state_dict().items():
        assert torch.equal(value, resumed.policy.state_dict()[name]), name


@pytest.mark.parametrize("condition", [Budget([2, 5]), None], ids=["other targets", "none"])
def test_a_checkpoint_of_another_condition_is_refused(condition: Condition | None) -> None:
    stored = {"condition": {} if condition is None else condition.state_dict()}
    module = trade_module(Budget([2, 6]), NearTarget(2))
    stored["state_dict"] = module.state_dict()
    with pytest.raises(ConfigurationError, match=r"targets \[.*needs them of \[2.0, 6.0\]"):
        module.on_load_checkpoint(stored)
    if condition is not None:
        other = trade_module(AlphaList([0, 1]), MultiplicativeSpeed(1))
        with pytest.raises(ConfigurationError, match=r"of another model.condition than AlphaList"):
            other.on_load_checkpoint(stored)


def frontier(module: LitUnmask, speeds: list[float]) -> list[tuple[float, float]]:
    """Return accuracy and NFE at each speed."""
    problems = [Riddles(48)[index] for index in range(48)]
    policy: Any = module.policy
    results = [evaluate(module.denoiser, policy.at(s), problems, module.decoding) for s in speeds]
    return [(result.accuracy, result.mean_nfe) for result in results]


def test_a_policy_learns_to_be_as_fast_as_it_is_told(tmp_path: Path) -> None:
    module = trade_module(AlphaList([0, 0.5, 4]), MultiplicativeSpeed(0.5))
    assert len({nfe for _, nfe in frontier(module, [0, 0.5, 4])}) == 1  # deaf at the start
    trainer = fit(module, tmp_path, 18)
    (careful, slow), (_, middle), (hasty, fast) = frontier(module, [0, 0.5, 4])
    assert slow > middle + 1 > fast + 2
    assert careful > hasty + 0.1
    assert "train/speed/4/nfe" in trainer.callback_metrics


def test_multipliers_bring_the_forwards_to_their_targets(tmp_path: Path) -> None:
    module = trade_module(Budget([2, 5]), NearTarget(2))
    start = frontier(module, [2])[0][1]
    fit(module, tmp_path, 36)
    (_, fast), (_, between), (_, slow) = frontier(module, [2, 3.5, 5])
    assert start > 5 and abs(fast / 2 - 1) < 0.25
    assert fast < between < slow
    low, high = module.condition.multipliers  # type: ignore[union-attr]
    assert low > 0 and low > high


@pytest.mark.parametrize("make, message", [
    (lambda: AlphaRange(1, 1), "low=1 and high=1 must be a range"),
    (lambda: AlphaRange(-1, 1), "low=-1 and high=1 must be a range"),
    (lambda: AlphaRange(0, 1, offset=0), "offset=0 must be positive where low=0"),
    (lambda: AlphaList([]), r"values=\[\] must be at least one number"),
    (lambda: AlphaList([1, 1]), r"values=\[1, 1\] must be .* in rising order"),
    (lambda: AlphaList([-1, 1]), "must not be negative"),
    (lambda: Budget([0.5, 2]), r"targets=\[0.5, 2\] must be at least 1"),
    (lambda: Ascent(step=0), "step=0 must be positive"),
    (lambda: Ascent(lowest=1), "0 lie between lowest=1"),
])  # fmt: skip
def test_settings_that_cannot_work_are_named(make, message) -> None:
    with pytest.raises(ValueError, match=message):
        make()


ALPHAS = AlphaRange(0.1, 10)


@pytest.mark.parametrize("condition, reward, policy, message", [
    (None, MultiplicativeSpeed(1), conditioned_policy(1), "speed=1 and model.condition is not"),
    (ALPHAS, MultiplicativeSpeed(1), ConfidenceThreshold(), "has no parameters to train"),
    (ALPHAS, MultiplicativeSpeed(1), conditioned_policy(1).policy, "put it into .*Conditioned"),
    (ALPHAS, MultiplicativeSpeed(1), "plain", "LearnedPolicy is not conditioned on any"),
    (ALPHAS, MultiplicativeSpeed(2), conditioned_policy(1), "at speed 2, and .*at speed=1"),
    (ALPHAS, MultiplicativeSpeed(0), conditioned_policy(0), "speed=0 .* must be from 0.1 to 10"),
    (ALPHAS, NearTarget(1), conditioned_policy(1), "NearTarget is about forwards"),
    (Budget([2]), MultiplicativeSpeed(2), conditioned_policy(2), "use .*rewards.NearTarget"),
    (Budget([2, LENGTH + 1]), NearTarget(2), conditioned_policy(2), "at most the generation"),
])  # fmt: skip
def test_what_does_not_fit_is_said_before_any_work(
    condition, reward, policy, message, tmp_path
) -> None:
    if policy == "plain":
        policy = make_module(None, None).policy  # type: ignore[arg-type]
    module = trade_module(condition, reward, policy)
    with pytest.raises(ConfigurationError, match=message):
        fit(module, tmp_path, 1)


def test_a_policy_without_a_speed_is_refused_by_every_command(tiny_llada: LLaDA) -> None:
    module = make_module(tiny_llada, conditioned_policy().policy)
    with pytest.raises(
        ConfigurationError, match=r"LearnedPolicy is conditioned .* put it into .*Conditioned"
    ):
        check("validate", Trainer(logger=False, accelerator="cpu"), module, make_data())


def test_experts_are_rewarded_for_the_speed_of_their_group(tiny_llada: LLaDA) -> None:
    settings = {"decoding": Decoding(8, 8), "experts": {"pairs": Expert(LowConfidence(2), 8)}}
    module = conditioned_module(tiny_llada, AlphaRange(0.5, 10.0), **settings)
    experience = module.collect(list(make_data().train)[:4])
    steps = experience.steps
    speeds = torch.stack(
        [steps.observation.signals["speed"][steps.rollout == rollout][0] for rollout in range(20)]
    )
    assert torch.equal(speeds[16:], speeds[:16:4]) and experience.expert[16:].all()
    expected = experience.correct * ((9 - experience.decisions) / 8) ** speeds
    torch.testing.assert_close(experience.rewards, expected)
