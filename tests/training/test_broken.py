"""Runs whose numbers break: noticed at once, said in words, and gone on from where it was good."""

from __future__ import annotations

import copy
import json
import math
import pickle
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from toys import DECODING, After, Coins, make_data, make_module, make_trainer, small_policy

from lit_unmask import load_policy, policies, save_policy
from lit_unmask.denoisers import LLaDA
from lit_unmask.errors import ConfigurationError, NotFinite
from lit_unmask.evaluation import grading
from lit_unmask.evaluation.decode import evaluate
from lit_unmask.policies import ConfidenceThreshold, LearnedPolicy, Policy, Thresholded
from lit_unmask.policies.actions import UnmaskDistribution
from lit_unmask.rollout.correctors import Placement, Remask
from lit_unmask.rollout.state import RowState
from lit_unmask.training import module as module_of
from lit_unmask.training.broken import BrokenRounds
from lit_unmask.training.imitation import behaviour_cloning_loss
from lit_unmask.training.module import LitUnmask
from lit_unmask.training.rewards import MultiplicativeSpeed
from lit_unmask.training.settings import Rounds
from lit_unmask.types import Reading

# Of one length, so that the first of them is the first row of a call.
PROBLEMS = list(Coins("validation", size=5, steps=(3, 3)))
UID = "problem '" + PROBLEMS[0].uid.replace("?", r"\?") + "' at step 0"
GREEDY = replace(DECODING, temperature=0.0)


def weights(module: LitUnmask) -> dict[str, torch.Tensor]:
    return copy.deepcopy(module.policy.state_dict())


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, two[name]) for name, value in one.items())


def spoiled(policy: Policy, value: float = math.nan) -> Policy:
    """Return a policy whose last bias is no number, on which its actions depend."""
    named = dict(policy.named_parameters())
    last = [name for name in named if "row_proj.bias" in name] or ["network.output_proj.bias"]
    torch.nn.init.constant_(named[last[0]], value)
    return policy


@pytest.mark.parametrize("fault", [math.nan, math.inf])
@pytest.mark.parametrize("decoding", [DECODING, GREEDY, replace(GREEDY, on_empty="wait")])
@pytest.mark.parametrize("policy", [small_policy(), ConfidenceThreshold(0.9)])
def test_one_logit_that_is_no_number_is_noticed_and_its_problem_named(
    policy: Policy, decoding: Any, fault: float, tiny_llada: LLaDA, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = tiny_llada.head

    def broken(states: torch.Tensor) -> torch.Tensor:
        logits = head(states)
        logits[0, 5] = fault
        return logits

    evaluate(tiny_llada, policy, PROBLEMS, decoding)
    monkeypatch.setattr(tiny_llada, "head", broken)
    with pytest.raises(NotFinite, match=f"the denoiser's probabilities of {UID} are NaN") as caught:
        evaluate(tiny_llada, policy, PROBLEMS, decoding)
    assert caught.value.rows == [0]


HEADS = [name for name in policies.__all__ if name.endswith("Head") and name != "Head"]


@pytest.mark.parametrize("fault", [math.nan, math.inf])
@pytest.mark.parametrize("head", [*HEADS, "a threshold"])
def test_a_policy_whose_weights_are_no_numbers_decodes_nothing(
    head: str, fault: float, tiny_llada: LLaDA
) -> None:
    policy: Policy = small_policy()
    if head in HEADS:
        policy = LearnedPolicy(policy.network, head=getattr(policies, head)())
    policy = spoiled(policy, fault)
    if head not in HEADS:
        policy = Thresholded(0.5, policy)
    asked = Remask(placement=Placement(learned=True))  # does nothing for those who do not ask
    decoding = replace(DECODING, max_block_steps=16, corrector=asked)
    with pytest.raises(NotFinite, match=f"the policy's logits of {UID} and of 4 more are NaN"):
        evaluate(tiny_llada, policy, PROBLEMS, decoding)


def test_a_reward_that_is_no_number_is_noticed(tiny_llada: LLaDA) -> None:
    class Root(MultiplicativeSpeed):
        def __call__(self, correct: Any, nfe: Any, length: int, condition: Any = None) -> Any:
            return (correct - 0.5).sqrt()

    problems = list(make_data().train)[:4]
    with pytest.raises(NotFinite, match=r"rewards of problem 'cart .* let model.reward"):
        make_module(tiny_llada, reward=Root(1.0)).collect(problems)


def test_an_imitation_leaves_out_what_is_impossible_and_not_what_is_no_number(
    tiny_llada: LLaDA,
) -> None:
    steps = make_module(tiny_llada).collect(list(make_data().train)[:2]).steps
    policy = spoiled(small_policy())
    loss, _ = behaviour_cloning_loss(policy, steps, len(steps))
    assert loss.isnan()


def train(folder: Path, module: LitUnmask, steps: int, **settings: Any) -> Trainer:
    trainer = make_trainer(folder, max_steps=steps)
    trainer.fit(module, datamodule=make_data(), **settings)
    return trainer


def break_denoiser(module: LitUnmask, patch: pytest.MonkeyPatch, when: Callable[[], bool]) -> None:
    """Make the readings NaN while a function says so."""
    ask = type(module.denoiser).forward

    def broken(denoiser: Any, *args: Any, **kwargs: Any) -> Reading:
        reading = ask(denoiser, *args, **kwargs)
        return replace(reading, confidence=reading.confidence * (math.nan if when() else 1.0))

    patch.setattr(type(module.denoiser), "forward", broken)


def break_loss(module: LitUnmask, patch: pytest.MonkeyPatch, when: Callable[[], bool]) -> None:
    """Make the loss of second updates NaN while a function says so."""
    make = module_of.update

    def broken(*args: Any) -> Any:
        result = make(*args)
        wrong = when() and module._iteration == 1
        return replace(result, loss=result.loss * (math.nan if wrong else 1.0))

    patch.setattr(module_of, "update", broken)


def break_verdicts(module: LitUnmask, patch: pytest.MonkeyPatch, when: Callable[[], bool]) -> None:
    """Make the verdicts of a round NaN while a function says so."""
    grade = grading.verdict_of

    def broken(verifier: Any, *rest: str) -> float:
        return grade((lambda *_: math.nan) if when() else verifier, *rest)

    patch.setattr(grading, "verdict_of", broken)


@pytest.mark.parametrize("spoil", [break_denoiser, break_loss, break_verdicts])
@pytest.mark.parametrize("number", [0, 2, 4])  # the first, within the epoch of 5 rounds, its last
def test_a_broken_round_is_saved_and_replayed_to_the_last_bit(
    spoil: Any, number: int, tiny_llada: LLaDA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = make_module(tiny_llada)
    train(tmp_path, straight, 6)
    module = make_module(tiny_llada)
    with monkeypatch.context() as patch:
        spoil(module, patch, lambda: module.global_step == number)
        with pytest.raises(NotFinite, match=f"replays the round: .*round-{number}.ckpt"):
            train(tmp_path, module, 6)
    file = tmp_path / "broken" / f"round-{number}.ckpt"
    said = json.loads(file.with_suffix(".json").read_text())
    assert said["round"] == said["seed"] == number and "NaN" in said["error"]
    assert said["replay"].endswith(f"--ckpt_path {file}")
    seen = []
    mended = make_module(tiny_llada, small_policy(seed=1))
    collect = mended.collect
    mended.collect = lambda problems: seen.append(problems) or collect(problems)  # type: ignore
    assert train(tmp_path, mended, 6, ckpt_path=file).global_step == 6
    assert [prompt["uid"] for prompt in said["prompts"]] == [problem.uid for problem in seen[0]]
    assert same(weights(straight), weights(mended))


def test_a_learning_rate_that_breaks_the_weights_stops_the_run(
    tiny_llada: LLaDA, tmp_path: Path
) -> None:
    module = make_module(tiny_llada, optimizer=lambda w: torch.optim.AdamW(w, lr=1e6))
    with pytest.raises(NotFinite, match=r"in update 2 of round 0: .* which is 1e\+06 now"):
        train(tmp_path, module, 6)
    assert same(small_policy().state_dict(), weights(module))


def test_rounds_may_be_left_out_but_not_too_many_in_a_row(
    tiny_llada: LLaDA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path: list[dict[str, torch.Tensor]] = []
    module = make_module(tiny_llada, rounds=Rounds(group_size=4, skip_broken=1))
    break_denoiser(module, monkeypatch, lambda: module.global_step in (1, 3, 4))
    keep = After(lambda trainer, batch: path.append(weights(module)))
    trainer = make_trainer(tmp_path, keep, max_steps=9)
    with pytest.raises(NotFinite, match=r"round-4\.ckpt"):
        trainer.fit(module, datamodule=make_data())
    assert [same(a, b) for a, b in pairwise(path)] == [True, False, True]
    saved = {file.name for file in (tmp_path / "broken").glob("*.ckpt")}
    assert saved == {f"round-{number}.ckpt" for number in (1, 3, 4)}


def test_a_sound_run_is_the_same_with_and_without_the_checks(
    tiny_llada: LLaDA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run() -> tuple[dict[str, torch.Tensor], dict[str, float]]:
        module = make_module(tiny_llada)
        found = train(tmp_path, module, 4).callback_metrics
        unlike = ("seconds", "per_s")
        return weights(module), {n: float(v) for n, v in found.items() if not n.endswith(unlike)}

    checked = run()
    calls = []
    monkeypatch.setattr(RowState, "mark", lambda *_: calls.append(1))
    monkeypatch.setattr(UnmaskDistribution, "broken", lambda self: self.eligible[:, 0])
    monkeypatch.setattr(BrokenRounds, "play", lambda self, module, batch, play: play(batch))
    monkeypatch.setattr(BrokenRounds, "loss", lambda self, module, batch, loss: loss(batch))
    monkeypatch.setattr(BrokenRounds, "update", lambda self, module, o, told, n: float(told[0]))
    plain = run()
    assert calls and same(checked[0], plain[0]) and checked[1] == plain[1]


def test_weights_that_are_no_numbers_are_neither_saved_nor_used(
    tiny_llada: LLaDA, tmp_path: Path
) -> None:
    module = make_module(tiny_llada)
    save = ModelCheckpoint(tmp_path, filename="good")
    make_trainer(tmp_path, save, max_steps=1, enable_checkpointing=True).fit(
        module, datamodule=make_data()
    )
    stored = torch.load(tmp_path / "good.ckpt", weights_only=True)
    stored["state_dict"]["policy.network.output_proj.bias"].fill_(math.inf)
    torch.save(stored, tmp_path / "bad.ckpt")
    with pytest.raises(ConfigurationError, match=r"weights policy.network.output_proj.bias are"):
        train(tmp_path, module, 2, ckpt_path=tmp_path / "bad.ckpt")
    with pytest.raises(ConfigurationError, match=r"bad.ckpt: the weights network.output_proj.bias"):
        load_policy(tmp_path / "bad.ckpt")
    with pytest.raises(ConfigurationError, match="an earlier checkpoint"):
        save_policy(spoiled(small_policy()), tmp_path / "policy")
    trainer = train(tmp_path, module, 1)
    spoiled(module.policy)
    with pytest.raises(ConfigurationError, match="what is to be saved: the weights"):
        trainer.save_checkpoint(tmp_path / "worse.ckpt")
    assert not (tmp_path / "worse.ckpt").exists() and not (tmp_path / "policy").exists()


@pytest.mark.parametrize("name", ["group_size", "target_kl"])
def test_rounds_take_no_setting_that_is_no_number(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name}=nan must be a finite number"):
        Rounds(**{name: math.nan})
    assert Rounds(target_kl=math.inf).target_kl == math.inf


def test_what_broke_is_told_by_other_processes_in_the_same_words() -> None:
    error = NotFinite("verdicts", "mend them", [0, 1], step=3)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is NotFinite and str(again) == str(error) and again.rows == [0, 1]
