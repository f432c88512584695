"""Areas of methods against a scan over budgets."""

import numpy as np
import pytest
from toy_sweeps import make_dataset, make_setting

from lit_unmask.errors import ConfigurationError
from lit_unmask.report.analysis import Options, analyse
from lit_unmask.report.methods import (
    ALL_HEURISTICS,
    Resampled,
    all_heuristics,
    area_differences,
    method_areas,
    methods,
)
from lit_unmask.report.tables import tables

RNG = np.random.default_rng(0)
PROBLEMS = 60


def setting(name, params, nfe, accuracy=0.5, **said):
    correct = RNG.random(PROBLEMS) < accuracy
    return make_setting(correct, nfe, name=name, params=params, **said)


def learned(name, nfe, **said):
    return setting(name, {}, nfe, kind="learned", weights=name, **said)


def areas_of(dataset, name, resamples=200):
    resampled = Resampled.of(dataset, resamples, 0)
    members = methods(dataset)
    together = all_heuristics(members)
    method = next(f for f in [*members, together] if f is not None and f.name == name)
    return method_areas(dataset, resampled, method)


def scanned(settings, prefer, length=64, cells=64_00):
    """Return the hypervolume, budget by budget."""
    total = 0.0
    for budget in (np.arange(cells) + 0.5) * length / cells:
        within = [i for i, s in enumerate(settings) if s.mean_nfe.value <= budget]
        total += settings[max(within, key=prefer)].accuracy.value if within else 0.0
    return total / cells


def grid(stage="test"):
    return [
        setting("threshold", {"threshold": t}, nfe, stage=stage)
        for t, nfe in ((0.1, 8.5), (0.3, 17), (0.5, 31.25), (0.9, 50))
    ]


def test_settings_are_preferred_as_the_tuning_problems_prefer_them():
    test, tuning = grid(), grid("tuning")
    found = areas_of(make_dataset(test, tuning), "threshold")
    expected = scanned(test, lambda i: tuning[i].accuracy.value)
    assert found.areas["hypervolume"].value == pytest.approx(expected, abs=1e-3)
    assert (found.settings, found.chosen_on_test) == (4, False)


def test_settings_that_were_not_tuned_do_not_count_beside_tuned_ones():
    test, tuning = grid(), grid("tuning")
    lucky = setting("threshold", {"threshold": 0.2}, 9, accuracy=1.0)
    with_it = areas_of(make_dataset([lucky, *test], tuning), "threshold")
    without = areas_of(make_dataset(test, tuning), "threshold")
    assert with_it.areas == without.areas and with_it.settings == 4


def test_without_tuning_runs_the_test_problems_choose_and_that_is_said():
    test = grid()
    found = areas_of(make_dataset(test), "threshold")
    expected = scanned(test, lambda i: test[i].accuracy.value)
    assert found.areas["hypervolume"].value == pytest.approx(expected, abs=1e-3)
    assert found.chosen_on_test
    assert not areas_of(make_dataset(test[:1]), "threshold").chosen_on_test


def test_a_policy_with_several_training_seeds_has_their_mean_area():
    seeds = [learned(f"policy/seed-{i}", 10 + i, accuracy=0.3 * i + 0.2) for i in range(3)]
    found = areas_of(make_dataset(seeds), "policy")
    each = [scanned([one], lambda i: i) for one in seeds]
    assert found.areas["hypervolume"].value == pytest.approx(np.mean(each), abs=1e-3)
    assert list(found.method.members) == ["seed-0", "seed-1", "seed-2"]


def test_all_heuristics_together_have_the_setting_preferred_over_all_of_them():
    other = [setting("k", {"k": k}, 64 / k) for k in (2, 4)]
    other_tuning = [setting("k", {"k": k}, 64 / k, stage="tuning") for k in (2, 4)]
    test, tuning = grid() + other, grid("tuning") + other_tuning
    dataset = make_dataset([learned("policy", 9), *test], tuning)
    found = areas_of(dataset, ALL_HEURISTICS)
    expected = scanned(test, lambda i: (tuning[i].accuracy.value, -tuning[i].mean_nfe.value))
    assert found.areas["hypervolume"].value == pytest.approx(expected, abs=1e-3)
    assert all_heuristics(methods(make_dataset(grid()))) is None


def test_differences_are_taken_on_the_same_resamples():
    correct = RNG.random(PROBLEMS) < 0.5
    twin = make_setting(correct, 16, name="policy", kind="learned", weights="a", params={})
    dataset = make_dataset([twin, make_setting(correct, 16)])
    resampled = Resampled.of(dataset, 300, 0)
    first, second = (method_areas(dataset, resampled, f) for f in methods(dataset))
    [difference] = area_differences([first], [second])
    gain = difference.differences["hypervolume"]
    assert gain.value == gain.low == gain.high == 0
    interval = first.areas["hypervolume"]
    assert interval.high - interval.low > 0.1


def test_resampled_means_begin_with_the_problems_themselves():
    dataset = make_dataset(grid())
    resampled = Resampled.of(dataset, 10, 0)
    assert resampled.accuracy.shape == resampled.nfe.shape == (4, 11)
    assert resampled.accuracy[:, 0] == pytest.approx([s.accuracy.value for s in dataset.test])


def test_learned_policies_are_the_subjects_unless_others_are_named():
    dataset = make_dataset([*grid(), setting("k", {"k": 2}, 32), learned("policy", 9)])
    [found] = analyse([dataset], Options(resamples=20))
    assert [method.name for method in found.subjects] == ["policy"]
    assert {d.second.method.name for d in found.differences} == {"threshold", "k", ALL_HEURISTICS}
    [found] = analyse([dataset], Options(("k",), 20))
    assert [method.name for method in found.subjects] == ["k"]
    assert {c.second.method for c in found.comparisons} == {"policy", "threshold"}
    with pytest.raises(ConfigurationError, match="'mine' is in no store; there are k, policy, thr"):
        analyse([dataset], Options(("mine",)))


def test_training_seeds_are_spread_with_one_way_of_decoding_at_a_time():
    blocks = [
        learned(f"policy/{i}", 10 + i, accuracy=0.2 + 0.2 * i, block_length=block)
        for block in (8, 64)
        for i in range(3)
    ]
    [found] = analyse([make_dataset(blocks)], Options(resamples=20))
    accuracies, others = ([s.accuracy.value for s in three] for three in (blocks[:3], blocks[3:]))
    assert [(s.block_length, s.accuracy, s.nfe) for s in found.spreads] == [
        (8, accuracies, [10, 11, 12]),
        (64, others, [10, 11, 12]),
    ]
    row = next(table for table in tables(found) if table.title == "Training seeds").rows[0]
    deviation = f"{np.std(accuracies, ddof=1):.3f}"
    assert row[2] == "3" and row[4] == deviation and row[-2:] == ["11.0", "1.0"]
    [alone] = analyse([make_dataset([learned("policy", 9)])], Options(resamples=20))
    assert alone.spreads == []
