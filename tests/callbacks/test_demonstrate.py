"""Recording with the command line, and training on what was recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from command_line import exit_code
from lit_unmask.callbacks import Demonstrate
from toys import Coins, config, make_data, make_module, make_trainer

from lit_unmask.denoisers import LLaDA
from lit_unmask.errors import ConfigurationError
from lit_unmask.evaluation.decode import evaluate
from lit_unmask.policies import LowConfidence
from lit_unmask.rollout import Decoding
from lit_unmask.training.demonstrations import DemonstrationStore
from lit_unmask.types import Signals

BLOCKS = Decoding(gen_length=8, block_length=4)


def record(denoiser: LLaDA, folder: Path, size: int, **settings: Any) -> list[dict[str, Any]]:
    """Record on so many problems; returns the predictions."""
    module = make_module(denoiser, LowConfidence(2), decoding=BLOCKS)
    data = make_data(test={"coins": Coins("train", size=size)}, eval_batch_size=4)
    trainer = make_trainer(folder, Demonstrate(str(folder / "store"), **settings))
    batches = trainer.predict(module, datamodule=data)
    assert module.predict_batch is None
    return [made for batch in batches or [] for made in batch]


def test_trajectories_are_those_of_the_policy_and_each_problem_comes_once(
    tiny_llada: LLaDA, tmp_path: Path
) -> None:
    first = record(tiny_llada, tmp_path, 6, signals=Signals(top_k=3))
    problems = list(Coins("train", size=10))
    alone = evaluate(tiny_llada, LowConfidence(2), problems, BLOCKS)
    assert first == alone.records(problems)[:6]
    again = record(tiny_llada, tmp_path, 10, signals=Signals(top_k=3))
    assert again == alone.records(problems)[6:]
    store = DemonstrationStore(tmp_path / "store")
    right = [p.uid for p, verdict in zip(problems, alone.correct, strict=True) if verdict == 1]
    assert sorted(store.uids) == sorted(right)
    assert 0 < len(right) < 10
    assert len(store) == 4 * len(right)
    assert store[0].observation.confidence.shape == (1, 8, 3)


def test_a_folder_of_another_recipe_is_refused_before_any_forward(
    tiny_llada: LLaDA, tmp_path: Path
) -> None:
    record(tiny_llada, tmp_path, 2)
    with pytest.raises(ConfigurationError, match=r"top_k=1.*choose another folder"):
        record(tiny_llada, tmp_path, 2, signals=Signals(top_k=2))
    with pytest.raises(ConfigurationError, match="an expert is given none"):
        record(tiny_llada, tmp_path / "other", 2, signals=Signals(names={"speed"}))


def test_a_trial_run_writes_nothing(tiny_llada: LLaDA, tmp_path: Path) -> None:
    module = make_module(tiny_llada, LowConfidence(2), decoding=BLOCKS)
    trainer = make_trainer(tmp_path, Demonstrate(str(tmp_path / "store")), fast_dev_run=True)
    trainer.predict(module, datamodule=make_data())
    assert not (tmp_path / "store").exists()


def test_commands_record_imitate_and_train_on(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = config(tiny_checkpoint, tmp_path / "out")

    def write(name: str, **data: Any) -> Path:
        file = tmp_path / f"{name}.yaml"
        file.write_text(yaml.safe_dump(base | data))
        return file

    store = str(tmp_path / "store")
    imitation = {
        "class_path": "lit_unmask.training.demonstrations.ImitationData",
        "init_args": {"store": store, "batch_size": 4, "val": base["data"]["init_args"]["val"]},
    }
    rewards, teach = write("rewards"), write("teach", data=imitation)
    assert exit_code("fit", "--config", teach) == 2
    assert "holds no demonstrations" in capsys.readouterr().err
    callback = [{"class_path": "lit_unmask.callbacks.Demonstrate", "init_args": {"folder": store}}]
    trainer = base["trainer"] | {"callbacks": callback, "logger": False}
    expert = "--model.policy=lit_unmask.policies.LowConfidence"
    assert exit_code("predict", "--config", write("record", trainer=trainer), expert) == 0
    assert "trajectories of 5 problems" in " ".join(capsys.readouterr().out.split())
    assert exit_code("fit", "--config", teach, "--model.decoding.gen_length=12") == 2
    assert "gen_length=12; set it to theirs" in capsys.readouterr().err
    assert exit_code("fit", "--config", teach) == 0
    (file,) = (tmp_path / "out" / "run" / "version_0").rglob("last.ckpt")
    slow = ["--trainer.max_steps=1", "--model.optimizer.lr=0.0"]
    assert exit_code("fit", "--config", rewards, "--ckpt_path", file, *slow) == 0
    (after,) = (tmp_path / "out" / "run" / "version_1").rglob("last.ckpt")
    one, two = (torch.load(path, weights_only=True) for path in (file, after))
    assert two["global_step"] == 1 and one["objective"] != two["objective"]
    for name, value in one["state_dict"].items():
        assert torch.equal(value, two["state_dict"][name])
