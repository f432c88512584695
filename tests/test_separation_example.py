"""The separation example: its sounds, its Beta masks, and the GRPO code that text has too."""

import json
import math
from pathlib import Path

import mixtures as sounds_of
import pytest
import torch
from main import main
from mixtures import masked, mixtures, ratio_mask, si_sdr
from separation import Heard, LitSeparation, MaskDraws, MaskPolicy, gained
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.distributions import Beta, kl_divergence

from lit_unmask.policies.actions.beta import Spread
from lit_unmask.training.grpo import GRPO
from lit_unmask.training.objective import Counts, update
from lit_unmask.training.settings import Rounds

EXAMPLE = Path(sounds_of.__file__).parent
SOUNDS = mixtures(4, 2048, seed=3)


def test_si_sdr_by_hand():
    # (2, 1) is 2 times the target and 1 beside it; the second is the target three times as loud
    # with a tenth of its energy as noise.
    target = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    found = si_sdr(torch.tensor([[2.0, 1.0], [3.0, 3 / math.sqrt(10)]]), target)
    torch.testing.assert_close(found, torch.tensor([20 * math.log10(2), 10.0]))


def test_a_sound_of_another_loudness_is_heard_as_well():
    heard = SOUNDS.heard
    torch.testing.assert_close(
        si_sdr(7 * heard, SOUNDS.target), si_sdr(heard, 0.3 * SOUNDS.target), rtol=0, atol=1e-3
    )


def test_a_mask_and_its_complement_share_the_mixture():
    heard, mask = SOUNDS.heard, ratio_mask(SOUNDS)
    torch.testing.assert_close(masked(heard, torch.ones_like(mask)), heard, rtol=0, atol=1e-6)
    torch.testing.assert_close(
        masked(heard, mask) + masked(heard, 1 - mask), heard, rtol=0, atol=1e-6
    )


def test_the_oracle_is_a_mask_and_better_than_other_masks():
    mask = ratio_mask(SOUNDS)
    assert mask.min() >= 0 and mask.max() <= 1
    torch.manual_seed(0)
    noisy = (mask + 0.3 * torch.randn_like(mask)).clamp(0, 1)
    best = gained(SOUNDS, mask)
    assert (best > gained(SOUNDS, noisy)).all() and (best > 5).all()
    assert (gained(SOUNDS, noisy) > gained(SOUNDS, 1 - mask)).all()


def test_bins_have_the_density_and_entropy_of_beta_distributions():
    logits = torch.linspace(-4, 4, 6).view(2, 3)
    center = logits.sigmoid()
    wanted, draws = Beta(1 + 9 * center, 1 + 9 * (1 - center)), torch.rand(2, 3)
    ours = MaskDraws(logits, Spread(9.0))
    torch.testing.assert_close(ours.log_prob(draws), wanted.log_prob(draws))
    torch.testing.assert_close(ours.entropy(), wanted.entropy().mean(-1))
    torch.testing.assert_close(ours.mode(), wanted.mode)
    drawn = ours.sample(torch.empty(0))
    assert (drawn > 0).all() and (drawn < 1).all() and ours.log_prob(drawn).isfinite().all()


def test_the_divergence_that_is_read_is_that_of_the_two_distributions():
    torch.manual_seed(0)
    old, new = (MaskDraws(torch.full((1, 200_000), x), Spread(9.0)) for x in (0.2, 0.5))
    draws = old.sample(torch.empty(0))
    one = torch.ones(1)
    found = GRPO()(new.log_prob(draws), old.log_prob(draws), one, one).kl
    assert float(found) == pytest.approx(float(kl_divergence(old.beta, new.beta)[0, 0]), rel=0.03)


def test_the_first_replay_finds_the_ratio_one_in_every_bin_and_teaches_the_better_masks():
    torch.manual_seed(0)
    rounds = Rounds(group_size=3, scale_by_std=True, replay_chunk=5)
    module = LitSeparation(MaskPolicy(channels=4), rounds=rounds)
    batch = module.collect(SOUNDS)
    bins = ratio_mask(SOUNDS).shape[1]
    assert batch.steps.log_prob.shape == (12, bins)
    torch.testing.assert_close(
        batch.rewards, gained(SOUNDS.repeat(3), batch.steps.action), rtol=0, atol=1e-4
    )
    result = update(module.policy, batch, module.grpo, rounds, Counts(12))
    assert float(result.surrogate.ratio_mean) == 1 and float(result.surrogate.kl) == 0
    result.loss.backward()
    torch.optim.SGD(module.parameters(), 1.0).step()
    moved = module.policy(batch.steps.observation).log_prob(batch.steps.action).sum(1)
    likelier = moved - batch.steps.log_prob.sum(1)
    assert (likelier * batch.advantage).sum() > 0


def test_a_policy_begins_with_the_mixture_itself():
    mask = MaskPolicy()(Heard.of(SOUNDS.heard)).mode()
    torch.testing.assert_close(gained(SOUNDS, mask), torch.zeros(4), rtol=0, atol=1e-4)


def test_the_command_trains_and_says_what_is_heard(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = ["--data.train=8", "--data.val=4", "--data.samples=1024", "--data.batch_size=4"]
    small += ["--trainer.max_steps=2", "--trainer.val_check_interval=2"]
    small += ["--trainer.enable_progress_bar=false"]
    main(["fit", f"--config={EXAMPLE / 'separation.yaml'}", *small])
    scalars = EventAccumulator(str(tmp_path / "runs/separation/version_0"))
    scalars.Reload()
    said = scalars.Tags()["scalars"]
    assert {f"val/si_sdr_{name}" for name in ("before", "after", "oracle")} < set(said)
    assert {"train/reward", "train/entropy", "train/kl"} < set(said)
    assert [float(one.value) for one in scalars.Scalars("train/iterations")] == [2, 2]


def test_the_results_are_a_gain_below_the_oracle():
    results = json.loads((EXAMPLE / "results.json").read_text())
    assert results["gain_over_seeds"]["low"] > 3
    assert results["after_over_seeds"]["high"] < results["oracle_over_mixtures"]["mean"]
    page = (EXAMPLE / "README.md").read_text()
    for row in ("before_over_mixtures", "after_over_seeds", "oracle_over_mixtures"):
        assert f"| {results[row]['mean']:.2f} (" in page
