"""Masks near the end of a text and the weights of what follows them, against slow oracles."""

import pytest
import torch
from toy_objectives import MASK, batch, network

from lit_unmask.denoisers import CausalQwen2
from lit_unmask.pretrain.objectives import CARD
from lit_unmask.pretrain.objectives.card import weights
from lit_unmask.pretrain.objectives.masks import stratified_times


def test_weights_of_one_text_by_hand():
    masked = torch.tensor([[0, 1, 1, 0, 0]]).bool()
    # Costs 0 1 2 0 0; sums 0 1 2.5 1.25; the last input predicts nothing.
    expected = torch.tensor([[1, 1, 1 / 2, 1 / 3.5, 1 / 2.25]])
    torch.testing.assert_close(weights(masked, 0.5), expected)


def test_weights_are_those_of_the_sum_over_all_inputs_before():
    masked = torch.rand(20, 9, generator=torch.Generator().manual_seed(0)) < 0.5
    for row, found in zip(masked.tolist(), weights(masked, 0.3), strict=True):
        costs = [m * (1 + (i > 0 and row[i - 1])) for i, m in enumerate(row)]
        sums = [sum(c * 0.3 ** (i - k) for k, c in enumerate(costs[: i + 1])) for i in range(8)]
        assert found.tolist() == pytest.approx([1, *(1 / (1 + each) for each in sums)])


@pytest.mark.parametrize("stretch", [1.0, 1.5, float("inf")])
def test_masks_are_some_of_the_tail(stretch):
    times = torch.tensor([0.0, 0.1, 0.35, 0.7, 0.99]).repeat_interleave(200)
    masked = CARD(stretch=stretch).draw(times, 20)
    for time, count in [(0.0, 1), (0.1, 2), (0.35, 7), (0.7, 14), (0.99, 19)]:
        rows, tail = masked[times == time], int(min(20, stretch * count))
        assert (rows.sum(1) == count).all() and not rows[:, : 20 - tail].any()
        assert rows[:, 20 - tail :].any(0).all()  # any of them


def test_the_loss_is_that_of_the_clean_next_token_after_noisy_ones():
    net, data = network(CausalQwen2), batch()
    torch.manual_seed(6)
    masked = CARD().draw(stratified_times(4), 10)
    noisy, expected = data.response.masked_fill(masked, MASK), torch.zeros(())
    for row in range(4):
        weight = weights(masked[row : row + 1], 0.5)[0]
        for place in range(10):
            prompt = data.prompt.tokens[row][data.prompt.attention[row]]
            before = torch.cat([prompt, noisy[row, :place]])
            said = net.stock(input_ids=before[None]).logits[0, -1].log_softmax(-1)
            share = weight[place] / weight.sum()
            expected = expected - share * said[data.response[row, place]] / 4
    torch.manual_seed(6)
    torch.testing.assert_close(CARD().loss(data, net), expected)


@pytest.mark.parametrize("setting", [{"stretch": 0.5}, {"decay": 1.5}])
def test_settings_outside_their_range_are_refused(setting):
    with pytest.raises(ValueError, match=f"{next(iter(setting))}=.* must"):
        CARD(**setting)
