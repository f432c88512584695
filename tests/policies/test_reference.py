"""Checkpoints in the published layout: exact round trips, and errors that name a weight."""

import oracles
import pytest
import torch
from jsonargparse import ArgumentParser
from safetensors.torch import save_file

from lit_unmask.errors import ConfigurationError
from lit_unmask.policies import LearnedPolicy, Policy
from lit_unmask.types import Observation

PREFIX = "base_policy."
WIDTH, HIDDEN = 12, 10


def published(path, layers=2, top_p=3, heads=3):
    """Write a file in the published layout, name by name, without our own network."""
    generator = torch.Generator().manual_seed(4)

    def draw(*shape):
        return 0.4 * torch.randn(shape, generator=generator)

    linear = {
        "time_mlp.0": (WIDTH, WIDTH),
        "time_mlp.2": (WIDTH, WIDTH),
        "confidence_proj": (WIDTH, top_p),
        "output_proj": (1, WIDTH),
    }
    norms = ["final_norm"]
    weights = {"mask_embedding.weight": draw(2, WIDTH)}
    for layer in range(layers):
        block = f"transformer_blocks.{layer}"
        linear |= {f"{block}.{part}_proj": (WIDTH, WIDTH) for part in ("q", "k", "v", "out")}
        linear |= {
            f"{block}.linear1": (HIDDEN, WIDTH),
            f"{block}.linear2": (WIDTH, HIDDEN),
            f"{block}.ada_conditioning": (6 * WIDTH, WIDTH),
        }
        norms += [f"{block}.norm1", f"{block}.norm2"]
        channels = WIDTH // heads
        weights[f"{block}.inv_freq"] = 10000.0 ** -(torch.arange(0, channels, 2) / channels)
    for name, shape in linear.items():
        weights |= {f"{name}.weight": draw(*shape), f"{name}.bias": draw(shape[0])}
    for name in norms:
        weights |= {f"{name}.weight": 1 + draw(WIDTH), f"{name}.bias": draw(WIDTH)}
    weights = {f"{PREFIX}{name}": value for name, value in weights.items()}
    save_file(weights, path)
    return weights


def observe(top_p):
    generator = torch.Generator().manual_seed(1)
    masked = torch.rand(3, 9, generator=generator) < 0.5
    confidence = torch.rand(3, 9, top_p, generator=generator).sort(-1, descending=True).values
    return Observation(masked, masked, confidence, torch.tensor([0.0, 0.3, 0.9]))


@pytest.mark.parametrize(("layers", "top_p", "heads"), [(1, 1, 2), (2, 3, 3)])
def test_an_imported_checkpoint_has_the_logits_of_the_slow_twin(tmp_path, layers, top_p, heads):
    weights = published(tmp_path / "model.safetensors", layers, top_p, heads)
    policy = LearnedPolicy.from_reference(tmp_path, temperature=0.5)
    assert (policy.temperature, policy.network.heads, policy.training) == (0.5, heads, False)
    observation = observe(top_p)
    plain = {name.removeprefix(PREFIX): value for name, value in weights.items()}
    slow = [
        oracles.confidence_transformer_row(
            plain, observation.confidence[row], observation.masked[row],
            observation.time[row].item(), heads,
        )
        for row in range(3)
    ]  # fmt: skip
    logits = policy.network(observation).double()
    torch.testing.assert_close(logits, torch.stack(slow), atol=2e-5, rtol=0)


def test_weights_are_read_exactly_and_leave_the_random_state_alone(tmp_path):
    weights = published(tmp_path / "model.safetensors")
    random = torch.get_rng_state()
    policy = LearnedPolicy.from_reference(tmp_path / "model.safetensors")
    assert torch.equal(torch.get_rng_state(), random)
    found = {f"{PREFIX}{name}": value for name, value in policy.network.state_dict().items()}
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], value) for name, value in weights.items())


def test_a_yaml_file_may_name_a_published_checkpoint(tmp_path):
    published(tmp_path / "model.safetensors")
    parser = ArgumentParser(exit_on_error=False, parser_mode="omegaconf+")
    parser.add_subclass_arguments(Policy, "policy")
    policy = parser.instantiate_classes(parser.parse_args([
        "--policy=lit_unmask.policies.LearnedPolicy.from_reference",
        f"--policy.path={tmp_path}", "--policy.temperature=0.5",
    ])).policy  # fmt: skip
    assert policy.temperature == 0.5 and policy.network.layers == 2


def test_half_precision_becomes_float32(tmp_path):
    weights = published(tmp_path / "model.safetensors")
    save_file({n: v.bfloat16() for n, v in weights.items()}, tmp_path / "model.safetensors")
    policy = LearnedPolicy.from_reference(tmp_path)
    for name, value in policy.network.state_dict().items():
        assert value.dtype == torch.float32
        rounded = weights[PREFIX + name].bfloat16().float()
        if not name.endswith("inv_freq"):
            assert torch.equal(value, rounded)
    exact = 10000.0 ** -(torch.arange(0, 4, 2) / 4)
    found = policy.network.transformer_blocks[0].inv_freq
    torch.testing.assert_close(found, exact, atol=0, rtol=1e-6)


BLOCK = f"{PREFIX}transformer_blocks"
FAULTS = {
    "missing": (
        lambda w: w.pop(f"{PREFIX}final_norm.bias"), r"missing: base_policy.final_norm.bias\)",
    ),
    "missing size": (
        lambda w: w.pop(f"{PREFIX}mask_embedding.weight"),
        "missing weight base_policy.mask_embedding.weight",
    ),
    "missing layer": (
        lambda w: [w.pop(name) for name in list(w) if name.startswith(f"{BLOCK}.0.norm1")],
        r"missing: base_policy.transformer_blocks.0.norm1.weight, base_policy.transf",
    ),
    "extra": (
        lambda w: w.update({f"{PREFIX}gate": torch.zeros(1)}), r"unexpected: base_policy.gate\)",
    ),
    "no prefix": (lambda w: w.update(gate=torch.zeros(1)), "unexpected weights gate; all names"),
    "shape": (
        lambda w: w.update({f"{PREFIX}output_proj.bias": torch.zeros(2)}),
        r"of another shape: base_policy.output_proj.bias \[2\] for \[1\]\)",
    ),
    "another width": (
        lambda w: w.update({f"{PREFIX}mask_embedding.weight": torch.zeros(2, 24)}),
        r"network of width 24.*of another shape: base_policy.time_mlp.0.weight .* and 39 more",
    ),
    "axes": (
        lambda w: w.update({f"{PREFIX}confidence_proj.weight": torch.zeros(3)}),
        r"confidence_proj.weight \[3\] must have 2 axes",
    ),
    "frequencies": (
        lambda w: w.update({f"{BLOCK}.1.inv_freq": torch.tensor([1.0, 0.5])}),
        "transformer_blocks.1.inv_freq has other frequencies",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_what_does_not_fit_is_named(tmp_path, fault):
    change, message = FAULTS[fault]
    weights = published(tmp_path / "model.safetensors")
    change(weights)
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(ConfigurationError, match=message):
        LearnedPolicy.from_reference(tmp_path)


def test_what_is_no_checkpoint_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match=r"model.safetensors is missing"):
        LearnedPolicy.from_reference(tmp_path)
    (tmp_path / "model.safetensors").write_text("no weights")
    with pytest.raises(ConfigurationError, match="is damaged"):
        LearnedPolicy.from_reference(tmp_path)
    published(tmp_path / "model.safetensors")
    with pytest.raises(ConfigurationError, match="width=12 must be a multiple"):
        LearnedPolicy.from_reference(tmp_path, heads=5)
