"""Every configuration in the repository parses, instantiates and runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from lit_unmask.cli import main

CONFIGS = Path(__file__).parents[1] / "configs"
# Those of large denoisers, and those that go together, have tests of their own.
APART = ("llada_", "dream_", "demonstrations", "imitation")
RUNS = sorted(c for c in CONFIGS.glob("*.yaml") if not c.stem.startswith(APART))
POLICIES = sorted((CONFIGS / "policies").glob("*.yaml"))
PRETRAIN = sorted((CONFIGS / "pretrain").glob("*.yaml"))


def task_name(config: Path) -> str:
    return next(iter(yaml.safe_load(config.read_text())["data"]["init_args"]["val"]))


@pytest.mark.parametrize("config", RUNS, ids=lambda path: path.stem)
def test_a_run_goes_through_a_fast_dev_run(config, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = task_name(config)
    main(
        [
            "fit",
            f"--config={config}",
            "--trainer.fast_dev_run=1",
            "--data.init_args.batch_size=1",
            "--model.rounds.group_size=2",
            f"--data.init_args.val.{name}.init_args.size=2",
            f"--data.init_args.test.{name}.init_args.size=2",
            f"--data.init_args.tuning.{name}.init_args.size=2",
        ]
    )


@pytest.mark.parametrize("config", RUNS, ids=lambda path: path.stem)
def test_a_run_says_how_to_start_it(config) -> None:
    assert f"--config configs/{config.name}" in config.read_text()


@pytest.mark.parametrize("config", PRETRAIN, ids=lambda path: path.stem)
def test_a_pretraining_goes_through_a_fast_dev_run(config, tmp_path, monkeypatch) -> None:
    from lit_unmask.pretrain.cli import main as pretrain

    monkeypatch.chdir(tmp_path)
    pretrain(["fit", f"--config={config}", "--trainer.fast_dev_run=2"])


def test_demonstrations_are_recorded_and_imitated(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    record, imitate = (CONFIGS / f"{name}.yaml" for name in ("demonstrations", "imitation"))
    main(["predict", f"--config={record}", "--data.init_args.test.math.init_args.size=3"])
    sizes = [f"--data.init_args.{part}.math.init_args.size=2" for part in ("val", "test", "tuning")]
    small = ["--trainer.fast_dev_run=1", "--data.init_args.batch_size=8"]
    main(["fit", f"--config={imitate}", *small, *sizes])
    assert "predict --config configs/demonstrations.yaml" in record.read_text()
    assert "fit --config configs/imitation.yaml" in imitate.read_text()
