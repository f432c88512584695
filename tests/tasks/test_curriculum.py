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


def numbered(*sizes):
    """Stages whose problems are told apart by stage and place."""
    return [ShoppingSums("train", size, seed=stage) for stage, size in enumerate(sizes)]


def stage_of(curriculum):
    """Return stage and place of every problem, in the curriculum's order."""
    places = {
        problem.uid: (number, place)
        for number, stage in enumerate(curriculum.stages)
        for place, problem in enumerate(stage)
    }
    return [places[problem.uid] for problem in curriculum]


def test_a_blend_keeps_every_problem_and_the_order_within_each_stage():
    order = stage_of(Curriculum(numbered(30, 50, 20), blend=20))
    assert sorted(order) == [(s, p) for s, size in enumerate((30, 50, 20)) for p in range(size)]
    for stage in range(3):
        places = [place for number, place in order if number == stage]
        assert places == sorted(places)


def test_a_blend_changes_nothing_outside_its_borders():
    plain = stage_of(Curriculum(numbered(30, 50, 20)))
    mixed = stage_of(Curriculum(numbered(30, 50, 20), blend=20))
    assert [p[0] for p in plain] == [0] * 30 + [1] * 50 + [2] * 20
    around = {*range(20, 40), *range(70, 90)}
    assert all(mixed[i] == plain[i] for i in range(100) if i not in around)
    assert any(mixed[i] != plain[i] for i in range(20, 40))
    assert any(mixed[i] != plain[i] for i in range(70, 90))


def test_the_share_of_the_next_stage_rises_linearly():
    class Counted(ShoppingSums):
        def __getitem__(self, index):
            return self.seed  # which stage it is, without drawing a problem

    order = list(Curriculum([Counted("train", 3000, seed=s) for s in (0, 1)], blend=4000))
    window = order[1000:5000]
    for part in range(8):
        share = sum(window[part * 500 : (part + 1) * 500]) / 500
        assert abs(share - (part + 0.5) / 8) < 0.07
    assert sum(window) == 2000 and set(order[:1000]) == {0} and set(order[5000:]) == {1}


def test_a_blended_order_follows_from_the_index_alone():
    first, again = (Curriculum(numbered(30, 30), blend=20) for _ in range(2))
    forwards = [first[index].uid for index in range(60)]
    assert [again[index].uid for index in reversed(range(60))] == forwards[::-1]
    data = TaskDataModule(train=again, batch_size=6, shuffle=False)
    batches = data.train_dataloader()
    next(iter(batches))
    resumed = data.train_dataloader()
    resumed.load_state_dict(batches.state_dict())
    assert [p.uid for batch in resumed for p in batch] == forwards[6:]


def test_a_blend_that_is_odd_or_larger_than_its_stages_is_refused():
    with pytest.raises(ValueError, match="blend=3 must be an even number"):
        Curriculum(stages(), blend=3)
    with pytest.raises(ValueError, match="blend=-2 must be"):
        Curriculum(stages(), blend=-2)
    with pytest.raises(ValueError, match="blend=4 needs 4 problems of stage 1, which has 1"):
        Curriculum(stages(), blend=4).check()
