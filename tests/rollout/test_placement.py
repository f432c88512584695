"""Corrections that a policy asks for: exact likelihoods, prices, rows of their own, refusals."""

from dataclasses import replace

import oracles
import pytest
import torch
from toys import After, make_data, make_module, make_trainer

from lit_unmask.policies import (
    ConfidenceThreshold,
    ConfidenceTransformer,
    CorrectingHead,
    Dilated,
    EarlyExit,
    LearnedPolicy,
    Thresholded,
)
from lit_unmask.policies.actions import Bernoulli, Correcting
from lit_unmask.rollout import Decoding, Noise, rollout
from lit_unmask.rollout.correctors import GIDD, Placement, ProSeCo, Remask
from lit_unmask.sharing import load_policy, save_policy
from tests.toy_rollouts import LENGTH, NUMBERS, SEED, ToyDenoiser, make_prompts
from tests.toy_systems import SCHEDULES, assert_same, decode

SETS = oracles.all_actions(4)
ELIGIBLE = torch.tensor([[True, False, True], [False, True, False], [True, True, True]])
OPENING = torch.tensor([[0.3, 9.0, -1.0], [9.0, 0.5, 9.0], [1.0, -0.2, 0.7]])
ASKING, CORRECTABLE = torch.tensor([-0.7, 1.3, 2.0]), torch.tensor([True, True, False])
ASKED = Placement(learned=True)
TWICE = ProSeCo(2, placement=ASKED)
# Without the corrector acting where nothing is committed yet.
REMASK = {"corrector": Remask(1, placement=ASKED), "max_block_steps": 9}


def make_policy(bias=0.0, sharp=True):
    torch.manual_seed(0)
    network = ConfidenceTransformer(16, 2, 16, output_bias=-0.5)
    policy = LearnedPolicy(network, head=CorrectingHead())
    with torch.no_grad():
        for weight in policy.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
        policy.head.asking_proj.bias.fill_(bias)
        if not sharp:  # asks alike everywhere
            policy.head.asking_proj.weight.zero_()
    return policy.eval()


def log_probs(result):
    """Return the log-probabilities by row and step."""
    order = (result.steps.rollout * 1000 + result.steps.index).argsort()
    return result.steps.log_prob[order]


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_actions_are_a_distribution_with_the_marginals_that_it_says(temperature):
    draws = Correcting(Bernoulli(OPENING, ELIGIBLE, temperature), ASKING / temperature, CORRECTABLE)
    log_prob = torch.stack([draws.log_prob(action.expand(3, 4)) for action in SETS])
    chance = log_prob.exp()
    torch.testing.assert_close(chance.sum(0), torch.ones(3))
    opened = torch.stack([draws.positions(action.expand(3, 4)) for action in SETS])
    asked = torch.stack([draws.asked(action.expand(3, 4)) for action in SETS])
    torch.testing.assert_close((chance[..., None] * opened).sum(0), draws.probability())
    torch.testing.assert_close((chance * asked).sum(0), draws.asking_probability())
    entropy = -torch.special.xlogy(chance, chance).sum(0)
    torch.testing.assert_close(draws.entropy(), entropy)
    # By hand: opening 0 and asking in the first row; where nothing can follow, the rest alone.
    action = torch.tensor([True, False, False, True]).expand(3, 4)
    hand = [0.3 / temperature, 1.0 / temperature, -0.7 / temperature]
    expected = sum(torch.tensor(logit).sigmoid().log() for logit in hand)
    torch.testing.assert_close(draws.log_prob(action)[0], expected)
    assert draws.log_prob(action)[2] == -torch.inf
    without = action & torch.tensor([True, True, True, False])
    assert draws.log_prob(without)[2] == draws.opening.log_prob(without[:, :-1])[2]
    assert torch.equal(draws.action_of(without[:, :-1]), without)
    assert torch.equal(draws.mode()[:, -1], torch.tensor([False, True, False]))


@pytest.mark.parametrize("on_empty", ["force", "wait"])
@pytest.mark.parametrize("parts", [REMASK, {"corrector": TWICE}])
def test_who_never_asks_decodes_without_the_corrector(on_empty, parts):
    shy = make_policy(-1e4)
    plain = LearnedPolicy(shy.network).eval()
    ways = {**parts, "on_empty": on_empty}
    bound = {"max_block_steps": ways.get("max_block_steps")}
    found, wanted = decode(shy, **ways), decode(plain, on_empty=on_empty, **bound)
    assert_same(found, wanted)
    torch.testing.assert_close(log_probs(found), log_probs(wanted))
    # A heuristic has nothing to ask with.
    rule = ConfidenceThreshold(0.5)
    assert_same(decode(rule, **ways), decode(rule, on_empty=on_empty, **bound))


@pytest.mark.parametrize(
    "policy", [make_policy(1e4, sharp=False), Thresholded(0.6, make_policy(9))]
)
def test_who_always_asks_is_corrected_before_every_step(policy):
    every = replace(REMASK["corrector"], placement=Placement())
    found = decode(policy, **REMASK)
    plain = LearnedPolicy(make_policy().network).eval()
    plain = Thresholded(0.6, plain) if isinstance(policy, Thresholded) else plain
    assert_same(found, decode(plain, **REMASK | {"corrector": every}))
    assert found.log.corrected.any()


@pytest.mark.parametrize("on_empty", ["force", "wait"])
@pytest.mark.parametrize("scheduling", SCHEDULES)
def test_rows_and_schedules_change_nothing(on_empty, scheduling):
    policy, ways = make_policy(), {"corrector": TWICE, "on_empty": on_empty}
    wanted = decode(policy, **ways)
    assert_same(decode(policy, scheduling=scheduling, **ways), wanted)
    for row in range(len(NUMBERS)):
        alone = decode(policy, torch.tensor([row]), scheduling=scheduling, **ways)
        assert torch.equal(alone.response[0], wanted.response[row])
        assert alone.nfe[0] == wanted.nfe[row]


def test_each_correction_that_was_asked_for_is_on_the_price():
    result = decode(make_policy(), corrector=replace(TWICE, iterations=1))
    steps, asked = result.steps, torch.zeros_like(result.nfe)
    assert steps.action.shape[1] == LENGTH + 1
    asked.index_add_(0, steps.rollout, steps.action[:, -1].long())
    # None was asked for where the row was to end.
    last = steps.observation.masked.sum(1) == 1
    assert last.any() and not steps.action[last, -1].any()
    ended = torch.zeros_like(asked)
    for row in range(len(asked)):
        mine = (steps.rollout == row).nonzero()[:, 0]
        ended[row] = steps.action[mine[steps.index[mine].argmax()], -1].long()
    assert torch.equal(result.price["corrector"], asked - ended) and asked.any()
    assert torch.equal(result.nfe, result.decisions + asked - ended)


def test_recorded_actions_replay_and_all_weights_learn():
    policy = make_policy()
    steps = decode(policy, corrector=TWICE).steps
    distribution = policy(steps.observation)
    log_prob = distribution.log_prob(steps.action)
    torch.testing.assert_close((log_prob - steps.log_prob).exp(), torch.ones(len(steps)))
    assert torch.equal(distribution.positions(steps.action), steps.chosen)
    log_prob.sum().backward()
    assert policy.head.asking_proj.weight.grad.abs().min() > 1e-6
    assert policy.network.output_proj.weight.grad.abs().max() > 1e-6


@pytest.mark.parametrize(
    "around", [lambda p: EarlyExit(p, [1e4]), lambda p: Dilated(p, strides=[1])]
)
def test_a_filter_that_filters_nothing_asks_as_its_policy_does(around):
    policy = make_policy()
    wanted = decode(policy, corrector=TWICE)
    assert_same(decode(around(policy), corrector=TWICE), wanted)
    assert wanted.price["corrector"].any()


def test_it_learns_by_the_same_rounds_and_its_forwards_are_logged(tiny_llada, tmp_path):
    policy = make_policy()
    module = make_module(
        tiny_llada, policy, decoding=Decoding(8, 8, temperature=1.0, corrector=TWICE)
    )
    before = {name: weight.clone() for name, weight in policy.named_parameters()}
    rounds = []
    trainer = make_trainer(
        tmp_path, After(lambda trainer, batch: rounds.append(batch.diagnostics)),
        max_steps=2, limit_val_batches=1.0, val_check_interval=2,
    )  # fmt: skip
    trainer.fit(module, datamodule=make_data())
    moved = {n for n, w in policy.named_parameters() if not torch.equal(w, before[n])}
    assert {"head.asking_proj.weight", "head.asking_proj.bias"} <= moved
    assert all(weight.isfinite().all() for weight in policy.parameters())
    logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
    kinds = ("corrector", "predictor")
    seen = sum(logged[f"val/coins/forwards/{kind}"] for kind in kinds)
    assert seen == pytest.approx(logged["val/coins/nfe"])
    for one in rounds:
        assert one["forwards/corrector"] > 0
        spent = sum(one[f"forwards/{kind}"] for kind in kinds)
        assert spent == pytest.approx(one["nfe"])


@pytest.mark.parametrize("corrector", [None, ProSeCo(2), GIDD(4)])
def test_a_saved_policy_that_asks_is_refused_where_nothing_waits_for_it(corrector, tmp_path):
    save_policy(make_policy(), tmp_path)
    policy = load_policy(tmp_path)
    assert policy.corrects and Thresholded(0.5, policy).corrects
    decoding = Decoding(LENGTH, 4, corrector=corrector)
    with pytest.raises(ValueError, match="needs a corrector that waits for it, not corrector="):
        rollout(ToyDenoiser(), policy, make_prompts(), decoding, Noise(SEED, NUMBERS))


def test_what_cannot_be_asked_for_is_refused():
    with pytest.raises(ValueError, match="learned=True leaves to the policy"):
        Placement(end=True, learned=True)
    with pytest.raises(ValueError, match=r"initial=1 must lie in \(0, 1\)"):
        CorrectingHead(1)
