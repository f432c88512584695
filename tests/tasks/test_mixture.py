"""A mixture keeps its shares, its names and its order, in training and when it goes on."""

from collections import Counter
from dataclasses import replace

import pytest

from lit_unmask.tasks import Mixture, ShoppingSums, ShortFunctions
from lit_unmask.tasks.base import ProblemSet
from lit_unmask.tasks.datamodule import TaskDataModule


class Numbered(ProblemSet):
    """Problems whose uid is their number."""

    def __init__(self, size):
        self.problems = [replace(ShoppingSums("train", 1)[0], uid=str(i)) for i in range(size)]

    def __len__(self):
        return len(self.problems)

    def __getitem__(self, index):
        self._check(index)
        return self.problems[index]


def uids(*arguments, **settings):
    return [problem.uid for problem in Mixture(*arguments, **settings)]


def test_without_weights_every_problem_comes_once_under_the_name_of_its_part():
    parts = {"sums": ShoppingSums("train", 30), "code": ShortFunctions("train", 12)}
    wanted = [f"{name}/{problem.uid}" for name, part in parts.items() for problem in part]
    mixed = uids(parts)
    assert sorted(mixed) == sorted(wanted) and mixed != wanted
    found = Mixture(parts)[mixed.index(wanted[0])]
    assert replace(found, uid=parts["sums"][0].uid) == parts["sums"][0]


@pytest.mark.parametrize(
    ("weights", "size", "counts"),
    [
        ({"a": 1, "b": 1}, 40, (20, 20)),
        ({"a": 1, "b": 3}, 41, (10, 31)),
        ({"a": 0.1, "b": 0.2}, None, (10, 20)),
        ({"a": 2, "b": 1}, None, (10, 5)),
        ({"a": 3, "b": 1}, 100, (75, 25)),
        (None, 15, (5, 10)),
    ],
)
def test_shares_are_those_of_the_weights(weights, size, counts):
    mixed = uids({"a": Numbered(10), "b": Numbered(20)}, weights, size)
    found = Counter(uid.partition("/")[0] for uid in mixed)
    assert (found["a"], found["b"]) == counts


def test_a_part_starts_again_only_when_all_of_it_has_come():
    served = [u for u in uids({"a": Numbered(7), "b": Numbered(9)}, {"a": 2, "b": 1}, 30)]
    of_a = [uid for uid in served if uid.startswith("a")]
    assert len(of_a) == 20
    assert len(set(of_a[:7])) == len(set(of_a[7:14])) == 7 and of_a[:7] != of_a[7:14]


def test_parts_are_mixed_throughout():
    mixed = uids({"a": Numbered(200), "b": Numbered(200)})
    for start in range(0, 400, 100):
        assert 30 < sum(uid.startswith("a") for uid in mixed[start : start + 100]) < 70


def test_the_order_follows_from_the_seed_alone():
    parts = {"a": Numbered(20), "b": Numbered(20)}
    assert uids(parts, seed=3) == uids(parts, seed=3) != uids(parts, seed=4)


def test_training_on_a_mixture_goes_on_where_it_was():
    parts = {"a": Numbered(20), "b": Numbered(13)}
    whole, first, again = (
        TaskDataModule(Mixture(parts), batch_size=4).train_dataloader() for _ in range(3)
    )
    batches = iter(first)
    before = [[p.uid for p in next(batches)] for _ in range(3)]
    again.load_state_dict(first.state_dict())
    after = [[p.uid for p in batch] for batch in again]
    assert before + after == [[p.uid for p in batch] for batch in whole]


@pytest.mark.parametrize(
    ("weights", "size", "said"),
    [
        ({"a": 1}, None, "weights of a must name exactly the parts a, b"),
        ({"a": 1, "b": 0}, None, r"weights=.* must be positive"),
        (None, 0, "size=0 must be at least 1"),
    ],
)
def test_impossible_mixtures_are_refused(weights, size, said):
    with pytest.raises(ValueError, match=said):
        Mixture({"a": Numbered(1), "b": Numbered(1)}, weights, size)
    with pytest.raises(ValueError, match="at least one"):
        Mixture({})
