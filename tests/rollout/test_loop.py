"""The decoding loop equals a slow loop over rows, whatever it skips, shares or compacts."""

from dataclasses import replace

import oracles
import pytest
import torch
from toy_rollouts import LENGTH, MASK, NUMBERS, SEED, ToyDenoiser, decode, learned, make_prompts

from lit_unmask.denoisers import DenoiserShape, LLaDA
from lit_unmask.policies import LowConfidence, Policy, Random
from lit_unmask.policies.actions import Deterministic
from lit_unmask.pretrain.vocabulary import LLaDAVocabulary
from lit_unmask.rollout import Decoding, Noise, Scheduling, rollout
from lit_unmask.types import Prompt


def assert_same(result, expected):
    for name in ("response", "nfe", "committed_at", "still_masked"):
        assert torch.equal(getattr(result, name), getattr(expected, name)), name


def pick(result, rows):
    names = ("response", "decisions", "committed_at", "still_masked")
    picked = {name: getattr(result, name)[rows] for name in names}
    return replace(result, **picked, price={n: price[rows] for n, price in result.price.items()})


@torch.no_grad()
def test_equals_a_slow_loop_over_single_rows(policy, decoding):
    result = decode(policy, decoding, record=True)
    for row, number in enumerate(NUMBERS.tolist()):
        prompt = make_prompts().select(torch.tensor([row])).trim()
        slow = oracles.decode_row(ToyDenoiser(), policy, prompt, decoding, SEED, number)
        assert result.response[row].tolist() == slow["response"]
        assert result.nfe[row] == slow["nfe"]
        assert result.committed_at[row].tolist() == slow["committed_at"]
        assert result.still_masked[row] == (MASK in slow["response"])
        mine = (result.steps.rollout == row).nonzero()[:, 0]
        mine = mine[result.steps.index[mine].argsort()]
        assert result.steps.chosen[mine].tolist() == slow["actions"]


def test_a_batch_equals_its_rows_in_any_order(policy, decoding):
    together = decode(policy, decoding)
    for rows in ([4, 0, 5, 2, 1, 3], [0, 3], [2]):
        assert_same(decode(policy, decoding, rows), pick(together, rows))


def test_the_number_of_rows_at_a_time_changes_nothing(policy, decoding):
    together = decode(policy, decoding)
    for max_rows in (1, 3):
        assert_same(
            decode(policy, replace(decoding, scheduling=Scheduling(max_rows=max_rows))), together
        )


def test_other_noise_gives_other_trajectories():
    decoding = Decoding(LENGTH, LENGTH)
    alike = make_prompts().select(torch.tensor([1, 1, 1]))
    noise = Noise(SEED, torch.tensor([1, 2, 1]))
    result = rollout(ToyDenoiser(), Random(1), alike, decoding, noise)
    assert not torch.equal(result.committed_at[0], result.committed_at[1])
    assert torch.equal(result.committed_at[0], result.committed_at[2])
    other = rollout(ToyDenoiser(), Random(1), alike, decoding, replace(noise, seed=SEED + 1))
    assert not torch.equal(result.committed_at, other.committed_at)


def test_blocks_are_decoded_one_after_the_other(policy, on_empty):
    width = LENGTH // 4
    result = decode(policy, Decoding(LENGTH, width, on_empty=on_empty))
    for row in result.committed_at.view(6, 4, width):
        last = -1
        for block in row:
            steps = block[block >= 0].tolist()
            assert all(last < step <= last + LENGTH for step in steps)
            assert not steps or max(steps) - min(steps) < width
            last = max([last, *steps])
    assert (result.nfe <= LENGTH).all()


def test_a_policy_that_reaches_too_far_opens_eligible_positions_only(on_empty):
    class Everything(Policy):
        def forward(self, observation):
            everything = torch.ones_like(observation.eligible)
            return Deterministic(everything, observation.eligible, everything.float())

    result = decode(Everything(), Decoding(LENGTH, 2, on_empty=on_empty), record=True)
    assert result.committed_at.tolist() == 6 * [[0, 0, 1, 1, 2, 2, 3, 3]]
    assert torch.equal(result.steps.chosen, result.steps.observation.eligible)


def test_forcing_leaves_no_mask_and_waiting_may(block_length):
    never = learned(output_bias=-50.0)
    forced = decode(never, Decoding(LENGTH, block_length, on_empty="force"))
    assert not forced.still_masked.any() and (forced.response != MASK).all()
    assert (forced.nfe == LENGTH).all() and (forced.committed_at >= 0).all()
    waited = decode(never, Decoding(LENGTH, block_length, on_empty="wait"))
    assert waited.still_masked.all() and (waited.response == MASK).all()
    assert (waited.nfe == LENGTH).all() and (waited.committed_at == -1).all()
    assert waited.ledger.computed == len({(2, 3, 4), (4,), (5, 5), (1, 5, 5), (6, 2, 2)})
    some = decode(learned(), Decoding(LENGTH, LENGTH, on_empty="wait"))
    assert torch.equal(some.still_masked, (some.response == MASK).any(1))


def test_no_rows_are_no_work():
    result = decode(LowConfidence(1), Decoding(LENGTH, LENGTH), [])
    assert result.response.shape == (0, LENGTH) and result.ledger.calls == 0


def test_noise_without_one_number_a_row_is_refused():
    with pytest.raises(ValueError, match=r"noise\.rollout has shape \(2,\), not \(6,\)"):
        rollout(
            ToyDenoiser(),
            Random(1),
            make_prompts(),
            Decoding(LENGTH, LENGTH),
            Noise(0, torch.arange(2)),
        )


def test_a_response_that_does_not_fit_the_denoiser_is_refused_before_any_forward():
    heard = []
    with pytest.raises(ValueError, match="max_length"):
        decode(Random(1), Decoding(64, 64), listener=heard.append)
    assert not heard


@pytest.fixture(scope="module")
def llada(tmp_path_factory):
    tokenizer = LLaDAVocabulary().build([*"abcdefghijkl"])
    shape = DenoiserShape(
        width=16,
        layers=2,
        heads=2,
        feed_forward=24,
        vocab_size=len(tokenizer),
        max_length=40,
        mask_id=tokenizer.mask_token_id,
        eos_id=tokenizer.eos_token_id,
        pad_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("llada")
    LLaDA.save(LLaDA.initialise(shape), tokenizer, folder)
    return LLaDA(str(folder))


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_ragged_prompts_of_a_real_network_decode_as_if_alone(llada, temperature):
    decoding = Decoding(LENGTH, LENGTH // 2, temperature)
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(8, 20, (5, 9), generator=generator)
    padding = torch.tensor([0, 8, 3, 3, 6])
    attention = torch.arange(9) >= padding[:, None]
    prompt = Prompt(tokens.where(attention, llada.pad_id), attention)
    policy = learned()
    together = rollout(llada, policy, prompt, decoding, Noise(0, torch.arange(5)))
    for row in range(5):
        one = prompt.select(torch.tensor([row])).trim()
        assert one.tokens.shape[1] == 9 - padding[row]
        alone = rollout(llada, policy, one, decoding, Noise(0, torch.tensor([row])))
        assert_same(alone, pick(together, [row]))
    assert len({tuple(row) for row in together.response.tolist()}) == 5
