"""How many rows run, and which of them share a denoiser call."""

import itertools

import pytest

from lit_unmask.rollout import Scheduling


def cost(buckets, lengths, call_tokens):
    padding = sum(max(lengths[i] for i in b) * len(b) - sum(lengths[i] for i in b) for b in buckets)
    return padding + call_tokens * len(buckets)


def partitions(rows):
    """Return every way to split rows into sets."""
    if not rows:
        yield []
        return
    first, *rest = rows
    for size in range(len(rest) + 1):
        for others in itertools.combinations(rest, size):
            left = [row for row in rest if row not in others]
            for partition in partitions(left):
                yield [[first, *others], *partition]


@pytest.mark.parametrize("call_tokens", [0, 3, 10, 40, 1000])
@pytest.mark.parametrize("lengths", [[7], [5, 5, 5], [3, 9, 3, 8, 20], [1, 30, 2, 29, 15, 16]])
def test_buckets_cost_least_of_all_partitions(lengths, call_tokens):
    buckets = Scheduling(call_tokens=call_tokens).buckets(lengths)
    assert sorted(row for bucket in buckets for row in bucket) == list(range(len(lengths)))
    best = min(cost(p, lengths, call_tokens) for p in partitions(list(range(len(lengths)))))
    assert cost(buckets, lengths, call_tokens) == best


def test_rows_stay_together_without_a_price_of_calls():
    assert Scheduling(call_tokens=None).buckets([9, 1, 50]) == [[1, 0, 2]]


def test_no_rows_need_one_empty_bucket_at_most():
    assert Scheduling().buckets([]) == [[]]


@pytest.mark.parametrize(
    ("limits", "admitted"),
    [
        ({}, 4),
        ({"max_rows": 3}, 3),
        ({"max_rows": 9}, 4),
        ({"max_tokens": 25}, 2),
        ({"max_tokens": 20}, 2),
        ({"max_tokens": 1}, 1),
        ({"max_tokens": 1000}, 4),
        ({"max_rows": 1, "max_tokens": 1000}, 1),
    ],
)
def test_a_queue_is_admitted_up_to_the_limits(limits, admitted):
    assert Scheduling(**limits).admitted([10, 10, 30, 2]) == admitted


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"max_rows": 0}, ["max_rows=0", "at least 1", "null"]),
        ({"max_tokens": 0}, ["max_tokens=0", "at least 1", "null"]),
        ({"lookahead": 0}, ["lookahead=0", "at least 1"]),
        ({"call_tokens": -1}, ["call_tokens=-1", "null"]),
    ],
)
def test_a_value_out_of_range_is_refused_with_the_remedy(values, said):
    with pytest.raises(ValueError) as error:
        Scheduling(**values)
    assert all(part in str(error.value) for part in said)
