"""The policy network: the published size and names, and a slow twin in float64."""

import oracles
import pytest
import torch

from lit_unmask.policies import ConfidenceTransformer, LearnedPolicy
from lit_unmask.policies.networks.layers import sinusoid
from lit_unmask.types import Observation, Signals

ROWS, LENGTH = 4, 11
BLOCK = "transformer_blocks.0"


def small(**changes):
    """Return a network whose every parameter, modulations included, is away from its start."""
    torch.manual_seed(0)
    network = ConfidenceTransformer(**{"width": 24, "heads": 3, "feed_forward": 20} | changes)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return network


def observe(length=LENGTH, kept=3):
    generator = torch.Generator().manual_seed(1)
    masked = torch.rand(ROWS, length, generator=generator) < 0.5
    confidence = torch.rand(ROWS, length, kept, generator=generator)
    confidence = confidence.sort(-1, descending=True).values
    time = torch.tensor([0.0, 0.1, 0.37, 1.0])
    return Observation(masked, masked, confidence, time)


def test_the_default_network_has_the_published_size():
    assert sum(p.numel() for p in ConfidenceTransformer().parameters()) == 331_265


def test_state_names_and_shapes_are_those_of_published_files():
    expected = {
        "time_mlp.0": (128, 128),
        "time_mlp.2": (128, 128),
        "confidence_proj": (128, 1),
        f"{BLOCK}.q_proj": (128, 128),
        f"{BLOCK}.k_proj": (128, 128),
        f"{BLOCK}.v_proj": (128, 128),
        f"{BLOCK}.out_proj": (128, 128),
        f"{BLOCK}.linear1": (512, 128),
        f"{BLOCK}.linear2": (128, 512),
        f"{BLOCK}.ada_conditioning": (768, 128),
        f"{BLOCK}.norm1": (128,),
        f"{BLOCK}.norm2": (128,),
        "final_norm": (128,),
        "output_proj": (1, 128),
    }
    shapes = {f"{name}.weight": shape for name, shape in expected.items()}
    shapes |= {f"{name}.bias": shape[:1] for name, shape in expected.items()}
    shapes |= {"mask_embedding.weight": (2, 128), f"{BLOCK}.inv_freq": (32,)}
    state = ConfidenceTransformer().state_dict()
    assert {name: tuple(value.shape) for name, value in state.items()} == shapes


@pytest.mark.parametrize(("layers", "top_p"), [(1, 1), (2, 3)])
def test_equals_its_slow_twin(layers, top_p):
    network, observation = small(layers=layers, top_p=top_p), observe()
    slow = [
        oracles.confidence_transformer_row(
            network.state_dict(),
            observation.confidence[row, :, :top_p],
            observation.masked[row],
            observation.time[row].item(),
            heads=3,
        )
        for row in range(ROWS)
    ]
    torch.testing.assert_close(network(observation).double(), torch.stack(slow), atol=2e-5, rtol=0)


def test_a_row_does_not_depend_on_its_batch():
    network, observation = small(), observe()
    together = network(observation)
    for row in range(ROWS):
        alone = network(observation.select(torch.tensor([row])))
        torch.testing.assert_close(alone[0], together[row], atol=1e-5, rtol=0)


def test_starts_careful_and_blind_to_mask_and_time():
    torch.manual_seed(0)
    network, observation = ConfidenceTransformer(), observe(64)
    logits = network(observation)
    changed = Observation(
        ~observation.masked, observation.eligible, observation.confidence, 1 - observation.time
    )
    torch.testing.assert_close(network(changed), logits)
    # The bias is -2 and the output weights are not zero: logits lie around -2, not at it.
    assert -3.5 < logits.min() and logits.max() < -0.5
    torch.nn.init.zeros_(network.output_proj.weight)
    assert (network(observation) == -2.0).all()


@pytest.mark.parametrize("field", ["masked", "confidence", "time"])
def test_every_input_matters_after_the_start(field):
    network, observation = small(), observe()
    before = network(observation)
    changed = Observation(
        observation.masked ^ (field == "masked"),
        observation.eligible,
        observation.confidence * (0.5 if field == "confidence" else 1.0),
        observation.time + (0.3 if field == "time" else 0.0),
    )
    assert (network(changed) - before).abs().max() > 1e-2


def test_every_parameter_gets_a_gradient():
    network = small()
    network(observe()).sigmoid().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 1e-4, name


def test_time_features_by_hand():
    waves = sinusoid(torch.tensor([0.5]), 4, max_period=100.0)
    angles = torch.tensor([0.5, 0.05])
    torch.testing.assert_close(waves, torch.cat([angles.cos(), angles.sin()])[None])
    same = sinusoid(torch.tensor([0.5]), 6)
    assert same[0, :3].unique().numel() == same[0, 3:].unique().numel() == 1


def test_rounding_of_time_features_is_visible_and_optional():
    rounded, exact = small(), small(round_time=False)
    assert 1e-5 < (rounded(observe()) - exact(observe())).abs().max() < 1e-1


def test_tables_grow_and_serve_training_after_inference_mode():
    network = small()
    length = 2 * network.transformer_blocks[0].rotary.shape[1] + 5
    with torch.inference_mode():
        inference = network(observe(length))
    trained = network(observe(length))
    trained.sum().backward()
    torch.testing.assert_close(trained.detach(), inference.clone())
    fresh = small()(observe(length))
    torch.testing.assert_close(trained, fresh)


def test_learned_policy_is_bernoulli_on_its_logits():
    network, observation = small(top_p=2), observe()
    policy = LearnedPolicy(network, temperature=0.5)
    assert policy.signals == Signals(top_k=2) and policy.has_parameters
    expected = (network(observation) / 0.5).sigmoid() * observation.eligible
    torch.testing.assert_close(policy(observation).probability(), expected)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="width=10 must be a multiple"):
        ConfidenceTransformer(width=10, heads=3)
    with pytest.raises(ValueError, match="top_p=0"):
        ConfidenceTransformer(top_p=0)
    with pytest.raises(ValueError, match="the network needs 4"):
        small(top_p=4)(observe(kept=3))
