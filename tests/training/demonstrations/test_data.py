"""Training on demonstrations: exact, resumable, and followed by training on rewards."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lit_unmask.callbacks import Teaching, WarmStart
from toys import DECODING, After, Coins, Gradients, make_data, make_module, make_trainer

from lit_unmask import load_policy
from lit_unmask.denoisers import Dream, LLaDA
from lit_unmask.errors import ConfigurationError
from lit_unmask.policies import ConfidenceTransformer, LearnedPolicy, LowConfidence
from lit_unmask.policies.actions.count import CountHead
from lit_unmask.training.demonstrations import DemonstrationStore, ImitationData
from lit_unmask.training.imitation import behaviour_cloning_loss, in_view
from lit_unmask.types import Signals

FULL = replace(DECODING, block_length=8)


def data(store: Path, **settings: Any) -> ImitationData:
    defaults: dict[str, Any] = {
        "val": {"coins": Coins("validation", size=5)}, "batch_size": 10, "eval_batch_size": 2,
    }  # fmt: skip
    return ImitationData(str(store), **(defaults | settings))


def weights(module: Any) -> dict[str, torch.Tensor]:
    return copy.deepcopy(module.policy.state_dict())


def changed(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return any(not torch.equal(value, two[name]) for name, value in one.items())


@pytest.mark.parametrize("block_length", [4, 8])
def test_the_update_is_the_mean_over_the_steps_of_the_batch(
    tiny_llada: LLaDA, store: Path, tmp_path: Path, block_length: int
) -> None:
    module = make_module(tiny_llada, decoding=replace(DECODING, block_length=block_length))
    fresh, gradients, batches = copy.deepcopy(module.policy), Gradients(), []
    keep = After(lambda trainer, batch: batches.append(batch))
    trainer = make_trainer(tmp_path, gradients, keep, max_steps=1)
    trainer.fit(module, datamodule=data(store))
    assert len(gradients.taken) == 1  # an update, and not num_iterations of them
    (steps,) = batches
    loss = torch.zeros(())
    for row in range(len(steps)):
        one = steps.select(torch.tensor([row]))
        logits = fresh.network(one.observation.within(Signals()))[0]
        first = int(one.observation.masked[0].int().argmax()) // block_length * block_length
        for place in range(first, first + block_length):
            if one.observation.masked[0, place]:
                sign = 1 if one.chosen[0, place] else -1
                loss = loss - torch.nn.functional.logsigmoid(sign * logits[place]) / 10
    expected = torch.autograd.grad(loss, list(fresh.parameters()))
    for (name, found), wanted in zip(gradients.taken[0].items(), expected, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-7, rtol=1e-4, msg=name)
    assert float(trainer.callback_metrics["train/loss"]) == pytest.approx(float(loss.detach()))
    assert float(trainer.callback_metrics["train/imitation/impossible"]) == 0


def test_ranks_with_parts_of_a_batch_have_its_mean_together(tiny_llada: LLaDA, store: Path) -> None:
    policy, opened = make_module(tiny_llada).policy, DemonstrationStore(store)
    steps = in_view(opened.__getitems__(range(10)), policy.signals, 8)
    whole = behaviour_cloning_loss(policy, steps, 10)[0]
    rows = torch.arange(10)
    parts = [
        behaviour_cloning_loss(policy, steps.select(rows[r::2]), 10, world=2)[0] for r in (0, 1)
    ]
    torch.testing.assert_close(sum(parts) / 2, whole)
    batches = [data(store), data(store)]
    loaders = []
    for rank, shard in enumerate(batches):
        shard.__class__ = type("Ranked", (ImitationData,), {"_ranks": (rank, 2)})
        loaders.append(list(shard.train_dataloader()))
    alone = list(data(store).train_dataloader())
    assert len(alone) == len(loaders[0]) == len(loaders[1]) > 1
    for one, *two in zip(alone, *loaders, strict=True):
        key = {(int(r), int(i)) for r, i in zip(one.rollout, one.index, strict=True)}
        assert key == {(int(r), int(i)) for p in two for r, i in zip(p.rollout, p.index)}  # noqa: B905


def test_a_taught_policy_does_as_the_expert(tiny_llada: LLaDA, store: Path, tmp_path: Path) -> None:
    module = make_module(
        tiny_llada, decoding=FULL, optimizer=lambda p: torch.optim.Adam(p, lr=0.02)
    )
    logged: list[float] = []
    read = After(
        lambda trainer, batch: logged.append(float(trainer.callback_metrics["train/loss"]))
    )
    make_trainer(tmp_path, read, max_steps=30).fit(module, datamodule=data(store, batch_size=24))
    assert sum(logged[-3:]) < 0.8 * sum(logged[:3])
    trainer = make_trainer(tmp_path, limit_val_batches=1.0)
    trainer.validate(module, datamodule=data(store), verbose=False)
    assert 0 < float(trainer.callback_metrics["val/coins/nfe"]) <= 8


def test_a_resumed_imitation_ends_where_an_uninterrupted_one_does(
    tiny_llada: LLaDA, store: Path, tmp_path: Path
) -> None:
    straight = make_module(tiny_llada, decoding=FULL)
    save = ModelCheckpoint(tmp_path, filename="{step}", save_top_k=-1, every_n_train_steps=5)
    trainer = make_trainer(tmp_path, save, max_steps=9, enable_checkpointing=True)
    trainer.fit(straight, datamodule=data(store))
    resumed = make_module(tiny_llada, decoding=FULL)
    make_trainer(tmp_path, max_steps=9).fit(
        resumed, datamodule=data(store), ckpt_path=tmp_path / "step=5.ckpt"
    )
    assert not changed(weights(straight), weights(resumed))
    shorter = data(store)
    shorter.demonstrations._ends = shorter.demonstrations._ends[:-1]
    with pytest.raises(ConfigurationError, match="when the checkpoint was written"):
        make_trainer(tmp_path, max_steps=9).fit(
            resumed, datamodule=shorter, ckpt_path=tmp_path / "step=5.ckpt"
        )


def test_rewards_follow_imitation_with_its_weights_and_nothing_else(
    tiny_llada: LLaDA, store: Path, tmp_path: Path
) -> None:
    taught = make_module(tiny_llada, decoding=FULL)
    save = ModelCheckpoint(tmp_path, filename="taught", every_n_train_steps=1)
    trainer = make_trainer(tmp_path, save, max_steps=3, enable_checkpointing=True)
    trainer.fit(taught, datamodule=data(store))
    file = tmp_path / "taught.ckpt"
    assert not changed(weights(taught), load_policy(file).state_dict())

    def follow(steps: int, **settings: Any) -> tuple[Any, Any]:
        module = make_module(tiny_llada, decoding=FULL, **settings)
        # The policy is not taught again.
        lesson = WarmStart(LowConfidence(1), 4, Teaching(problems=4, epochs=1))
        trainer = make_trainer(tmp_path, lesson, max_steps=steps)
        trainer.fit(module, datamodule=make_data(), ckpt_path=file)
        return module, trainer

    still, trainer = follow(1, optimizer=lambda p: torch.optim.SGD(p, lr=0.0))
    assert trainer.global_step == 1
    assert not changed(weights(taught), weights(still))
    moved, trainer = follow(2)
    assert changed(weights(taught), weights(moved))
    steps = {float(s["step"]) for s in trainer.optimizers[0].state.values()}
    assert steps == {4.0}  # two rounds of two iterations, and no imitation


def test_a_store_that_does_not_fit_is_named_before_any_work(
    tiny_llada: LLaDA, tiny_dream: Dream, store: Path, tmp_path: Path
) -> None:
    def wide(head: Any = None, **settings: Any) -> LearnedPolicy:
        return LearnedPolicy(ConfidenceTransformer(16, 2, 16, **settings), head=head)

    cases: list[tuple[dict[str, Any], str]] = [
        ({"denoiser": tiny_dream}, r"are of denoiser .*model\.denoiser is"),
        ({"decoding": replace(FULL, gen_length=16)}, r"gen_length=8, and model.*gen_length=16"),
        ({"decoding": replace(FULL, block_length=2)}, r"block_length=2 must be a multiple .*=4"),
        ({"policy": wide(top_p=4)}, r"looks at top_k=4.* have top_k=2.*Demonstrate\.signals"),
        ({"policy": wide(speed=True)}, "is conditioned on a speed"),
        ({"policy": wide(CountHead())}, "acts by TopKCount"),
    ]
    for change, message in cases:
        module = make_module(**({"denoiser": tiny_llada, "decoding": FULL} | change))
        with pytest.raises(ConfigurationError, match=message):
            make_trainer(tmp_path).fit(module, datamodule=data(store))
    with pytest.raises(ConfigurationError, match="batch_size=9999; lower it"):
        data(store, batch_size=9999).train_dataloader()


def test_the_same_denoiser_at_another_path_fits(
    tiny_llada: LLaDA, store: Path, tmp_path: Path
) -> None:
    import shutil

    moved = Path(shutil.copytree(store, tmp_path / "moved"))
    recipe = json.loads((moved / "recipe.json").read_text())
    recipe["denoiser"] = "elsewhere/llada #" + recipe["denoiser"].rpartition("#")[2]
    (moved / "recipe.json").write_text(json.dumps(recipe))
    policy = make_module(tiny_llada).policy
    assert policy.signals == Signals()
    data(moved).check_imitable(policy, FULL, tiny_llada)
    data(moved).check_denoiser(tiny_llada)
