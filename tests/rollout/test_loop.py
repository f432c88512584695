"""The decoding loop equals a slow loop over rows, whatever it skips, shares or compacts."""

from dataclasses import replace

import oracles
import pytest
import torch
from torch import nn

from lit_unmask.denoisers import DenoiserShape, LLaDA
from lit_unmask.distributions import Deterministic
from lit_unmask.policies import (
    ConfidenceThreshold,
    ConfidenceTransformer,
    EntropyBound,
    LearnedPolicy,
    LeftToRight,
    LowConfidence,
    Margin,
    Policy,
    Random,
)
from lit_unmask.pretrain.vocabulary import LLaDAVocabulary
from lit_unmask.rollout import Decoding, Noise, rollout
from lit_unmask.rollout.randomness import uniform
from lit_unmask.types import DenoiserOutput, Prompt

LENGTH, VOCABULARY, MASK = 8, 7, 0
SEED = 5
NUMBERS = torch.tensor([3, 2**40, 17, 18, 0, 99])


class ToyDenoiser(nn.Module):
    """Draws its logits from a hash of all real tokens of the row and of their places."""

    mask_id = MASK

    def check_length(self, prompt, gen_length):
        if prompt.tokens.shape[1] + gen_length > 64:
            raise ValueError("max_length=64")

    def forward(self, prompt, response, signals, uniform_numbers=None, temperature=0.0):
        tokens = torch.cat([prompt.tokens.where(prompt.attention, -1), response], 1)
        places = torch.arange(tokens.shape[1]).flip(0) + 1
        key = ((tokens + 1) * places**3 * 1_000_003).sum(1)
        numbers = uniform(0, key, torch.zeros_like(key), LENGTH * VOCABULARY, 0)
        logits = 5 * numbers.view(-1, LENGTH, VOCABULARY)
        logits[..., MASK] = -torch.inf
        probability = logits.softmax(-1)
        proposal = logits.argmax(-1)
        if temperature > 0:
            below = (logits / temperature).softmax(-1).cumsum(-1)
            proposal = (below <= uniform_numbers[..., None]).sum(-1).clamp(max=VOCABULARY - 1)
        entropy = -torch.special.xlogy(probability, probability).sum(-1)
        return DenoiserOutput(
            proposal,
            probability.topk(signals.top_k).values,
            entropy if signals.entropy else None,
            logits[..., 1:] if signals.hidden else None,
        )


def learned(output_bias=-2.0):
    torch.manual_seed(0)
    network = ConfidenceTransformer(
        width=16, heads=2, feed_forward=32, top_p=2, output_bias=output_bias
    )
    return LearnedPolicy(network).eval()


POLICIES = {
    "random": lambda: Random(2),
    "low-confidence": lambda: LowConfidence(1),
    "margin": lambda: Margin(2),
    "left-to-right": lambda: LeftToRight(2),
    "threshold": lambda: ConfidenceThreshold(0.5),
    "entropy-bound": lambda: EntropyBound(0.8),
    "learned": learned,
}


def make_prompts():
    """Return six prompts: rows 1 and 2 alike, rows 3 and 4 alike but for what is padding."""
    tokens = torch.tensor([[1, 1, 4], [2, 3, 4], [2, 3, 4], [1, 5, 5], [1, 5, 5], [6, 2, 2]])
    attention = torch.ones(6, 3, dtype=torch.bool)
    attention[0, :2] = attention[3, 0] = False
    return Prompt(tokens, attention)


def decode(policy, decoding, rows=slice(None), **arguments):
    rows = torch.arange(6)[rows]
    noise = Noise(SEED, NUMBERS[rows])
    return rollout(ToyDenoiser(), policy, make_prompts().select(rows), decoding, noise, **arguments)


def assert_same(result, expected):
    for name in ("response", "nfe", "committed_at", "still_masked"):
        assert torch.equal(getattr(result, name), getattr(expected, name)), name


def pick(result, rows):
    names = ("response", "nfe", "committed_at", "still_masked")
    return replace(result, **{name: getattr(result, name)[rows] for name in names})


@pytest.fixture(params=POLICIES)
def policy(request):
    return POLICIES[request.param]()


@pytest.fixture(params=[LENGTH, LENGTH // 4], ids=["full", "blocks"])
def block_length(request):
    return request.param


@pytest.fixture(params=["force", "wait"])
def on_empty(request):
    return request.param


@pytest.fixture(params=[0.0, 0.7], ids=["greedy", "drawn"])
def decoding(request, block_length, on_empty):
    return Decoding(LENGTH, block_length, request.param, on_empty)


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
        assert result.steps.action[mine].tolist() == slow["actions"]


def test_a_batch_equals_its_rows_in_any_order(policy, decoding):
    together = decode(policy, decoding)
    for rows in ([4, 0, 5, 2, 1, 3], [0, 3], [2]):
        assert_same(decode(policy, decoding, rows), pick(together, rows))


def test_the_number_of_rows_at_a_time_changes_nothing(policy, decoding):
    together = decode(policy, decoding)
    for max_rows in (1, 3):
        assert_same(decode(policy, replace(decoding, max_rows=max_rows)), together)


def test_other_noise_gives_other_trajectories():
    decoding = Decoding(LENGTH, LENGTH)
    alike = make_prompts().select(torch.tensor([1, 1, 1]))
    noise = Noise(SEED, torch.tensor([1, 2, 1]))
    result = rollout(ToyDenoiser(), Random(1), alike, decoding, noise)
    assert not torch.equal(result.committed_at[0], result.committed_at[1])
    assert torch.equal(result.committed_at[0], result.committed_at[2])
    other = rollout(ToyDenoiser(), Random(1), alike, decoding, replace(noise, seed=SEED + 1))
    assert not torch.equal(result.committed_at, other.committed_at)


def test_every_charged_step_is_computed_skipped_or_shared(policy, decoding):
    ledger = (result := decode(policy, decoding)).ledger
    assert ledger.charged == result.nfe.sum()
    assert ledger.computed + ledger.skipped + ledger.shared == ledger.charged
    if decoding.temperature > 0:
        assert ledger.skipped == ledger.shared == 0


def test_a_row_that_waits_is_not_computed_again():
    result = decode(learned(), Decoding(LENGTH, LENGTH, on_empty="wait", max_rows=1), record=True)
    steps = result.steps
    changed = [
        bool(steps.action[(steps.rollout == row) & (steps.index == index)].any())
        for row in range(6)
        for index in range(int(result.nfe[row]) - 1)
    ]
    assert not all(changed)
    assert result.ledger.computed == 6 + sum(changed)
    assert result.ledger.skipped == len(changed) - sum(changed)


def test_identical_prompts_share_their_first_forward_and_stay_exact():
    group = make_prompts().select(torch.tensor([1])).repeat(4)
    noise = Noise(SEED, torch.arange(4))
    decoding = Decoding(LENGTH, LENGTH)
    result = rollout(ToyDenoiser(), Random(2), group, decoding, noise)
    assert result.ledger.shared >= 3
    for row in range(4):
        one = group.select(torch.tensor([0]))
        slow = oracles.decode_row(ToyDenoiser(), Random(2), one, decoding, SEED, row)
        assert result.response[row].tolist() == slow["response"]
        assert result.committed_at[row].tolist() == slow["committed_at"]


def test_rows_that_never_part_cost_one_row():
    group = make_prompts().select(torch.tensor([1])).repeat(4)
    noise = Noise(SEED, torch.arange(4))
    ledger = rollout(ToyDenoiser(), LowConfidence(2), group, Decoding(LENGTH, LENGTH), noise).ledger
    assert (ledger.charged, ledger.computed, ledger.shared) == (4 * 4, 4, 3 * 4)
    assert ledger.saved_ratio == 4
    assert ledger.tokens == 4 * (3 + LENGTH) and ledger.padded_tokens == 0


def test_the_ledger_counts_padding_of_the_rows_that_run():
    ledger = decode(LowConfidence(LENGTH), Decoding(LENGTH, LENGTH), [0, 3, 5]).ledger
    assert (ledger.calls, ledger.computed, ledger.padded_tokens) == (1, 3, 3)
    assert ledger.tokens == 3 * (3 + LENGTH)
    # On its own the short prompt carries no padding.
    assert decode(LowConfidence(LENGTH), Decoding(LENGTH, LENGTH), [0]).ledger.padded_tokens == 0


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
    assert torch.equal(result.steps.action, result.steps.eligible)


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


def test_recorded_steps_replay_to_the_same_log_probabilities(policy, decoding):
    result = decode(policy, decoding, record=True)
    steps = result.steps
    assert len(steps) == result.nfe.sum()
    with torch.no_grad():
        replayed = policy(steps.observation).log_prob(steps.action)
    torch.testing.assert_close(replayed, steps.log_prob, atol=1e-5, rtol=0)
    assert steps.log_prob.isfinite().all()
    assert not (steps.action & ~steps.eligible).any()
    assert not (steps.eligible & ~steps.masked).any()


def test_recorded_steps_tell_where_each_row_stood(policy, decoding):
    result = decode(policy, decoding, record=True)
    steps = result.steps
    for row in range(6):
        mine = steps.rollout == row
        assert sorted(steps.index[mine].tolist()) == list(range(int(result.nfe[row])))
    torch.testing.assert_close(steps.time, steps.index / LENGTH)
    committed = result.committed_at[steps.rollout]
    assert torch.equal(steps.masked, (committed < 0) | (committed >= steps.index[:, None]))
    opened = committed == steps.index[:, None]
    assert torch.equal(steps.action & opened, steps.action)
    if decoding.on_empty == "wait":
        assert torch.equal(steps.action, opened)


def test_a_forced_position_is_not_part_of_the_recorded_action():
    result = decode(learned(), Decoding(LENGTH, LENGTH // 4), record=True)
    empty = ~result.steps.action.any(1)
    assert empty.any() and not empty.all()
    opened = result.committed_at[result.steps.rollout] == result.steps.index[:, None]
    assert (opened[empty].sum(1) == 1).all()


def test_hidden_states_are_observed_if_the_policy_asks_for_them():
    policy = LowConfidence(3)
    assert decode(policy, Decoding(LENGTH, LENGTH), record=True).steps.hidden is None
    policy.signals = replace(policy.signals, hidden=True, top_k=3)
    steps = decode(policy, Decoding(LENGTH, LENGTH), record=True).steps
    assert steps.hidden.shape == (len(steps), LENGTH, VOCABULARY - 1)
    assert steps.confidence.shape == (len(steps), LENGTH, 3)


def test_nothing_is_recorded_unless_asked():
    assert decode(LowConfidence(3), Decoding(LENGTH, LENGTH)).steps is None


@pytest.mark.parametrize("max_rows", [None, 2])
def test_a_listener_sees_the_rows_finish(max_rows):
    heard = []
    decoding = Decoding(LENGTH, LENGTH, max_rows=max_rows)
    result = decode(ConfidenceThreshold(0.5), decoding, listener=heard.append)
    left = [progress.rows_left for progress in heard]
    assert left == sorted(left, reverse=True) and left[-1] == 0 and left[0] > 0
    assert {progress.rows for progress in heard} == {6}
    assert heard[-1].nfe == result.nfe.sum()


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
