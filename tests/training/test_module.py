from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from toys import (
    DECODING,
    After,
    Gradients,
    Hopeless,
    make_data,
    make_module,
    make_trainer,
    small_policy,
)

from lit_unmask.denoisers import LLaDA
from lit_unmask.errors import ConfigurationError
from lit_unmask.policies import (
    ConfidenceThreshold,
    EntropyBound,
    LeftToRight,
    LowConfidence,
    Margin,
    Policy,
    Random,
)
from lit_unmask.training.module import LitUnmask
from lit_unmask.training.settings import Rounds


def weights(module: LitUnmask) -> dict[str, torch.Tensor]:
    return copy.deepcopy(module.policy.state_dict())


def first_gradients(denoiser: LLaDA, folder: Path, **rounds: Any) -> dict[str, torch.Tensor]:
    """Return the gradients of the first backward pass of a fresh policy."""
    gradients = Gradients()
    module = make_module(denoiser, rounds=Rounds(group_size=4, **rounds))
    make_trainer(folder, gradients, max_steps=1).fit(module, datamodule=make_data())
    return gradients.taken[0]


def test_fit_changes_the_policy_and_not_the_denoiser(tiny_llada: LLaDA, tmp_path: Path) -> None:
    module = make_module(tiny_llada)
    before, frozen = weights(module), copy.deepcopy(tiny_llada.state_dict())
    make_trainer(tmp_path).fit(module, datamodule=make_data())
    assert any(not torch.equal(value, before[name]) for name, value in weights(module).items())
    assert all(torch.equal(value, frozen[name]) for name, value in tiny_llada.state_dict().items())
    assert all(weight.grad is None for weight in tiny_llada.parameters())


def test_the_first_ratio_of_every_round_is_one(tiny_llada: LLaDA, tmp_path: Path) -> None:
    logged: list[dict[str, float]] = []

    def read(trainer: Any, batch: Any) -> None:
        logged.append({name: float(value) for name, value in trainer.callback_metrics.items()})

    module = make_module(tiny_llada)
    make_trainer(tmp_path, After(read), max_steps=6).fit(module, datamodule=make_data())
    assert [metrics["train/ratio_first"] for metrics in logged] == pytest.approx([1] * 6, abs=1e-5)
    assert any(abs(metrics["train/ratio_mean"] - 1) > 1e-4 for metrics in logged)
    named = {name.removeprefix("train/") for name in logged[0]}
    assert {"reward", "reward_std", "frac_reward_zero_std", "entropy", "kl", "loss"} <= named
    assert {"clip_ratio/low", "clip_ratio/high", "nfe", "accuracy", "still_masked"} <= named


def test_the_gradient_at_ratio_one_is_reinforce(tiny_llada: LLaDA, tmp_path: Path) -> None:
    module, gradients, rounds = make_module(tiny_llada), Gradients(), []
    fresh = copy.deepcopy(module.policy)
    keep = After(lambda trainer, batch: rounds.append(batch))
    make_trainer(tmp_path, gradients, keep, max_steps=1).fit(module, datamodule=make_data())
    steps, advantage = rounds[0].steps, rounds[0].advantage
    assert advantage.abs().sum() > 0
    log_prob = fresh(steps.observation).log_prob(steps.action)
    loss = torch.zeros(())
    for rollout in range(8):
        mine = steps.rollout == rollout
        loss = loss - advantage[rollout] * log_prob[mine].mean() / 8
    expected = torch.autograd.grad(loss, list(fresh.parameters()))
    for (name, found), wanted in zip(gradients.taken[0].items(), expected, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-7, rtol=1e-4, msg=name)


def test_advantages_may_be_measured_in_their_groups_spread(tiny_llada: LLaDA) -> None:
    problems = list(make_data().train)
    plain, scaled = (
        make_module(tiny_llada, rounds=Rounds(group_size=4, scale_by_std=scale)).collect(problems)
        for scale in (False, True)
    )
    assert torch.equal(plain.rewards, scaled.rewards)
    spread = plain.rewards.view(-1, 4).std(1, correction=0).repeat_interleave(4)
    mixed = spread > 0
    assert mixed.any()
    torch.testing.assert_close(scaled.advantage[mixed], (plain.advantage / spread)[mixed])
    assert not torch.allclose(scaled.advantage, plain.advantage)
    assert (scaled.advantage[~mixed] == 0).all()


@pytest.mark.parametrize(("target", "updates"), [(1e-9, 2), (1e9, 6), (None, 6)])
def test_iterations_end_once_the_policy_has_moved_far_enough(
    tiny_llada: LLaDA, tmp_path: Path, target: float | None, updates: int
) -> None:
    gradients = Gradients()
    settings = Rounds(group_size=4, num_iterations=6, target_kl=target)
    module = make_module(tiny_llada, rounds=settings)
    trainer = make_trainer(tmp_path, gradients, max_steps=1)
    trainer.fit(module, datamodule=make_data())
    # The first replay sees the acting policy itself: one more is needed to see that it moved.
    assert len(gradients.taken) == updates
    assert float(trainer.callback_metrics["train/iterations"]) == updates


def test_a_round_without_signal_gives_zero_gradients(tiny_llada: LLaDA, tmp_path: Path) -> None:
    gradients = Gradients()
    data = make_data(train=Hopeless("train", size=10))
    make_trainer(tmp_path, gradients, max_steps=2).fit(make_module(tiny_llada), datamodule=data)
    assert len(gradients.taken) == 4  # 2 rounds, 2 iterations: no backward pass is skipped
    assert all(not grad.any() for taken in gradients.taken for grad in taken.values())


@pytest.mark.parametrize("recompute", [False, True])
def test_replay_chunks_do_not_change_gradients(
    tiny_llada: LLaDA, tmp_path: Path, recompute: bool
) -> None:
    whole = first_gradients(tiny_llada, tmp_path, replay_chunk=10_000)
    parts = first_gradients(tiny_llada, tmp_path, replay_chunk=7, recompute=recompute)
    assert any(grad.abs().max() > 1e-4 for grad in whole.values())
    for name, grad in whole.items():
        torch.testing.assert_close(parts[name], grad, atol=1e-7, rtol=1e-4)


@pytest.mark.parametrize("iterations", [1, 3])
def test_iterations_repeat_the_update_and_not_the_round(
    tiny_llada: LLaDA, tmp_path: Path, iterations: int
) -> None:
    gradients, rounds = Gradients(), []
    keep = After(lambda trainer, batch: rounds.append((trainer.global_step, batch)))
    module = make_module(tiny_llada, rounds=Rounds(group_size=4, num_iterations=iterations))
    trainer = make_trainer(tmp_path, gradients, keep, max_steps=2)
    trainer.fit(module, datamodule=make_data())
    assert [step for step, _ in rounds] == [1, 2]
    assert len(gradients.taken) == 2 * iterations
    assert ("train/ratio_mean" in trainer.callback_metrics) == (iterations > 1)


def test_each_epoch_has_its_own_order(tiny_llada: LLaDA, tmp_path: Path) -> None:
    seen: list[list[str]] = []

    class Watching(LitUnmask):
        def collect(self, problems: Any) -> Any:
            seen.append([problem.uid for problem in problems])
            return super().collect(problems)

    module = Watching(tiny_llada, small_policy(), DECODING, rounds=Rounds(group_size=2))
    make_trainer(tmp_path, max_steps=10).fit(module, datamodule=make_data())
    epochs = [[uid for batch in part for uid in batch] for part in (seen[:5], seen[5:])]
    assert len(set(epochs[0])) == 10
    assert sorted(epochs[0]) == sorted(epochs[1])
    assert epochs[0] != epochs[1]


@pytest.mark.parametrize(
    "policy",
    [ConfidenceThreshold(), LowConfidence(), Margin(), EntropyBound(), Random(), LeftToRight()],
    ids=lambda policy: type(policy).__name__,
)
def test_heuristics_validate_but_do_not_train(
    tiny_llada: LLaDA, tmp_path: Path, policy: Policy
) -> None:
    module = make_module(tiny_llada, policy)
    trainer = make_trainer(tmp_path, limit_val_batches=1.0)
    trainer.validate(module, datamodule=make_data(), verbose=False)
    assert 0 < float(trainer.callback_metrics["val/coins/nfe"]) <= DECODING.gen_length
    with pytest.raises(ConfigurationError, match=f"{type(policy).__name__} has no parameters"):
        trainer.fit(module, datamodule=make_data())


def test_accumulation_and_iterations_exclude_each_other(tiny_llada: LLaDA, tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, accumulate_grad_batches=2)
    with pytest.raises(ConfigurationError, match=r"accumulate_grad_batches=2.*num_iterations=2"):
        trainer.fit(make_module(tiny_llada), datamodule=make_data())
    once = make_module(tiny_llada, rounds=Rounds(group_size=4, num_iterations=1))
    make_trainer(tmp_path, accumulate_grad_batches=2).fit(once, datamodule=make_data())
