"""The masked diffusion objective against an enumeration of all maskings, whole and in a block."""

import itertools

import pytest
import torch

from lit_unmask.pretrain.objectives.base import token_distributions, weighted_loss
from lit_unmask.pretrain.objectives.masks import (
    BLOCK_LENGTHS,
    ComplementaryMasks,
    IndependentMasks,
    Window,
    draw_windows,
    mask_window,
    stratified_times,
)
from lit_unmask.tasks.base import synonym_shares

LENGTH, VOCABULARY, MASK = 5, 4, 9


def logits_of(noisy):
    """Return the logits ``[B, L, V]`` of a model that reacts to every masking differently."""
    code = ((noisy == MASK) * 2 ** torch.arange(LENGTH)).sum(1)
    generator = torch.Generator().manual_seed(0)
    table = 2 * torch.randn(2**LENGTH, LENGTH, VOCABULARY, generator=generator)
    return table[code]


def windows(start, size, rows=1):
    return Window(torch.full((rows,), start), torch.full((rows,), size))


@pytest.mark.parametrize(("start", "size"), [(0, 5), (1, 3), (2, 3), (4, 1)])
def test_the_mean_over_random_maskings_is_the_enumerated_objective(start, size):
    target = torch.tensor([2, 0, 3, 1, 1])
    scores = []
    for count in range(1, size + 1):
        for chosen in itertools.combinations(range(start, start + size), count):
            noisy = target.clone()
            noisy[[*chosen, *range(start + size, LENGTH)]] = MASK
            table = logits_of(noisy[None])[0].double().log_softmax(-1)
            entropy = -sum(float(table[place, target[place]]) for place in chosen)
            scores.append((count, entropy / count))
    # Every number of masks is as likely, and of one number every choice.
    expected = 0.0
    for count in range(1, size + 1):
        same = [score for number, score in scores if number == count]
        expected += sum(same) / len(same) / size
    rows = 60_000
    generator = torch.Generator().manual_seed(1)
    clean, times = target.expand(rows, LENGTH), stratified_times(rows, generator)
    noisy, weight = mask_window(clean, windows(start, size, rows), times, MASK, generator)
    hidden = weight > 0
    meant = torch.eye(VOCABULARY)[clean[hidden]]
    loss = weighted_loss(logits_of(noisy)[hidden], meant, weight[hidden], rows)
    assert float(loss) == pytest.approx(expected, rel=0.02)


def test_the_loss_of_one_masking_by_hand():
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.25, 1e-9], [0.25, 0.25, 0.25, 0.25]]))
    target, weight = torch.eye(4)[[0, 3]], torch.tensor([0.5, 1.0])
    loss = weighted_loss(logits, target, weight, rows=2)
    log_2 = torch.log(torch.tensor(2.0))
    torch.testing.assert_close(loss, (log_2 / 2 + 2 * log_2) / 2)


def test_the_loss_of_a_synonym_is_the_mean_over_the_texts_that_could_have_stood_there():
    logits, weight = torch.randn(2, 6, generator=torch.Generator().manual_seed(0)), torch.ones(2)
    meant = token_distributions(6, [(1, 4, 5)])
    losses = [
        weighted_loss(logits, torch.eye(6)[[token, 0]], weight, rows=2) for token in (1, 4, 5)
    ]
    for token in (1, 4, 5):
        loss = weighted_loss(logits, meant[[token, 0]], weight, rows=2)
        torch.testing.assert_close(loss, torch.stack(losses) @ torch.tensor(synonym_shares(3)))
    assert torch.equal(meant[[0, 2, 3]], torch.eye(6)[[0, 2, 3]])


@pytest.mark.parametrize("time", [0.0, 0.19, 0.2, 0.99])
def test_a_time_hides_its_share_of_the_window_and_all_behind_it(time):
    clean = torch.zeros(100, 20, dtype=torch.int64)
    times = torch.full((100,), time)
    noisy, weight = mask_window(clean, windows(3, 5, 100), times, MASK)
    count = int(time * 5) + 1
    assert (noisy[:, :3] == 0).all() and (noisy[:, 8:] == MASK).all()
    assert ((noisy[:, 3:8] == MASK).sum(1) == count).all()
    # What lies behind the window is hidden and not asked for.
    assert torch.equal(weight[:, 3:8] > 0, noisy[:, 3:8] == MASK) and weight[:, 8:].sum() == 0
    torch.testing.assert_close(weight.sum(1), torch.ones(100))


def test_windows_are_whole_responses_or_blocks_that_begin_in_the_text():
    written = torch.tensor([1, 40, 64]).repeat(4000)
    found = draw_windows(64, written, 0.25, torch.Generator().manual_seed(0))
    blocked = found.size < 64
    assert blocked.float().mean() == pytest.approx(0.25, abs=0.02)
    assert (found.start[~blocked] == 0).all() and (found.start < written).all()
    assert (found.start + found.size <= 64).all() and (found.size >= 1).all()
    inside = blocked & (found.start + max(BLOCK_LENGTHS) <= 64)
    assert set(found.size[inside].tolist()) == set(BLOCK_LENGTHS)
    assert set(found.start[blocked & (written == 40)].tolist()) == set(range(40))


@pytest.mark.parametrize("rows", [1, 5, 64])
def test_there_is_one_time_in_each_stratum(rows):
    times = stratified_times(rows, torch.Generator().manual_seed(3))
    assert times.shape == (rows,) and times.dtype == torch.float32
    assert sorted((times * rows).floor().int().tolist()) == list(range(rows))
    assert times.min() >= 0 and times.max() < 1


def test_times_are_uniform_and_in_random_order():
    generator = torch.Generator().manual_seed(0)
    many = torch.stack([stratified_times(4, generator) for _ in range(4000)])
    torch.testing.assert_close(many.mean(0), torch.full((4,), 0.5), atol=0.02, rtol=0)
    torch.testing.assert_close(many.var(0), torch.full((4,), 1 / 12), atol=0.01, rtol=0)


def test_complementary_masks_hide_every_position_of_a_window_once():
    clean = torch.arange(12).expand(40, 12) + 20
    start, size = torch.randint(6, (40,)), torch.randint(1, 7, (40,))
    times = torch.rand(40)
    for masks in (ComplementaryMasks(4), IndependentMasks(4)):
        noised = masks.draw(clean, Window(start, size), times, MASK)
        hidden, covered = noised.tokens == MASK, []
        for row in range(40):
            mine = noised.row == row
            sets = min(max(round(1 / float(times[row])), 1), 4, int(size[row]))
            place = torch.arange(12)
            inside = (place >= start[row]) & (place < start[row] + size[row])
            assert mine.sum() == sets and hidden[mine][:, place >= start[row] + size[row]].all()
            count = (hidden[mine] & inside).sum(1)
            assert count.sum() == size[row] and count.max() - count.min() <= 1
            expected = (hidden[mine] & inside) / (count[:, None] * sets)
            torch.testing.assert_close(noised.weight[mine], expected)
            assert (noised.tokens[mine][~hidden[mine]] == clean[:sets][~hidden[mine]]).all()
            covered.append(bool(((hidden[mine] & inside).sum(0) == inside).all()))
        assert all(covered) == (type(masks) is ComplementaryMasks)


@pytest.mark.parametrize("masks", [ComplementaryMasks(2), IndependentMasks(2)])
def test_masks_of_one_time_estimate_the_loss_of_that_time(masks):
    target, rows = torch.tensor([2, 0, 3, 1]), 20_000
    expected = 0.0
    for chosen in itertools.combinations(range(4), 2):
        noisy = torch.cat([target, torch.zeros(1, dtype=torch.int64)])
        noisy[[*chosen]] = MASK
        table = logits_of(noisy[None])[0].double().log_softmax(-1)
        expected -= sum(float(table[place, target[place]]) for place in chosen) / 2 / 6
    torch.manual_seed(0)
    clean = torch.cat([target, torch.zeros(1, dtype=torch.int64)]).expand(rows, 5)
    noised = masks.draw(clean, windows(0, 4, rows), torch.full((rows,), 0.5), MASK)
    noised.tokens[:, 4] = 0  # what is behind the window counts neither here nor there
    asked = noised.weight > 0
    meant = torch.eye(VOCABULARY)[clean[noised.row][asked]]
    loss = weighted_loss(logits_of(noised.tokens)[asked], meant, noised.weight[asked], rows)
    assert float(loss) == pytest.approx(expected, rel=0.02)
