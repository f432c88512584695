"""Checkpoints: what they hold, who may use them, and runs that go on from them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint
from toys import (
    After,
    make_data,
    make_module,
    make_trainer,
    small_policy,
)

from lit_unmask import load_policy
from lit_unmask.denoisers import Dream, LLaDA
from lit_unmask.errors import ConfigurationError
from lit_unmask.evaluation.decode import evaluate
from lit_unmask.policies import ConfidenceThreshold, ConfidenceTransformer, LearnedPolicy
from lit_unmask.rollout import Approximate, Decoding
from lit_unmask.training.checkpoints import checkpoint_entry
from lit_unmask.training.module import LitUnmask
from lit_unmask.training.rewards import MultiplicativeSpeed
from tests.toy_systems import Even, Nothing


def weights(module: LitUnmask) -> dict[str, torch.Tensor]:
    return copy.deepcopy(module.policy.state_dict())


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, two[name]) for name, value in one.items())


def test_checkpoints_hold_the_policy_and_not_the_denoiser(
    tiny_llada: LLaDA, tmp_path: Path
) -> None:
    module = make_module(tiny_llada, LearnedPolicy(ConfidenceTransformer()))
    assert sum(weight.numel() for weight in module.policy.parameters()) == 331_265
    save = ModelCheckpoint(tmp_path, filename="policy")
    trainer = make_trainer(
        tmp_path, save, max_steps=1, enable_checkpointing=True, limit_val_batches=1
    )
    trainer.fit(module, datamodule=make_data())
    file = tmp_path / "policy.ckpt"
    assert file.stat().st_size < 10e6
    stored = torch.load(file, weights_only=True)
    policy = {f"policy.{name}" for name in module.policy.state_dict()}
    assert set(stored["state_dict"]) == policy
    assert "hyper_parameters" not in stored
    assert stored["denoiser"] == tiny_llada.identity
    for group in stored["optimizer_states"]:
        assert len(group["state"]) == len(list(module.policy.parameters()))


def test_a_checkpoint_loads_against_another_denoiser(
    tiny_llada: LLaDA, tiny_dream: Dream, tmp_path: Path
) -> None:
    module = make_module(tiny_llada)
    trainer = make_trainer(tmp_path)
    trainer.fit(module, datamodule=make_data())
    trainer.save_checkpoint(tmp_path / "llada.ckpt")
    other = make_module(tiny_dream, small_policy(seed=1))
    make_trainer(tmp_path, limit_val_batches=1.0).validate(
        other, datamodule=make_data(), ckpt_path=tmp_path / "llada.ckpt", verbose=False
    )
    assert other.denoiser is tiny_dream
    for name, value in weights(module).items():
        assert torch.equal(value, weights(other)[name])


def test_a_checkpoint_of_another_policy_is_refused(tiny_llada: LLaDA, tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    trainer.fit(make_module(tiny_llada), datamodule=make_data())
    trainer.save_checkpoint(tmp_path / "small.ckpt")
    wide = LearnedPolicy(ConfidenceTransformer(width=32, heads=2, feed_forward=16))
    for policy in (wide, ConfidenceThreshold(0.9)):
        with pytest.raises(ConfigurationError, match=type(policy).__name__):
            make_trainer(tmp_path, limit_val_batches=1).validate(
                make_module(tiny_llada, policy), make_data().val_dataloader(),
                ckpt_path=tmp_path / "small.ckpt",
            )  # fmt: skip


@pytest.mark.parametrize("stop", [3, 5, 7])  # within an epoch of 5 rounds, at its end, in the next
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(
    tiny_llada: LLaDA, tmp_path: Path, stop: int
) -> None:
    straight = make_module(tiny_llada)
    save = ModelCheckpoint(tmp_path, filename="{step}", save_top_k=-1, every_n_train_steps=stop)
    trainer = make_trainer(tmp_path, save, max_steps=9, enable_checkpointing=True)
    trainer.fit(straight, datamodule=make_data())
    resumed = make_module(tiny_llada, small_policy(seed=1))
    trainer = make_trainer(tmp_path, max_steps=9)
    trainer.fit(resumed, datamodule=make_data(), ckpt_path=tmp_path / f"step={stop}.ckpt")
    assert trainer.global_step == 9
    for name, value in weights(straight).items():
        assert torch.equal(value, weights(resumed)[name]), name


@pytest.mark.parametrize(
    ("optimizer", "said"),
    [
        (lambda weights: torch.optim.SGD(weights, lr=1e-2), "model.optimizer SGD has"),
        (lambda weights: torch.optim.AdamW(weights, lr=0.5), "has lr=0.5 .* 0.01, which would"),
    ],
)
def test_a_run_does_not_go_on_with_another_optimizer(
    optimizer: Any, said: str, tiny_llada: LLaDA, tmp_path: Path
) -> None:
    save = ModelCheckpoint(tmp_path, filename="first")
    trainer = make_trainer(tmp_path, save, max_steps=1, enable_checkpointing=True)
    trainer.fit(make_module(tiny_llada), datamodule=make_data())
    other = make_module(tiny_llada, optimizer=optimizer)
    before = weights(other)
    with pytest.raises(ConfigurationError, match=said):
        make_trainer(tmp_path, max_steps=2).fit(
            other, datamodule=make_data(), ckpt_path=tmp_path / "first.ckpt", weights_only=True
        )
    assert same(before, weights(other))


def averaging() -> EMAWeightAveraging:
    return EMAWeightAveraging(decay=0.8)


def test_a_moving_average_is_validated_stored_and_resumed(
    tiny_llada: LLaDA, tmp_path: Path
) -> None:
    path: list[dict[str, torch.Tensor]] = []
    module = make_module(tiny_llada)
    keep = After(lambda trainer, batch: path.append(weights(module)))
    save = ModelCheckpoint(tmp_path, filename="{step}", save_top_k=-1, every_n_train_steps=2)
    trainer = make_trainer(
        tmp_path, averaging(), keep, save, max_steps=4, enable_checkpointing=True,
        limit_val_batches=1.0, val_check_interval=4, check_val_every_n_epoch=None,
    )  # fmt: skip
    trainer.fit(module, datamodule=make_data())
    expected = path[0]
    for after in path[1:]:
        expected = {n: 0.8 * value + 0.2 * after[n] for n, value in expected.items()}
    stored = load_policy(tmp_path / "step=4.ckpt")
    for name, value in stored.state_dict().items():
        torch.testing.assert_close(value, expected[name])
    assert not same(path[-1], stored.state_dict())
    result = evaluate(tiny_llada, stored, list(make_data().val["coins"]), module.eval_decoding)
    assert float(trainer.callback_metrics["val/coins/nfe"]) == pytest.approx(result.mean_nfe)
    resumed = make_module(tiny_llada, small_policy(seed=1))
    trainer = make_trainer(tmp_path, averaging(), max_steps=4)
    trainer.fit(resumed, datamodule=make_data(), ckpt_path=tmp_path / "step=2.ckpt")
    for name, value in weights(resumed).items():
        torch.testing.assert_close(value, expected[name])


def test_copies_of_a_module_share_its_denoiser(tiny_llada: LLaDA) -> None:
    module = make_module(tiny_llada)
    module.listeners.append(print)
    twin = copy.deepcopy(module)
    assert twin.denoiser is tiny_llada
    assert twin.policy is not module.policy and same(weights(twin), weights(module))


def test_a_checkpoint_names_all_that_its_rollouts_followed_from(tiny_llada, tmp_path):
    kinds = {
        None: Decoding(8, 4),
        "approximate": Decoding(8, 4, approximate=Approximate(early_stop=True)),
        "max_block_steps": Decoding(8, 4, max_block_steps=9),
        "corrector": Decoding(8, 4, corrector=Nothing(2)),
    }
    found = {}
    for name, decoding in kinds.items():
        entry = checkpoint_entry(
            small_policy(), tiny_llada.identity, decoding, MultiplicativeSpeed(1.0), 0
        )
        found[name] = entry["trained_with"]["further"]
        assert entry["trained_with"]["block_length"] == 4
    assert found[None] is None
    assert [list(found[name]) for name in list(kinds)[1:]] == [[name] for name in list(kinds)[1:]]
    assert found["corrector"]["corrector"]["init_args"]["every"] == 2


def test_particles_are_not_trained_on(tiny_llada):
    module = make_module(tiny_llada, decoding=Decoding(8, 4, resampler=Even(2)))
    with pytest.raises(ConfigurationError, match=r"Even replaces rollouts.*validate or test with"):
        module.collector.check()
