"""Every configuration in the repository parses, instantiates and runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from jsonargparse import ArgumentParser
from toys import write_autoregressive

from lit_unmask.cli import main
from lit_unmask.denoisers.loading.hub import BUNDLED
from lit_unmask.denoisers.loading.tokenizer import load_tokenizer
from lit_unmask.evaluation.grid import HeuristicGrid, settings
from lit_unmask.preflight.extends import read_config
from lit_unmask.rollout import Decoding

CONFIGS = Path(__file__).parents[1] / "configs"
# Those of large denoisers, and those that go together, have tests of their own.
APART = ("llada_", "dream_", "demonstrations", "imitation")
RUNS = sorted(c for c in CONFIGS.glob("*.yaml") if not c.stem.startswith(APART))
POLICIES = sorted((CONFIGS / "policies").glob("*.yaml"))
SYSTEMS = sorted((CONFIGS / "systems").glob("*.yaml"))
PRETRAIN = sorted((CONFIGS / "pretrain").glob("*.yaml"))


def task_name(config: Path) -> str:
    return next(iter(read_config(config)["data"]["init_args"]["val"]))


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


@pytest.mark.parametrize("config", SYSTEMS, ids=lambda path: path.stem)
def test_a_system_is_decoded_beside_a_run(config, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    quiet = ["--trainer.logger=false", "--trainer.callbacks=[]", "--trainer.limit_val_batches=1"]
    small = ["--data.init_args.val.math.init_args.size=2"]
    if "runs/apd/autoregressive" in config.read_text():  # of one's own
        tokenizer = load_tokenizer(BUNDLED / "tiny-llada")
        write_autoregressive(tokenizer, Path("runs/apd/autoregressive"))
    main(["validate", f"--config={CONFIGS / 'demo.yaml'}", f"--config={config}", *quiet, *small])
    assert f"--config configs/systems/{config.name}" in config.read_text()


@pytest.mark.parametrize(("name", "count"), [("grids", 94), ("grids_published", 58)])
def test_a_grid_makes_settings_of_rules_with_their_own_names(name, count) -> None:
    parser = ArgumentParser()
    parser.add_argument("--grids", type=dict[str, HeuristicGrid], enable_path=True)
    given = parser.parse_args([f"--grids={CONFIGS}/base/{name}.yaml"])
    made = list(settings(parser.instantiate_classes(given).grids, Decoding(64, 64)))
    assert len(made) == count
    assert (
        len({(one.name, *one.params.items(), one.decoding.block_length) for one in made}) == count
    )
    proxies = [one.policy.proxy for one in made if one.name == "entropy bound by margin"]
    assert proxies == ["margin"] * (8 if name == "grids_published" else 0)


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


def test_a_configuration_holds_what_it_changes_of_those_it_extends(tmp_path, capsys) -> None:
    (tmp_path / "base").mkdir()
    base, middle, top = (tmp_path / name for name in ("base/a.yaml", "b.yaml", "c.yaml"))
    base.write_text("seed_everything: 3\ntrainer: {max_steps: 7, val_check_interval: 9}\n")
    middle.write_text("extends: base/a.yaml\ntrainer: {max_steps: 8}\n")
    top.write_text("extends: [b.yaml]\ntrainer: {devices: 1}\n")
    asked = ["--config", str(CONFIGS / "demo.yaml"), f"--config={top}", "--seed_everything=5"]
    with pytest.raises(SystemExit):
        main(["fit", *asked, "--print_config"])
    said = yaml.safe_load(capsys.readouterr().out)
    assert said["trainer"]["max_steps"] == 8 and said["trainer"]["val_check_interval"] == 9
    assert said["seed_everything"] == 5 and said["extends"] is None
    whole = read_config(top)
    assert whole == {
        "seed_everything": 3, "trainer": {"max_steps": 8, "val_check_interval": 9, "devices": 1},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("content", "message"),
    [("extends: nothing.yaml", "extends .*nothing.yaml, which is no file"),
     ("extends: self.yaml", "extends itself")],
)  # fmt: skip
def test_a_base_that_cannot_be_is_refused(content, message, tmp_path, capsys) -> None:
    (tmp_path / "self.yaml").write_text(content)
    with pytest.raises(SystemExit) as end:
        main(["fit", f"--config={tmp_path / 'self.yaml'}"])
    assert end.value.code == 1 and re.search(message, capsys.readouterr().err)


def test_a_script_gets_a_configuration_with_all_its_parts() -> None:
    config = read_config(CONFIGS / "tiny_math.yaml")
    kinds = [callback["class_path"] for callback in config["trainer"]["callbacks"]]
    assert "lit_unmask.callbacks.AccuracyNFE" in kinds
    assert "threshold" in config["trainer"]["callbacks"][-1]["init_args"]["grids"]
