"""Settings that cannot work are refused before any work starts, with what to do instead."""

import pytest

from lit_unmask.rollout import Decoding


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"gen_length": 0}, ["gen_length=0", "at least 1"]),
        (
            {"gen_length": 12, "block_length": 5},
            ["block_length=5", "divide gen_length=12", "[1, 2, 3, 4, 6, 12]"],
        ),
        ({"gen_length": 12, "block_length": 24}, ["block_length=24", "gen_length=12"]),
        ({"block_length": 0}, ["block_length=0", "use one of"]),
        ({"block_length": -32}, ["block_length=-32"]),
        ({"temperature": -0.1}, ["temperature=-0.1", "at least 0"]),
        ({"on_empty": "skip"}, ["on_empty='skip'", "'force' or 'wait'"]),
    ],
)
def test_a_value_out_of_range_is_refused_with_the_remedy(values, said):
    with pytest.raises(ValueError) as error:
        Decoding(**values)
    assert all(part in str(error.value) for part in said)


def test_the_edges_of_the_ranges_are_accepted():
    Decoding(gen_length=1, block_length=1, temperature=0.0)
    Decoding(gen_length=12, block_length=12)
    Decoding(gen_length=12, block_length=1, temperature=2.0, on_empty="wait")
