"""What networks look at beyond confidences, and the ablations that look at less."""

from dataclasses import replace

import pytest
import torch

from lit_unmask.policies import ConfidenceTransformer, HiddenTransformer
from lit_unmask.types import Observation, Signals

ROWS, LENGTH, HIDDEN = 3, 8, 5


def shaken(network):
    """Return the network with every weight away from its start."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.3 * torch.randn(weight.shape, generator=generator))
    return network


def small(**settings):
    torch.manual_seed(0)
    return shaken(ConfidenceTransformer(16, 2, 16, **settings))


def hidden(**settings):
    torch.manual_seed(0)
    return HiddenTransformer(HIDDEN, 16, 2, 16, **settings)


def observe(**changes):
    generator = torch.Generator().manual_seed(1)
    masked = torch.rand(ROWS, LENGTH, generator=generator) < 0.7
    masked[:, 5] = True
    eligible = masked & (torch.arange(LENGTH) // 4 == torch.tensor([[0], [1], [1]]))
    confidence = torch.rand(ROWS, LENGTH, 2, generator=generator).sort(-1, descending=True).values
    observation = Observation(
        masked, eligible, confidence, torch.tensor([0.0, 0.2, 0.5]),
        {"entropy": torch.rand(ROWS, LENGTH, generator=generator),
         "hidden": torch.randn(ROWS, LENGTH, HIDDEN, generator=generator)},
    )  # fmt: skip
    signals = observation.signals | {
        name: changes.pop(name) for name in ("entropy", "hidden") if name in changes
    }
    signals = {name: value for name, value in signals.items() if value is not None}
    return replace(observation, signals=signals, **changes)


CHANGES = {
    "masked": lambda o: ~o.masked,
    "time": lambda o: o.time + 0.3,
    "entropy": lambda o: o.signals["entropy"] + 1,
    "confidence": lambda o: o.confidence * torch.tensor([1.0, 0.5]),  # the margin alone
    "hidden": lambda o: o.signals["hidden"].flip(-1),
}
LOOKS_AT = {
    "reference": (small, {"masked", "time"}),
    "entropy": (lambda: small(entropy=True), {"masked", "time", "entropy"}),
    "margin": (lambda: small(margin=True), {"masked", "time", "confidence"}),
    "no mask": (lambda: small(see_mask=False), {"time"}),
    "no time": (lambda: small(see_time=False), {"masked"}),
    "neither": (lambda: small(see_mask=False, see_time=False), set()),
    "hidden": (lambda: shaken(hidden()), {"masked", "time", "hidden"}),
}


@pytest.mark.parametrize("name", LOOKS_AT)
def test_a_network_looks_at_just_what_it_says(name):
    make, seen = LOOKS_AT[name]
    network, observation = make(), observe()
    before = network(observation)
    for field, change in CHANGES.items():
        after = network(observe(**{field: change(observation)}))
        moved = (after - before).abs().max().item()
        assert moved > 1e-3 if field in seen else moved == 0, field


@pytest.mark.parametrize("name", LOOKS_AT)
def test_no_parameter_is_idle(name):
    network = LOOKS_AT[name][0]()
    network(observe()).sigmoid().sum().backward()
    for parameter_name, parameter in network.named_parameters():
        idle = name == "neither" and parameter_name.endswith("ada_conditioning.weight")
        assert parameter.grad is not None and (idle or parameter.grad.any()), parameter_name


def test_signals_are_asked_for():
    assert small(entropy=True).signals == Signals(names={"entropy"})
    assert small(margin=True).signals == Signals(top_k=2)
    assert small(margin=True, top_p=4).signals == Signals(top_k=4)
    assert hidden(top_p=3).signals == Signals(top_k=3, names={"hidden"})


def test_names_do_not_change_and_ablations_only_leave_weights_out():
    names = small().state_dict().keys()
    assert small(entropy=True, margin=True, context_block=4).state_dict().keys() == names
    assert small(entropy=True, margin=True, top_p=3).confidence_proj.in_features == 5
    without = {name for name in names if not name.startswith("mask_embedding")}
    assert small(see_mask=False).state_dict().keys() == without
    without = {name for name in names if not name.startswith("time_mlp")}
    assert small(see_time=False).state_dict().keys() == without
    added = hidden().state_dict().keys() - names
    assert {name.split(".")[0] for name in added} == {"hidden_norm", "hidden_proj"}


@pytest.mark.parametrize("name", ["masked", "confidence"])
def test_block_context_hides_what_is_outside_of_the_current_block(name):
    network, observation = small(context_block=4), observe()
    before = network(observation)
    inside = torch.arange(LENGTH) // 4 == torch.tensor([[0], [1], [1]])
    value = getattr(observation, name)
    spot = inside if value.ndim == 2 else inside[..., None]
    changed = ~value if name == "masked" else value * 0.5
    outer = network(replace(observation, **{name: torch.where(spot, value, changed)}))
    torch.testing.assert_close(outer[inside], before[inside])
    inner = network(replace(observation, **{name: torch.where(spot, changed, value)}))
    assert (inner[inside] - before[inside]).abs().max() > 1e-3
    full = small()
    outer = full(replace(observation, **{name: torch.where(spot, value, changed)}))
    assert (outer[inside] - full(observation)[inside]).abs().max() > 1e-3


def test_one_block_of_everything_is_the_full_context():
    torch.testing.assert_close(small(context_block=LENGTH)(observe()), small()(observe()))


def test_a_row_with_nothing_eligible_has_finite_logits():
    nothing = torch.zeros(ROWS, LENGTH, dtype=torch.bool)
    assert small(context_block=4)(observe(eligible=nothing)).isfinite().all()


def test_hidden_states_add_nothing_at_the_start():
    network = hidden()
    torch.manual_seed(0)
    plain = ConfidenceTransformer(16, 2, 16)
    assert torch.equal(network(observe()), plain(observe()))
    network(observe(hidden=observe().signals["hidden"].bfloat16())).sum().backward()
    assert network.hidden_proj.weight.grad.abs().max() > 0


def test_missing_signals_and_bad_arguments_are_named():
    with pytest.raises(ValueError, match="no signal 'entropy'; the loop must ask"):
        small(entropy=True)(observe(entropy=None))
    with pytest.raises(ValueError, match="top_k=1 values; the network needs 2"):
        small(margin=True)(observe(confidence=observe().confidence[..., :1]))
    with pytest.raises(ValueError, match="no signal 'hidden'"):
        hidden()(observe(hidden=None))
    with pytest.raises(ValueError, match=r"hidden_width=5 must be .* which is 7"):
        hidden()(observe(hidden=torch.zeros(ROWS, LENGTH, 7)))
    with pytest.raises(ValueError, match="context_block=0"):
        small(context_block=0)
    with pytest.raises(ValueError, match="hidden_width=0"):
        HiddenTransformer(0)
