"""Which settings are tried, and which of them are run on the test problems."""

from lit_unmask.evaluation.grid import HeuristicGrid, closest, settings
from lit_unmask.evaluation.points import Point
from lit_unmask.policies import ConfidenceThreshold, EntropyBound, LowConfidence
from lit_unmask.rollout import Decoding

DECODING = Decoding(gen_length=32, block_length=32, temperature=0.5)


def point(accuracy, nfe):
    return Point("", "heuristic", {}, 0, accuracy, accuracy - 0.05, 1.0, nfe, 1.0, 100, 0, 1.0)


def tuned(results, grids=None):
    """Pair the settings of the grids with results (accuracy, nfe) in their order."""
    grids = grids or {"k": HeuristicGrid(LowConfidence, [1, 2], [32, 8])}
    pairs = zip(settings(grids, DECODING), results, strict=True)
    return [(setting, point(*result)) for setting, result in pairs]


def named(chosen):
    return [(one.name, *one.params.values(), one.decoding.block_length) for one in chosen]


TARGET = point(0.8, 10)


def test_every_pair_of_value_and_block_length_is_a_setting():
    grids = {
        "top": HeuristicGrid(LowConfidence, [1, 2], [32, 8]),
        "sure": HeuristicGrid(ConfidenceThreshold, [0.9], [16]),
        "bound": HeuristicGrid(EntropyBound, [0.1], [32]),
    }
    found = list(settings(grids, DECODING))
    assert [(c.name, c.params, c.decoding.block_length) for c in found] == [
        ("top", {"k": 1}, 32),
        ("top", {"k": 1}, 8),
        ("top", {"k": 2}, 32),
        ("top", {"k": 2}, 8),
        ("sure", {"threshold": 0.9}, 16),
        ("bound", {"gamma": 0.1}, 32),
    ]
    assert {c.kind for c in found} == {"heuristic"}
    assert found[3].decoding == Decoding(gen_length=32, block_length=8, temperature=0.5)
    assert isinstance(found[3].policy, LowConfidence) and found[3].policy.k == 2
    assert found[4].policy.threshold == 0.9


def test_the_cheapest_within_the_interval_is_chosen_in_full_diffusion_and_over_all():
    #                  k=1, 32    k=1, 8     k=2, 32    k=2, 8
    pairs = tuned([(0.9, 32), (0.85, 20), (0.76, 16), (0.75, 12)])
    assert named(closest(pairs, TARGET)) == [("k", 2, 32), ("k", 2, 8)]


def test_one_setting_that_is_best_in_both_is_chosen_once():
    pairs = tuned([(0.9, 32), (0.85, 20), (0.76, 16), (0.7, 12)])
    assert named(closest(pairs, TARGET)) == [("k", 2, 32)]


def test_the_most_accurate_is_chosen_where_none_reaches_the_interval():
    pairs = tuned([(0.6, 32), (0.7, 20), (0.6, 16), (0.5, 12)])
    assert named(closest(pairs, TARGET)) == [("k", 1, 8), ("k", 2, 32)]


def test_full_diffusion_may_miss_where_a_block_length_reaches():
    pairs = tuned([(0.6, 32), (0.85, 20), (0.5, 16), (0.9, 25)])
    assert named(closest(pairs, TARGET)) == [("k", 1, 32), ("k", 1, 8)]


def test_a_heuristic_without_full_diffusion_is_chosen_once():
    grids = {"k": HeuristicGrid(LowConfidence, [1, 2], [8])}
    assert named(closest(tuned([(0.9, 30), (0.8, 16)], grids), TARGET)) == [("k", 2, 8)]


def test_each_heuristic_is_chosen_on_its_own():
    grids = {
        "top": HeuristicGrid(LowConfidence, [1], [32]),
        "sure": HeuristicGrid(ConfidenceThreshold, [0.5, 0.9], [32]),
    }
    pairs = tuned([(0.3, 32), (0.78, 8), (0.9, 16)], grids)
    assert named(closest(pairs, TARGET)) == [("top", 1, 32), ("sure", 0.5, 32)]
    assert closest([], TARGET) == []
