"""Sharding counts every problem once, and an interrupted order goes on where it was."""

from itertools import chain

import pytest

from lit_unmask.tasks import ShortFunctions
from lit_unmask.tasks.datamodule import (
    ExactShards,
    ResumableLoader,
    TaskDataModule,
    TrainingShards,
)

ITEMS = list(range(23))


def loader(rank=0, world=1, items=ITEMS, batch_size=4):
    sampler = TrainingShards(items, world, rank, shuffle=True, seed=3, drop_last=True)
    share = batch_size // world
    return ResumableLoader(
        items, batch_size=share, sampler=sampler, collate_fn=list, drop_last=True
    )


@pytest.mark.parametrize("world", [1, 2, 3, 8, 30])
@pytest.mark.parametrize("count", [1, 7, 16, 23])
def test_exact_shards_hold_every_index_once(world, count):
    shards = [ExactShards(range(count), rank, world) for rank in range(world)]
    assert sorted(index for shard in shards for index in shard) == list(range(count))
    assert [len(list(shard)) for shard in shards] == [len(shard) for shard in shards]
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


def test_a_round_holds_the_same_problems_on_any_number_of_ranks():
    alone = list(loader())
    for world in (2, 4):
        ranks = zip(*(loader(rank, world) for rank in range(world)), strict=True)
        together = [sorted(chain(*batches)) for batches in ranks]
        assert together == [sorted(batch) for batch in alone]


def test_an_epoch_repeats_nothing_and_drops_only_the_uneven_rest():
    served = list(chain(*loader()))
    assert len(served) == len(set(served)) == 20 and set(served) <= set(ITEMS)


def test_each_epoch_has_its_own_order():
    batches = loader()
    assert list(batches) != list(batches) != list(loader())[::-1]
    assert list(loader()) == list(loader())


def test_an_epoch_that_is_not_asked_for_more_than_it_has_still_ends():
    # Lightning takes as many batches as the loader's length, never one more.
    batches, exhausted = loader(), loader()
    for _ in range(3):
        iterator = iter(batches)
        assert [next(iterator) for _ in range(len(batches))] == list(exhausted)


def test_an_epoch_that_is_cut_short_is_not_repeated():
    batches = loader()
    first = [batch for batch, _ in zip(batches, range(2), strict=False)]
    assert first != [batch for batch, _ in zip(batches, range(2), strict=False)]


@pytest.mark.parametrize("served", range(12))
def test_a_restored_loader_goes_on_exactly(served):
    def stream(batches):
        while True:
            yield from batches

    whole, original = loader(), loader()
    expected = [batch for batch, _ in zip(stream(whole), range(15), strict=False)]
    source = stream(original)
    before = [next(source) for _ in range(served)]
    restored = loader()
    restored.load_state_dict(original.state_dict())
    assert restored.state_dict() == original.state_dict()
    after = [batch for batch, _ in zip(stream(restored), range(15 - served), strict=False)]
    assert before + after == expected


def test_the_state_says_epoch_and_batches_served():
    batches = loader()
    assert batches.state_dict() == {"epoch": 0, "served": 0}
    iterator = iter(batches)
    next(iterator)
    assert batches.state_dict() == {"epoch": 0, "served": 1}
    for _ in range(len(batches) - 1):
        next(iterator)
    assert batches.state_dict() == {"epoch": 1, "served": 0}


def test_loaders_serve_lists_of_problems():
    train, val = ShortFunctions("train", 10), ShortFunctions("validation", 5)
    data = TaskDataModule(train, {"short": val}, {"short": val, "again": val}, batch_size=4)
    data.eval_batch_size = 3
    batch = next(iter(data.train_dataloader()))
    assert len(batch) == 4 and {problem.uid for problem in batch} <= {p.uid for p in train}
    (loaded,) = data.val_dataloader()
    assert [[p.uid for p in batch] for batch in loaded] == [
        [p.uid for p in list(val)[:3]],
        [p.uid for p in list(val)[3:]],
    ]
    assert len(data.test_dataloader()) == len(data.predict_dataloader()) == 2
    assert data.transfer_batch_to_device(batch, None, 0) is batch


def test_training_without_problems_or_with_too_few_is_refused():
    with pytest.raises(ValueError, match=r"data\.train is not set"):
        TaskDataModule().train_dataloader()
    few = TaskDataModule(ShortFunctions("train", 3), batch_size=4)
    with pytest.raises(ValueError, match=r"3 problems, fewer than .* data\.batch_size=4"):
        few.train_dataloader()


def test_a_round_that_does_not_divide_among_the_ranks_is_refused():
    class ThreeRanks(TaskDataModule):
        _ranks = (0, 3)

    with pytest.raises(ValueError, match=r"data\.batch_size=4 must be a multiple of the 3 ranks"):
        ThreeRanks(ShortFunctions("train", 30), batch_size=4).train_dataloader()
