"""The rollout benchmark: its baseline, its replayed profiles, and the numbers it reports."""

import copy
import importlib
import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from toy_rollouts import LENGTH, MASK, NUMBERS, POLICIES, SEED, ToyDenoiser, make_prompts

from lit_unmask.policies import ConfidenceThreshold
from lit_unmask.rollout import Decoding, Noise, Scheduling, rollout
from lit_unmask.types import Prompt, Reading, Signals

FOLDER = Path(__file__).parents[2] / "benchmarks"
sys.path.append(str(FOLDER))
plain_loop, profiles, cases, measure, ranks = (
    importlib.import_module(name)
    for name in ("plain_loop", "profiles", "cases", "measure", "ranks")
)


def script():
    """Load benchmarks/rollout.py, whose name is also that of a folder of tests."""
    spec = importlib.util.spec_from_file_location("rollout_benchmark", FOLDER / "rollout.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def assert_same(plain, engine):
    for field in ("response", "nfe", "committed_at"):
        assert torch.equal(getattr(plain, field), getattr(engine, field)), field


class ToyLogits(ToyDenoiser):
    """The toy denoiser, whose logits never are for the mask."""

    def logits(self, prompt, response):
        logits = super().logits(prompt, response)
        logits[..., MASK] = -torch.inf
        return logits


@pytest.mark.parametrize("temperature", [0.0, 0.7])
@pytest.mark.parametrize("on_empty", ["force", "wait"])
@pytest.mark.parametrize("block_length", [2, LENGTH])
@pytest.mark.parametrize("name", sorted(POLICIES.keys() - {"klass"}))
@torch.no_grad()
def test_the_plain_loop_decodes_as_the_engine(name, block_length, on_empty, temperature):
    decoding = Decoding(LENGTH, block_length, temperature, on_empty, Scheduling(max_rows=4))
    job = ToyLogits(), POLICIES[name](), make_prompts(), decoding, Noise(SEED, NUMBERS)
    plain, engine = plain_loop.plain_rollout(*job), rollout(*job)
    assert_same(plain, engine)
    slowest = [int(part.max()) * len(part) for part in plain.nfe.split(4)]
    assert plain.computed == sum(slowest)


@pytest.mark.parametrize("temperature", [0.0, 0.5])
@pytest.mark.parametrize("name", ["learned", "margin", "entropy-bound"])
@torch.no_grad()
def test_the_plain_loop_decodes_as_the_engine_with_a_real_network(tiny_llada, name, temperature):
    # In float64 the shape of a batch cannot flip a comparison.
    denoiser = copy.deepcopy(tiny_llada).double()
    tokens, attention = torch.randint(5, 20, (6, 9)), torch.ones(6, 9).bool()
    attention[::2, :4] = False
    decoding = Decoding(16, 8, temperature, "wait")
    job = denoiser, POLICIES[name](), Prompt(tokens, attention), decoding, Noise(3, torch.arange(6))
    assert_same(plain_loop.plain_rollout(*job), rollout(*job))


def test_the_plain_loop_refuses_a_policy_of_hidden_states():
    policy = ConfidenceThreshold()
    policy.signals = Signals(names={"hidden"})
    with pytest.raises(ValueError, match="hidden is wanted"):
        plain_loop.plain_rollout(
            ToyLogits(), policy, make_prompts(), Decoding(LENGTH, LENGTH), Noise(SEED, NUMBERS)
        )


STEPS = {"start": (49, 73, 34), "slow": (208, 237, 100), "late": (91, 141, 64)}


@pytest.mark.parametrize("name", profiles.PROFILES)
@pytest.mark.parametrize(("length", "batch"), [(256, 16), (64, 16), (128, 8)])
def test_traces_have_the_step_counts_of_their_profile(name, length, batch):
    mean, largest, committing = (count * length / 256 for count in STEPS[name])
    committed_at = profiles.traces(profiles.PROFILES[name], 4 * batch, batch, length)
    assert committed_at.shape == (4 * batch, length)
    nfe = committed_at.max(1).values + 1
    commits = torch.tensor([len(row.unique()) for row in committed_at]).float()
    for part in nfe.split(batch):
        assert int(part.max()) == round(largest)
        assert abs(float(part.float().mean()) - mean) < 0.15
        assert len(part.unique()) > batch // 3
    assert abs(float(commits.mean()) - committing) < 0.15
    assert not torch.equal(committed_at[:batch], committed_at[batch : 2 * batch])
    again = profiles.traces(profiles.PROFILES[name], 4 * batch, batch, length)
    assert torch.equal(committed_at, again)


def test_a_replay_knows_each_row_and_step_by_its_noise():
    noise = Noise(7, torch.tensor([5, 2**50, 9]))
    committed_at = torch.tensor([[0, 2, 2, 3], [1, 1, 1, 1], [3, 0, 1, 2]])
    replay = profiles.Replay(committed_at, noise)
    rows, steps = torch.tensor([2, 0, 1, 1]), torch.tensor([3, 2, 0, 1])
    numbers = profiles.uniform(7, noise.rollout[rows], steps, 4, profiles.ACTION)
    assert replay.actions(numbers).int().tolist() == [
        [1, 0, 0, 0],
        [0, 1, 1, 0],
        [0, 0, 0, 0],
        [1, 1, 1, 1],
    ]


class Constant(nn.Module):
    """Proposes token 1 everywhere at no cost."""

    mask_id = 0

    def check_length(self, prompt, gen_length):
        pass

    def forward(self, prompt, response, signals, uniform=None, temperature=0.0):
        confidence = torch.ones(*response.shape, signals.top_k)
        return Reading(torch.ones_like(response), confidence)

    def logits(self, prompt, response):
        return torch.tensor([-torch.inf, 0.0]).expand(*response.shape, 2)


def replayed(name, rows=32, group=8, length=256):
    tokens = torch.arange(2, 2 + rows // group)[:, None].repeat_interleave(group, 0)
    work = cases.Workload(
        Constant(),
        ConfidenceThreshold(),
        Prompt(tokens, torch.ones_like(tokens).bool()),
        Decoding(length, length),
        Noise(1, torch.arange(rows)),
    )
    return cases.replay(name, work)


@pytest.mark.parametrize(("name", "least"), [("start", 2.1), ("slow", 2.3), ("late", 2.1)])
def test_the_engine_needs_less_than_half_of_the_row_forwards(name, least):
    # The targets are 2.0 at start and late; the slow profile, which waits most, has none.
    work = replayed(name)
    plain, engine = measure.run_plain(work), measure.run_engine(work)
    assert_same(plain, engine)
    assert torch.equal(engine.committed_at, work.committed_at)
    assert plain.computed == 32 * STEPS[name][1]
    ratio = plain.computed / engine.ledger.computed
    print(f"{name}: {ratio:.3f}")
    assert ratio >= least
    needed = measure.needed_forwards(work, engine)
    assert needed <= engine.ledger.computed <= needed + 4 * 7  # first states of groups


def test_needed_forwards_are_the_distinct_states():
    noise = Noise(1, torch.arange(4))
    tokens = torch.tensor([[2], [2], [2], [3]])
    committed_at = torch.tensor([[0, 1, 1], [0, 1, 2], [2, 2, 2], [-1, 1, -1]])
    result = measure.Rollout(
        response=torch.where(committed_at >= 0, 1, 0),
        decisions=torch.tensor([2, 3, 3, 3]),
        price={},
        committed_at=committed_at,
        still_masked=(committed_at < 0).any(1),
        ledger=None,
    )
    work = replayed("start", 8, 4, 8)
    work = replace(work, prompt=Prompt(tokens, torch.ones_like(tokens).bool()), noise=noise)
    # Of the first prompt: nothing known; the first token; the first two. Of the second prompt:
    # nothing known, and the second token, of which the row still hears before it ends.
    assert measure.needed_forwards(work, result) == 5
    drawn = replace(work, decoding=replace(work.decoding, temperature=0.5))
    assert measure.needed_forwards(drawn, result) == 2 + 3 + 1 + 2


@pytest.fixture(scope="module")
def waiting():
    """Two groups of tiny-llada under a learned policy."""
    return cases.tiny(cases.fresh, Decoding(16, 16, on_empty="wait"), cases.Scale(2))


def test_one_flipped_row_is_decoded_again_in_double(waiting, monkeypatch):
    plain, engine = measure.run_plain(waiting), measure.run_engine(waiting)
    assert measure.check(waiting, plain, engine) == 0
    flipped = replace(plain, nfe=plain.nfe + (torch.arange(16) == 3))
    assert measure.check(waiting, flipped, engine) == 1
    with pytest.raises(RuntimeError, match="2 of 16 rows differ"):
        measure.check(waiting, replace(plain, nfe=plain.nfe + (torch.arange(16) < 2)), engine)
    right = measure.run_plain
    monkeypatch.setattr(measure, "run_plain", lambda w: replace(right(w), nfe=right(w).nfe + 1))
    with pytest.raises(RuntimeError, match="float64 too"):
        measure.check(waiting, flipped, engine)


def test_random_weights_in_bfloat16_are_held_to_the_steps_alone():
    shape = replace(cases.WIDE, width=16, heads=2, layers=1, feed_forward=16, vocab_size=64)
    weights = cases.RandomWeights(shape, prompt=5, length=16, rows=8, dtype=torch.bfloat16)
    work = cases.random_replay("late", weights, cases.Scale())
    assert work.denoiser.network.dtype == torch.bfloat16
    samples = measure.sample(work, repeats=2)
    assert len(samples.plain.seconds) == len(samples.engine.seconds) == 2
    assert samples.engine.computed < samples.plain.computed
    wrong = replace(work, committed_at=work.committed_at.flip(0))
    with pytest.raises(RuntimeError, match="replay"):
        measure.check(wrong, measure.run_plain(work), measure.run_engine(work))


def test_a_rank_measures_its_own_prompts(tmp_path):
    # One process stands for all: the benchmark itself starts two.
    ranks.run_rank(0, tmp_path, "tiny/start", cases.Scale(2), 1, torch.get_num_threads())
    (samples,) = torch.load(tmp_path / "samples.pt", weights_only=False)
    assert samples.rows == 2 * cases.GROUP and samples.engine.seconds[0] > 0
    halves = [cases.CASES["tiny/start"].build(cases.Scale(2, rank, 2)) for rank in range(2)]
    numbers = torch.cat([half.noise.rollout for half in halves])
    assert len(numbers) == len(numbers.unique()) == samples.rows


def test_ranks_end_when_the_slowest_does():
    loops = [measure.Loop([1.0, 3.0, 2.0], 10), measure.Loop([2.0, 3.0, 8.0], 20)]
    parts = [measure.Samples(4, loop, loop, tau=5.0 - rank) for rank, loop in enumerate(loops)]
    merged = measure.merge(parts)
    assert merged.engine.seconds == [2.0, 3.0, 8.0] and merged.engine.computed == 30
    assert merged.rows == 8 and merged.tau == 4
    assert measure.balance(parts) == 0.75


NUMBERS_OF_A_ROW = {
    *("row_forward_ratio", "wall_ratio", "eta", "useful_share", "rollouts_per_s"),
    *("ms_per_row_forward", "plain_seconds", "engine_seconds", "denoiser_share", "policy_share"),
}


def test_a_quick_run_writes_its_rows_and_a_table_with_targets(tmp_path, monkeypatch, capsys):
    benchmark = script()
    monkeypatch.setattr(benchmark, "QUICK_PROBLEMS", 1)
    benchmark.main(["--quick", "--cases", "[t8w]*/start", "--out", str(tmp_path)])
    (row,) = json.loads((tmp_path / "rollout.json").read_text())
    assert row["case"] == "tiny/start" and row["device"].startswith("CPU")
    assert row["memory_per_row_gb"] is None and "commit" in row
    for name in NUMBERS_OF_A_ROW:
        assert 0 < row[name] or (name == "policy_share" and row[name] >= 0), name
    assert row["target_row_forwards"] == 2.0 <= row["row_forward_ratio"]
    assert row["useful_share"] <= 1 and row["flipped_rows"] <= 1 and row["rows"] == 8
    printed = capsys.readouterr().out
    assert "wide/start: skipped, not part of --quick" in printed
    assert f"{row['row_forward_ratio']:.2f} [2]" in (tmp_path / "rollout.md").read_text()


def test_a_pattern_without_a_case_is_an_error(tmp_path):
    with pytest.raises(SystemExit, match="no case"):
        script().main(["--quick", "--cases", "nothing", "--out", str(tmp_path)])
