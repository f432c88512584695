"""A policy and its denoiser trained together: likelihoods, gradients, checkpoints, refusals."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from toys import After, make_data, make_module, make_trainer

from lit_unmask import load_policy
from lit_unmask.denoisers import Dream, LLaDA
from lit_unmask.denoisers.tuning import AllWeights, LowRank, Tuning
from lit_unmask.errors import ConfigurationError
from lit_unmask.policies import LearnedPolicy, Planner
from lit_unmask.rollout import Approximate, Decoding
from lit_unmask.training.joint import ENTRY, Joint
from lit_unmask.training.module import LitUnmask
from lit_unmask.training.objective import Counts, replay, update
from lit_unmask.training.settings import Rounds

DRAWN = Decoding(gen_length=8, block_length=4, temperature=0.7)


def planner() -> LearnedPolicy:
    torch.manual_seed(0)
    return LearnedPolicy(Planner(16, width=16, heads=2, feed_forward=16, output_bias=-0.5))


def module_of(checkpoint: Path, tuning: Tuning | None, **settings: Any) -> LitUnmask:
    """Return a module with a denoiser of its own, which its training changes."""
    defaults = {"decoding": DRAWN, "rounds": Rounds(group_size=4, replay_chunk=7)}
    denoiser = LLaDA(str(checkpoint))
    return make_module(denoiser, planner(), train_denoiser=tuning, **(defaults | settings))


def round_of(module: LitUnmask) -> Any:
    """Return a round of the module as if a trainer had set it up."""
    assert module.train_denoiser is not None
    module.joint = Joint(module.denoiser, module.train_denoiser, module.decoding.temperature)
    return module.collect(list(make_data().train)[:2])


@pytest.mark.parametrize("tuning", [AllWeights(), LowRank(2)])
def test_before_the_first_update_a_replay_says_what_the_rollout_said(tiny_checkpoint, tuning):
    module = module_of(tiny_checkpoint, tuning)
    module.denoiser.network.double()
    module.policy.double()
    batch = round_of(module)
    log_prob, _ = replay(module.joint.acting(module.policy), batch.steps, module.rounds)
    # What the denoiser reads off its states is float32 whatever they are.
    torch.testing.assert_close(log_prob, batch.steps.log_prob, rtol=0, atol=2e-6)
    assert (batch.steps.observation.committed.sum(1) > 1).any()


def test_a_step_has_the_likelihood_of_its_action_and_of_its_tokens(tiny_checkpoint):
    module = module_of(tiny_checkpoint, AllWeights())
    batch = round_of(module)
    seen, policy_alone = batch.steps.observation, module_of(tiny_checkpoint, None)
    alone = policy_alone.collect(list(make_data().train)[:2]).steps
    assert torch.equal(alone.action, batch.steps.action)
    probability = (module.denoiser.logits(seen.prompt, seen.response) / 0.7).softmax(-1)
    for row in range(len(seen)):
        assert torch.equal(seen.response[row] == module.denoiser.mask_id, seen.masked[row])
        places = batch.steps.committed[row].nonzero()[:, 0]
        tokens = [float(probability[row, at, seen.tokens[row, at]].log()) for at in places]
        expected = float(alone.log_prob[row]) + sum(tokens)
        assert float(batch.steps.log_prob[row]) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("tuning", [AllWeights(), LowRank(2)])
def test_the_gradient_reaches_what_is_trained_and_nothing_else(tiny_checkpoint, tuning):
    module = module_of(tiny_checkpoint, tuning)
    batch = round_of(module)
    assert batch.advantage.abs().sum() > 0
    acting = module.joint.acting(module.policy)
    result = update(acting, batch, module.grpo, module.rounds, Counts(8))
    assert float(result.surrogate.ratio_mean) == pytest.approx(1, abs=1e-5)
    result.loss.backward()
    trained = {id(weight) for weight in module.trained}
    # The first half of a product has no gradient while the second is zero.
    moved = {n for n, w in module.joint.weights.items() if w.grad is not None and w.grad.any()}
    assert moved == {name for name in module.joint.weights if not name.endswith(".down")}
    for name, weight in module.denoiser.named_parameters():
        assert (id(weight) in trained) or weight.grad is None, name


def test_a_product_of_zeros_changes_nothing_that_the_denoiser_says(tiny_checkpoint):
    plain, tuned = LLaDA(str(tiny_checkpoint)), LLaDA(str(tiny_checkpoint))
    LowRank(2).weights(tuned.network)
    prompt = plain.encode(list(make_data().train)[:2])
    masks = torch.full((2, 8), plain.mask_id)
    assert torch.equal(plain.logits(prompt, masks), tuned.logits(prompt, masks))


def fit(module: LitUnmask, folder: Path, **settings: Any) -> Path:
    """Train for some rounds; returns the checkpoint."""
    trainer = make_trainer(folder, **({"max_steps": 2} | settings))
    trainer.fit(module, datamodule=make_data())
    trainer.save_checkpoint(folder / "joint.ckpt")
    return folder / "joint.ckpt"


@pytest.mark.parametrize("tuning", [AllWeights(), LowRank(2)])
def test_two_rounds_train_both_and_a_checkpoint_holds_both(tiny_checkpoint, tuning, tmp_path):
    ratios = []
    module = module_of(tiny_checkpoint, tuning)
    read = After(lambda trainer, _: ratios.append(float(trainer.callback_metrics[FIRST])))
    trainer = make_trainer(tmp_path, read, max_steps=2)
    before = copy.deepcopy(dict(module.denoiser.state_dict()))
    trainer.fit(module, datamodule=make_data())
    trainer.save_checkpoint(tmp_path / "joint.ckpt")
    assert ratios == pytest.approx([1, 1], abs=1e-4)
    after = module.denoiser.state_dict()
    same = {n for n, v in before.items() if n in after and torch.equal(v, after[n])}
    assert (same == set()) == isinstance(tuning, AllWeights)
    stored = torch.load(tmp_path / "joint.ckpt", weights_only=True)[ENTRY]["weights"]
    again = module_of(tiny_checkpoint, tuning)
    make_trainer(tmp_path, limit_val_batches=1.0).validate(
        again, datamodule=make_data(), ckpt_path=tmp_path / "joint.ckpt", verbose=False
    )
    for name, weight in module.joint.weights.items():
        assert torch.equal(weight, again.joint.weights[name])
        assert torch.equal(weight, stored[name])
    prompt = module.denoiser.encode(list(make_data().train)[:2])
    masks = torch.full((2, 8), module.denoiser.mask_id)
    one, two = (each.denoiser.logits(prompt, masks) for each in (module, again))
    assert torch.equal(one, two)


FIRST = "train/ratio_first"


def test_a_run_goes_on_where_it_stopped(tiny_checkpoint, tmp_path):
    def save(trainer: Any, batch: Any) -> None:
        if trainer.global_step == 2:
            trainer.save_checkpoint(tmp_path / "half.ckpt")

    whole, again = (module_of(tiny_checkpoint, LowRank(2)) for _ in range(2))
    make_trainer(tmp_path, After(save)).fit(whole, datamodule=make_data())
    trainer = make_trainer(tmp_path)
    trainer.fit(again, datamodule=make_data(), ckpt_path=tmp_path / "half.ckpt")
    for name, weight in whole.joint.weights.items():
        torch.testing.assert_close(weight, again.joint.weights[name], rtol=0, atol=1e-6)


def test_another_denoiser_is_refused_in_one_sentence(
    tiny_checkpoint, tiny_dream_checkpoint, tmp_path
):
    file = fit(module_of(tiny_checkpoint, LowRank(2)), tmp_path, max_steps=1)
    other = make_module(
        Dream(str(tiny_dream_checkpoint)), planner(), decoding=DRAWN, train_denoiser=LowRank(2)
    )
    cases = {
        "trained together with denoiser .*, and model.denoiser is .*; use that one": other,
        "model.train_denoiser is null; set it": module_of(tiny_checkpoint, None),
        "weights of the denoiser and": module_of(tiny_checkpoint, AllWeights()),
    }
    for sentence, module in cases.items():
        with pytest.raises(ConfigurationError, match=sentence) as found:
            make_trainer(tmp_path, limit_val_batches=1.0).validate(
                module, datamodule=make_data(), ckpt_path=file, verbose=False
            )
        assert "\n" not in str(found.value)
    with pytest.raises(ConfigurationError, match="nothing without it"):
        load_policy(file)
    frozen = fit(module_of(tiny_checkpoint, None), tmp_path / "frozen", max_steps=1)
    with pytest.raises(ConfigurationError, match="run with a frozen denoiser"):
        make_trainer(tmp_path).fit(
            module_of(tiny_checkpoint, LowRank(2)), datamodule=make_data(), ckpt_path=frozen
        )


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"decoding": Decoding(gen_length=8, block_length=4)}, "temperature=0 draws no tokens"),
        (
            {"decoding": Decoding(8, 4, 0.7, approximate=Approximate(early_stop=True))},
            "decoding.approximate needs a frozen denoiser",
        ),
    ],
)
def test_what_needs_a_frozen_denoiser_or_drawn_tokens_is_refused(
    tiny_checkpoint, settings, sentence
):
    with pytest.raises(ConfigurationError, match=sentence):
        module_of(tiny_checkpoint, AllWeights(), **settings).check_trainable(1)
