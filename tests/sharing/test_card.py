"""Model cards say what the store says, and of this policy alone what they claim for it."""

from dataclasses import replace

import pytest
from huggingface_hub import ModelCard
from toy_rollouts import POLICIES

from lit_unmask import save_policy
from lit_unmask.errors import ConfigurationError
from lit_unmask.evaluation.fingerprints import plain_settings, policy_hash
from lit_unmask.evaluation.store import Outcome, Run, Store
from lit_unmask.policies import LowConfidence
from lit_unmask.sharing import TrainedWith, read_saved
from lit_unmask.sharing.card import model_card

TRAINED_WITH = TrainedWith(
    {"path": "user/denoiser", "revision": "abc", "config_hash": "ff00"},
    gen_length=64,
    block_length=32,
    temperature=0.0,
    on_empty="force",
    reward={
        "class_path": "lit_unmask.training.rewards.MultiplicativeSpeed",
        "init_args": {"alpha": 2.0},
    },
    seed=4,
    rounds=220,
)
RUN = Run(
    *("math", "test", "p0", 10, "user/denoiser@abc #12", "policy", "learned", "LearnedPolicy"),
    params={},
    weights="",
    gen_length=64,
    block_length=32,
    temperature=0.0,
    on_empty="force",
)


def saved(policy, folder):
    return read_saved(save_policy(policy, folder / "policy", TRAINED_WITH))


def fill(store, run, solved, nfe):
    """Add a finished run that solves the first problems at the same cost each."""
    outcomes = [
        Outcome(f"q{i}", float(i < solved), nfe, {"fresh": nfe}, 20, False, 0.1) for i in range(10)
    ]
    store.append(run, outcomes)


@pytest.fixture
def learned(tmp_path):
    return saved(POLICIES["learned"](), tmp_path)


@pytest.fixture
def store(learned, tmp_path):
    """The policy, one that it beats, a cheaper one, and one that is not finished."""
    store = Store(tmp_path / "store")
    fill(store, replace(RUN, weights=policy_hash(learned.build())), solved=7, nfe=10)
    heuristic = replace(RUN, kind="heuristic", name="low confidence", policy="LowConfidence")
    fill(store, replace(heuristic, params={"k": 1}), solved=6, nfe=64)
    fill(store, replace(heuristic, params={"k": 8}), solved=2, nfe=8)
    store.append(replace(heuristic, params={"k": 2}), [])
    return store


def test_the_card_has_the_frontier_of_the_store(learned, store):
    text = model_card(learned, "user/name", store.folder)
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == 1 + 1 + 3
    cheap, own, slow = rows[2:]
    # Wilson intervals of 2, 7 and 6 of 10.
    assert cheap.startswith("| low confidence (k=8), BL 32 | 0.200 | 0.057 to 0.510 | 8.0 | ")
    assert own.startswith("| **policy, BL 32** (this policy) | 0.700 | 0.397 to 0.892 | 10.0 | ")
    assert slow.startswith("| low confidence (k=1), BL 32 | 0.600 | 0.313 to 0.832 | 64.0 | ")
    assert cheap.endswith("| 2.50 | front |") and own.endswith("| 2.00 | front |")
    assert slow.endswith("| 0.31 |  |")
    assert "10 test problems (`p0`), denoiser `user/denoiser@abc #12`, generation" in text
    assert "Unfinished runs, left out: 1." in text


def test_the_metadata_claims_the_results_of_this_policy_alone(learned, store):
    data = ModelCard(model_card(learned, "user/name", store.folder)).data
    assert data.base_model == "user/denoiser" and data.library_name == "lit_unmask"
    values = {result.metric_type: result.metric_value for result in data.eval_results}
    assert values == {"accuracy": 0.7, "nfe": 10.0}
    assert {result.dataset_name for result in data.eval_results} == {"math"}
    assert data.model_name == "name"


def test_the_card_says_how_to_use_it_and_how_it_was_trained(learned):
    text = model_card(learned, "user/name", has_training=True)
    assert "from lit_unmask import load_policy\n\npolicy = load_policy('user/name')\n" in text
    assert "policy.select(confidence, masked, eligible, step, length)" in text
    assert "# Unmasking policy for user/denoiser@abc\n" in text
    assert "- rounds: 220\n" in text and '"alpha": 2.0' in text
    assert "lit-unmask fit --config training.yaml" in text
    assert "## Limitations" in text and "No measurements are given" in text
    assert ModelCard(text).data.eval_results is None


def test_a_heuristic_is_found_by_its_settings(tmp_path):
    policy, store = LowConfidence(8), Store(tmp_path / "store")
    settings = plain_settings(policy)
    run = replace(RUN, kind="heuristic", policy="LowConfidence", params=settings)
    fill(store, run, solved=2, nfe=8)
    assert "(this policy)" in model_card(saved(policy, tmp_path), "user/name", store.folder)


def test_results_of_another_policy_are_no_results_of_this_one(learned, tmp_path):
    store = Store(tmp_path / "store")
    fill(store, replace(RUN, weights="0123456789abcdef", name="sibling"), solved=7, nfe=10)
    with pytest.raises(
        ConfigurationError, match="no finished test run of this policy, only of sib"
    ):
        model_card(learned, "user/name", store.folder)
    with pytest.raises(ConfigurationError, match="there is no results store"):
        model_card(learned, "user/name", tmp_path / "nothing")
