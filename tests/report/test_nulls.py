"""The report's tests leave copies of a policy alone and find the copy that was made worse."""

import numpy as np
import pytest
from toy_sweeps import make_dataset, make_setting

from lit_unmask.report.analysis import Options, analyse
from lit_unmask.report.claims import claims
from lit_unmask.report.nulls import Design, null_check, policy_checks
from lit_unmask.report.tables import null_table, tables
from lit_unmask.statistics import mcnemar


def verdicts(rng, problems, seeds, accuracy=0.7, spread=2.0):
    """Draw 0/1 verdicts ``[P, S]``: problems differ in how hard they are, seeds are independent."""
    solved = rng.beta(accuracy * spread, (1 - accuracy) * spread, size=(problems, 1))
    return (rng.random((problems, seeds)) < solved).astype(float)


def policy(correct, name="policy"):
    said = {"kind": "learned", "params": {}, "weights": name}
    return make_setting(correct, 10, name=name, **said)


@pytest.mark.parametrize("seeds", [2, 4, 8])
def test_two_copies_of_a_policy_are_not_different_in_at_least_94_of_100_comparisons(seeds):
    correct = verdicts(np.random.default_rng(seeds), 500, seeds)
    assert null_check(correct, Design(comparisons=100)).not_different >= 0.94
    # The level of the test, beyond the luck of one hundred comparisons.
    assert 0.94 <= null_check(correct, Design(seed=1)).not_different <= 0.985


def test_a_policy_that_is_worse_by_5_points_is_found_with_enough_seeds():
    correct = verdicts(np.random.default_rng(0), 500, 16)
    designs = [Design(seeds=seeds, comparisons=100) for seeds in (1, 2, 4, 8)]
    power = [null_check(correct, design).found for design in designs]
    assert power == sorted(power)
    assert power[0] >= 0.3 and power[1] >= 0.6 and power[2] >= 0.9 and power[3] >= 0.99


def test_fewer_problems_find_less():
    correct = verdicts(np.random.default_rng(0), 500, 8)
    sizes = [Design(problems=problems, comparisons=200) for problems in (50, 200, 500)]
    checks = [null_check(correct, design) for design in sizes]
    assert checks[0].found < checks[1].found < checks[2].found
    assert all(check.not_different >= 0.9 for check in checks)


def test_five_points_less_of_the_same_verdicts_are_always_found():
    # A deterministic policy: the noise seeds change nothing.
    correct = verdicts(np.random.default_rng(0), 500, 1).repeat(2, axis=1)
    check = null_check(correct, Design(comparisons=100))
    assert (check.not_different, check.found, check.test) == (1, 1, "McNemar test")
    assert (check.design.problems, check.design.seeds) == (500, 1)


def test_a_null_check_says_what_it_lacks():
    with pytest.raises(ValueError, match="needs 2 noise seeds of one policy, this has 1"):
        null_check(np.ones((10, 1)))
    with pytest.raises(ValueError, match="needs 6 noise seeds of one policy, this has 4"):
        null_check(np.ones((10, 4)), Design(seeds=3))
    with pytest.raises(ValueError, match=r"5 right verdicts are to be made wrong, there are 0"):
        null_check(np.zeros((10, 2)), Design(drop=0.5))


def test_whole_runs_are_compared_pair_by_pair():
    rng = np.random.default_rng(3)
    correct = verdicts(rng, 120, 4)
    correct[:, 3] *= rng.random(120) < 0.5
    [found] = policy_checks([policy(correct)])
    p_values = [mcnemar(correct[:, a], correct[:, b]) for a in range(4) for b in range(a)]
    assert found.pairs == 6 and found.different == sum(p < 0.05 for p in p_values) == 3
    assert [(c.design.problems, c.design.seeds) for c in found.checks] == [
        (100, 1), (120, 1), (100, 2), (120, 2),
    ]  # fmt: skip


def test_policies_without_noise_seeds_or_with_little_to_lose_are_not_checked():
    rng = np.random.default_rng(0)
    assert policy_checks([policy(verdicts(rng, 50, 1)), policy(verdicts(rng, 50, 2, 0.1))]) == []
    several = [policy(verdicts(rng, 30, 2), f"policy {i}") for i in range(6)]
    assert [found.label for found in policy_checks(several)] == [
        f"policy {i}, BL 64" for i in range(4)
    ]


def test_the_report_has_the_rates_in_a_table_and_a_sentence():
    dataset = make_dataset([policy(verdicts(np.random.default_rng(0), 150, 4))])
    [analysis] = analyse([dataset], Options(resamples=50))
    table = null_table(analysis)
    assert table.title in [one.title for one in tables(analysis)]
    assert [row[:5] for row in table.rows] == [
        ["policy, BL 64", "McNemar test", "100", "1", "1000"],
        ["policy, BL 64", "McNemar test", "150", "1", "1000"],
        ["policy, BL 64", "sign-flip test", "100", "2", "1000"],
        ["policy, BL 64", "sign-flip test", "150", "2", "1000"],
    ]
    same, found = table.rows[-1][-2:]
    sentence = claims(analysis, 0).supported[-2]
    assert f"each, on 150 problems, are not different in {same} of 1000" in sentence
    assert f"is found in {found} of them" in sentence
    assert "0 of 6 pairs differ" in table.note
