"""The DataModules that papers report on, and groups that stay on one rank."""

from collections import Counter
from pathlib import Path

import pytest
import torch
import yaml
from toys import Coins, config, make_data, make_module

from lit_unmask.cli import main
from lit_unmask.tasks import (
    GSM8K,
    MATH500,
    MBPP,
    CodeDataModule,
    HumanEval,
    KodCode,
    MathDataModule,
    Mixture,
    TaskDataModule,
)

FIXTURES = Path(__file__).parents[1] / "fixtures" / "tasks"


def test_mathematics_trains_on_both_sets_and_reports_on_the_two_tests():
    data = MathDataModule()
    assert isinstance(data.train, Mixture) and set(data.train.parts) == {"gsm8k", "math"}
    assert isinstance(data.test["gsm8k"], GSM8K) and isinstance(data.test["math500"], MATH500)
    assert set(data.tuning) == set(data.test) == set(data.val)
    assert {task.split for task in data.test.values()} == {"test"}


def test_code_trains_on_kodcode_and_reports_on_humaneval_and_mbpp():
    data = CodeDataModule()
    assert isinstance(data.train, KodCode)
    assert isinstance(data.test["humaneval"], HumanEval) and isinstance(data.test["mbpp"], MBPP)
    assert set(data.tuning) == set(data.test)


@pytest.mark.parametrize("kind", [MathDataModule, CodeDataModule, TaskDataModule])
def test_sets_that_are_given_replace_the_usual_ones(kind):
    gsm8k = GSM8K("test", path=str(FIXTURES / "gsm8k.jsonl"))
    data = kind(train=gsm8k, val={}, test={"toys": gsm8k}, batch_size=2)
    assert data.train is gsm8k and data.val == {} and list(data.test) == ["toys"]
    assert [len(batch) for batch in data.train_dataloader()] == [2, 2]
    assert bool(data.tuning) == (kind is not TaskDataModule)


class Ranked(TaskDataModule):
    """A DataModule as the rank of several."""

    rank, world = 0, 1

    @property
    def _ranks(self):
        return self.rank, self.world


def ranked(rank, world):
    data = Ranked(Coins("train", 24), batch_size=8, seed=1)
    data.rank, data.world = rank, world
    return data.train_dataloader()


@pytest.mark.parametrize("world", [2, 4])
def test_every_prompt_of_a_round_is_on_one_rank_alone(world):
    for batches in zip(*(ranked(rank, world) for rank in range(world)), strict=True):
        ranks = Counter(problem.uid for batch in batches for problem in batch)
        assert len(ranks) == 8 and set(ranks.values()) == {1}


def test_a_rank_makes_whole_groups_whose_advantages_need_no_other_rank(tiny_llada):
    module = make_module(tiny_llada)
    group = module.rounds.group_size
    problems = next(iter(make_data(train=Coins("train", 10), batch_size=4).train_dataloader()))
    together = module.collector.play(problems, 7)
    assert len(together.rewards) == len(problems) * group
    assert torch.allclose(
        together.advantage.view(-1, group).sum(1), torch.zeros(len(problems)), atol=1e-6
    )
    parts = [module.collector.play(problems[start : start + 2], 7) for start in (0, 2)]
    shares = torch.cat([part.advantage for part in parts])
    assert torch.allclose(shares, together.advantage, atol=1e-6)


def test_the_command_line_names_the_set_that_cannot_be_read(tiny_checkpoint, tmp_path, capsys):
    settings = config(tiny_checkpoint, tmp_path / "out")
    gsm8k = {"class_path": "lit_unmask.tasks.GSM8K", "init_args": {"split": "test"}}
    gsm8k["init_args"]["path"] = str(tmp_path / "missing.jsonl")
    given = {"val": {"gsm8k": gsm8k}, "batch_size": 2}
    settings["data"] = {"class_path": "lit_unmask.tasks.MathDataModule", "init_args": given}
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(settings))
    with pytest.raises(SystemExit) as end:
        main(["validate", f"--config={file}"])
    assert end.value.code == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("error: data.val.gsm8k: path=") and "lit-unmask-data export" in said
