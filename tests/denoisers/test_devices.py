"""Everything that runs on an accelerator keeps its tensors there, shown on a strict device."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import SingleDeviceStrategy
from lit_unmask.callbacks import (
    AccuracyNFE,
    Baseline,
    Completions,
    Frontier,
    FrontierOptions,
    Inspection,
    UnmaskingStats,
    WarmStart,
)
from strict_device import STRICT, Elsewhere, StrictDevice
from toys import make_data, make_module, make_trainer, small_policy
from transformers.utils.generic import maybe_autocast

from lit_unmask.denoisers import Denoiser
from lit_unmask.evaluation.grid import HeuristicGrid
from lit_unmask.policies import (
    Conditioned,
    ConfidenceThreshold,
    ConfidenceTransformer,
    EntropyBound,
    LearnedPolicy,
    LowConfidence,
)
from lit_unmask.rollout import Approximate, Decoding, Scheduling
from lit_unmask.training.conditioning import Budget
from lit_unmask.training.experts import Expert
from lit_unmask.training.rewards import NearTarget
from lit_unmask.training.settings import Rounds
from tests.cuda.conftest import decode
from tests.cuda.test_rollouts import HEADS, policies


def is_usable() -> bool:
    try:
        with maybe_autocast(STRICT.type, enabled=False):
            return True
    except RuntimeError:
        return False


pytestmark = pytest.mark.skipif(
    not is_usable(), reason="the models of this transformers do not run on the strict device"
)

# How rows are scheduled and cached, besides the usual way.
WAYS: dict[str, dict[str, Any]] = {
    "fixed shapes": {"scheduling": Scheduling(deterministic=True, static_rows=4)},
    "a queue": {"scheduling": Scheduling(max_rows=2)},
    "prefix cache": {"approximate": Approximate("prefix")},
    "dual cache": {"approximate": Approximate("dual")},
    "early stop": {"approximate": Approximate(early_stop=True)},
}


def test_the_strict_device_refuses_what_an_accelerator_refuses() -> None:
    with StrictDevice():
        there, here = torch.arange(3.0, device=STRICT), torch.arange(3.0)
        assert isinstance(there + 1, Elsewhere)
        assert not isinstance(there.cpu(), Elsewhere)
        assert float((there * torch.tensor(2.0)).sum()) == 6
        assert there[torch.tensor([2, 0])].tolist() == [2, 0]
        for mixed in (lambda: there + here, lambda: here[there.long()], lambda: here.add_(there)):
            with pytest.raises(RuntimeError, match="mixes devices"):
                mixed()


@pytest.fixture(scope="module")
def double(tiny_llada: Denoiser) -> Denoiser:
    return copy.deepcopy(tiny_llada).double()


@pytest.fixture(scope="module")
def there(double: Denoiser) -> Denoiser:
    with StrictDevice():
        return copy.deepcopy(double).to(STRICT)


@pytest.mark.parametrize("name", policies())
def test_a_rollout_and_its_replay_stay_on_the_device(
    name: str, double: Denoiser, there: Denoiser, problems: list
) -> None:
    policy, decoding = policies()[name](), Decoding(8, 4)
    expected = decode(double, policy, problems, decoding)
    with StrictDevice():
        found = decode(there, policy, problems, decoding)
        assert found.steps is not None
        if name in HEADS:
            acting = copy.deepcopy(policy).to(STRICT)
            acting(found.steps.observation).log_prob(found.steps.action).sum().backward()
    for field in ("response", "committed_at", "nfe"):
        value = getattr(found, field)
        assert isinstance(value, Elsewhere) and torch.equal(value.inner, getattr(expected, field))


@pytest.mark.parametrize("way", WAYS)
def test_so_does_every_way_to_share_the_denoiser(
    way: str, double: Denoiser, there: Denoiser, problems: list
) -> None:
    decoding = Decoding(8, 4, **WAYS[way])
    expected = decode(double, LowConfidence(2), problems, decoding)
    with StrictDevice():
        found = decode(there, LowConfidence(2), problems, decoding)
    assert found.response.tolist() == expected.response.tolist()


@pytest.fixture(scope="module")
def problems() -> list:
    return list(make_data().test["coins"])[:3]


class Accelerator(CPUAccelerator):
    """Takes any device."""

    def setup_device(self, device: torch.device) -> None:
        pass


FULL = Decoding(8, 8, temperature=1.0)
SPEEDY = LearnedPolicy(ConfidenceTransformer(16, 2, 16, speed=True))
BASELINES = {"threshold": Baseline(ConfidenceThreshold(0.9), 4)}
RUNS: dict[str, tuple[dict[str, Any], list[Callback]]] = {
    "several iterations": (
        {"rounds": Rounds(group_size=4, num_iterations=2, target_kl=0.1, scale_by_std=True)},
        [],
    ),
    "an expert": (
        {"decoding": FULL, "experts": {"e": Expert(ConfidenceThreshold(0.9), 2, 1)}},
        [],
    ),
    "a condition": (
        {
            "policy": Conditioned(2.0, SPEEDY),
            "condition": Budget([2.0, 4.0]),
            "reward": NearTarget(2.0),
        },
        [],
    ),
    "callbacks": (
        {},
        [UnmaskingStats(), Completions(), WarmStart(EntropyBound(0.3), 4), AccuracyNFE(BASELINES),
         Inspection(1, 2, BASELINES),
         Frontier({"low": HeuristicGrid(LowConfidence, [2], [4])}, "compared",
                  options=FrontierOptions(fit=True, tested="closest"))],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RUNS)
def test_training_and_validation_stay_on_the_device(
    name: str, tiny_llada: Denoiser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings, callbacks = RUNS[name]
    module = make_module(copy.deepcopy(tiny_llada), **({"policy": small_policy()} | settings))
    trainer = make_trainer(
        tmp_path,
        *callbacks,
        accelerator="auto",
        strategy=SingleDeviceStrategy(device=STRICT, accelerator=Accelerator()),
        logger=TensorBoardLogger(str(tmp_path)),
        limit_val_batches=1.0,
        val_check_interval=1,
        max_steps=2,
        inference_mode=False,  # its tensors reach no mode
    )
    with StrictDevice():
        trainer.fit(module, datamodule=make_data())
    assert trainer.global_step == 2
    # Afterwards all are in one place again.
    assert {weight.device.type for weight in module.policy.parameters()} == {"cpu"}
    assert module.denoiser.device.type == "cpu"
