"""Running out of memory halves the batch and loses nothing."""

from itertools import chain

import pytest
import torch

from lit_unmask.denoisers import LLaDA
from lit_unmask.denoisers.running.memory import RowLimit
from lit_unmask.types import Prompt, Signals


class Small:
    """Computes squares, of at most ``fits`` rows at a time."""

    def __init__(self, fits, error=torch.OutOfMemoryError):
        self.fits, self.error, self.sizes = fits, error, []

    def __call__(self, rows):
        self.sizes.append(rows.stop - rows.start)
        if self.sizes[-1] > self.fits:
            raise self.error("DefaultCPUAllocator: can't allocate memory")
        return [row**2 for row in range(rows.start, rows.stop)]


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError])
def test_all_rows_are_computed_in_order_in_halved_batches(error):
    small, limit = Small(3, error), RowLimit()
    parts = limit.run(small, 21)
    assert list(chain.from_iterable(parts)) == [row**2 for row in range(21)]
    assert small.sizes == [21, 10, 5, *[2] * 10, 1]
    assert limit.rows == 2


def test_memory_that_runs_out_in_the_middle_loses_no_row():
    small, limit = Small(8), RowLimit()
    limit.rows = 8

    def shrinking(rows):
        small.fits = 8 if rows.start < 16 else 4
        return small(rows)

    assert list(chain.from_iterable(limit.run(shrinking, 30))) == [row**2 for row in range(30)]
    assert small.sizes == [8, 8, 8, 4, 4, 4, 2]


def test_the_limit_is_kept_for_later_batches():
    small, limit = Small(4), RowLimit()
    limit.run(small, 8)
    small.sizes.clear()
    limit.run(small, 8)
    assert small.sizes == [4, 4]


def test_nothing_is_split_while_it_fits():
    small = Small(100)
    assert len(RowLimit().run(small, 100)) == 1 and small.sizes == [100]


def test_one_row_that_does_not_fit_is_an_error():
    with pytest.raises(torch.OutOfMemoryError):
        RowLimit().run(Small(0), 4)


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    small = Small(0, ZeroDivisionError)
    with pytest.raises(ZeroDivisionError):
        RowLimit().run(small, 4)
    with pytest.raises(RuntimeError, match="shape"):
        RowLimit().run(lambda rows: torch.zeros(2).view(3), 4)
    assert small.sizes == [4]


def test_a_denoiser_that_runs_out_of_memory_says_the_same_about_every_row(tiny_llada, monkeypatch):
    torch.manual_seed(0)
    prompt = Prompt(torch.randint(5, 20, (6, 4)), torch.ones(6, 4, dtype=torch.bool))
    response = torch.full((6, 8), tiny_llada.mask_id)
    signals, uniform = Signals(top_k=2, names={"entropy"}), torch.rand(6, 8)
    monkeypatch.setattr(tiny_llada, "row_limit", RowLimit())
    whole = tiny_llada(prompt, response, signals, uniform, 0.7)
    states = LLaDA.states

    def scarce(self, prompt, response, kept):
        if len(response) > 4:
            raise torch.OutOfMemoryError("out of memory")
        return states(self, prompt, response, kept)

    monkeypatch.setattr(LLaDA, "states", scarce)
    split = tiny_llada(prompt, response, signals, uniform, 0.7)
    assert tiny_llada.row_limit.rows == 3
    assert torch.equal(split.proposal, whole.proposal)
    torch.testing.assert_close(split.confidence, whole.confidence)
    torch.testing.assert_close(split.signals["entropy"], whole.signals["entropy"])
