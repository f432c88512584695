"""Stages follow each other, in training as well."""

import pytest

from lit_unmask.tasks import Curriculum, ShoppingSums
from lit_unmask.tasks.datamodule import TaskDataModule


def stages():
    return [
        ShoppingSums("train", 5, seed=1, steps=(3, 3)),
        ShoppingSums("train", 1, seed=2),
        ShoppingSums("train", 6, seed=3, steps=(6, 6)),
    ]


def test_problems_are_those_of_the_stages_in_order():
    uids = [problem.uid for stage in stages() for problem in stage]
    assert [problem.uid for problem in Curriculum(stages())] == uids
    assert len(Curriculum(stages())) == 12
    assert Curriculum(stages())[5].uid == stages()[1][0].uid


@pytest.mark.parametrize("index", [-1, 12])
def test_an_index_outside_is_refused(index):
    with pytest.raises(IndexError, match=rf"index={index} must lie in \[0, 12\)"):
        Curriculum(stages())[index]


def test_no_stages_are_refused():
    with pytest.raises(ValueError, match="at least one"):
        Curriculum([])


def test_training_without_shuffling_keeps_the_order():
    data = TaskDataModule(train=Curriculum(stages()), batch_size=4, shuffle=False)
    served = [problem.uid for batch in data.train_dataloader() for problem in batch]
    assert served == [problem.uid for problem in Curriculum(stages())]
    shuffled = TaskDataModule(train=Curriculum(stages()), batch_size=4)
    mixed = [problem.uid for batch in shuffled.train_dataloader() for problem in batch]
    assert sorted(mixed) == sorted(served) and mixed != served


def test_a_run_goes_on_within_a_stage():
    uids = [problem.uid for problem in Curriculum(stages())]
    data = TaskDataModule(train=Curriculum(stages()), batch_size=2, shuffle=False)
    batches = data.train_dataloader()
    iterator = iter(batches)
    next(iterator), next(iterator)
    resumed = data.train_dataloader()
    resumed.load_state_dict(batches.state_dict())
    assert [problem.uid for batch in resumed for problem in batch] == uids[4:]
