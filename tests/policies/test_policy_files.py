"""Every file of configs/policies takes the place of a policy, and those with weights learn."""

import re
from pathlib import Path

import pytest
import torch
import yaml
from jsonargparse import ArgumentParser
from toys import config, make_data, make_module, make_trainer

from lit_unmask.cli import main
from lit_unmask.policies import Conditioned, Policy
from lit_unmask.rollout import Decoding

FOLDER = Path(__file__).parents[2] / "configs" / "policies"
FILES = sorted(FOLDER.rglob("*.yaml"))
WIDTH = 16  # of the hidden states of the random denoiser


def read(file):
    """Read a policy as the command line does."""
    parser = ArgumentParser(exit_on_error=False, parser_mode="omegaconf+")
    parser.add_subclass_arguments(Policy, "policy")
    arguments = [f"--policy={file}"]
    if file.stem == "hidden":
        arguments.append(f"--policy.network.hidden_width={WIDTH}")
    return parser.instantiate_classes(parser.parse_args(arguments)).policy


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_file_makes_a_policy_that_decodes_and_learns(file, tiny_llada, tmp_path):
    policy = read(file)
    decoding = Decoding(8, 8, temperature=1.0, max_block_steps=16)
    module = make_module(tiny_llada, policy, decoding=decoding)
    trainer = make_trainer(tmp_path, max_steps=1)
    if isinstance(policy, Conditioned) or not policy.has_parameters:
        assert module.evaluate(list(make_data().val["coins"])).nfe.min() > 0
        return
    before = {name: weight.clone() for name, weight in policy.named_parameters()}
    trainer.fit(module, datamodule=make_data())
    moved = {n for n, w in policy.named_parameters() if not torch.equal(w, before[n])}
    assert moved and moved <= {n for n, w in policy.named_parameters() if w.requires_grad}
    assert all(weight.isfinite().all() for weight in policy.parameters())


@pytest.mark.parametrize("file", sorted(FOLDER.glob("published/*")), ids=lambda file: file.stem)
def test_a_published_setting_names_its_source(file):
    assert re.match(r"# .*\(arXiv \d{4}\.\d{5}\)", file.read_text())


def test_waiting_with_dpls_costs_one_sentence_and_no_work(tiny_checkpoint, capsys, tmp_path):
    settings = config(tiny_checkpoint, tmp_path / "runs")
    settings["model"]["decoding"]["on_empty"] = "wait"
    settings["model"]["policy"] = yaml.safe_load((FOLDER / "dpls.yaml").read_text())
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
    with pytest.raises(SystemExit):
        main(["fit", f"--config={tmp_path / 'config.yaml'}"])
    said = capsys.readouterr()
    assert said.out == "" and "on_empty=wait has no meaning for PlackettLuceHead" in said.err
    assert not (tmp_path / "runs").exists()
