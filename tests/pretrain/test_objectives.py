"""Objectives against oracles on a small network, and each of them learned for a few steps."""

import pytest
import torch
from toy_objectives import END, MASK, batch, network, train

from lit_unmask.denoisers import Dream, LLaDA
from lit_unmask.pretrain.objectives import MaskedDiffusion
from lit_unmask.pretrain.objectives.masks import draw_windows, mask_window, stratified_times

OBJECTIVES = [MaskedDiffusion()]


def log_probabilities(net, prompt, attention, response):
    """Return what one row's network says, ``[L, V]``, by the stock class alone."""
    tokens = torch.cat([prompt, response])[None]
    seen = torch.cat([attention, torch.ones(len(response), dtype=torch.bool)])[None]
    logits = net.stock(input_ids=tokens, attention_mask=seen).logits[0]
    first = len(prompt) - int(net.shift)
    return logits[first : first + len(response)].log_softmax(-1)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda one: type(one).__name__)
def test_a_network_learns_a_batch(objective):
    losses = train(objective, network(), batch())
    assert losses[-1] < 0.9 * losses[0] and all(loss == loss for loss in losses)


@pytest.mark.parametrize("family", [LLaDA, Dream])
def test_masked_diffusion_is_the_weighted_entropy_of_what_is_masked(family):
    net, data = network(family, synonyms=[(1, 2, 3)]), batch()
    torch.manual_seed(5)
    found = MaskedDiffusion().loss(data, net)
    torch.manual_seed(5)
    clean = data.response
    window = draw_windows(10, (clean != END).sum(1) + 1, 0.5)
    noisy, weight = mask_window(clean, window, stratified_times(4), MASK)
    expected = torch.zeros(())
    for row in range(4):
        prompt = data.prompt
        said = log_probabilities(net, prompt.tokens[row], prompt.attention[row], noisy[row])
        for place in range(10):
            token = int(clean[row, place])
            same = [1, 2, 3] if token in (1, 2, 3) else [token]
            expected = expected - weight[row, place] * said[place, same].mean() / 4
    torch.testing.assert_close(found, expected)


def test_blocks_come_after_the_first_share_of_the_training():
    data = batch(rows=64, length=40)
    noised = [
        MaskedDiffusion(block_share=1.0, whole_share=share).noise(data, network())[0]
        for share in (0.6, 0.5)
    ]
    # As a whole, all that is masked is asked for; behind a block are masks that are not.
    behind = [((one.tokens == MASK) & (one.weight == 0)).any() for one in noised]
    assert behind == [False, True]


@pytest.mark.parametrize("setting", [{"block_share": 1.5}, {"whole_share": -1}, {"least": 1.0}])
def test_shares_outside_their_range_are_refused(setting):
    with pytest.raises(ValueError, match=f"{next(iter(setting))}=.* must lie in"):
        MaskedDiffusion(**setting)
