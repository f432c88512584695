"""Stored trajectories and training runs; ``python tests/test_golden.py`` writes them anew.

Denoisers and policies decide in float64, with weights that hang on no generator of torch, and the
output head of a denoiser is softened: confidences that round to 1 would be ranked by rounding. So
the decisions are the same on any CPU, and what is real-valued is compared to a tolerance.
"""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn
from toys import make_data, make_module, make_trainer

from lit_unmask import policies
from lit_unmask.denoisers import Denoiser, Dream, LLaDA
from lit_unmask.policies import (
    Choice,
    Conditioned,
    ConfidenceTransformer,
    HiddenTransformer,
    LearnedPolicy,
    Policy,
    Scaled,
    Tempered,
)
from lit_unmask.policies.actions import UnmaskDistribution
from lit_unmask.rollout import Approximate, Decoding, Noise, Rollout, Scheduling, rollout
from lit_unmask.rollout.correctors import GIDD, WINO, BlockProSeCo, Placement, ProSeCo, Remask
from lit_unmask.rollout.resamplers import BestOfN, SelfRewarding
from lit_unmask.sharing.description import build
from lit_unmask.tasks import ShoppingSums
from lit_unmask.training.conditioning import AlphaList
from lit_unmask.training.experts import Expert
from lit_unmask.training.settings import Rounds
from lit_unmask.types import Observation, Prompt

STORED = Path(__file__).parent / "fixtures" / "golden.json"
LENGTH, SEED, ROWS = 16, 5, 5
DENOISERS = {"tiny-llada": LLaDA, "tiny-dream": Dream}
SOFTNESS = 0.4
CLOSE = {"rtol": 2e-5, "atol": 2e-5}


def seeded(module: Any) -> Any:
    """Return the module with weights that hang on their names and shapes alone."""
    with torch.no_grad():
        for name, weight in module.named_parameters():
            draws = random.Random(f"{name} {tuple(weight.shape)}")
            if weight.ndim > 1:
                scale = 1.2 / weight.shape[1] ** 0.5
                values = [draws.gauss(0, scale) for _ in range(weight.numel())]
                weight.copy_(torch.tensor(values, dtype=torch.float64).view_as(weight))
            elif name.endswith("bias") and "output_proj" not in name and "row_proj" not in name:
                # Layers draw their biases from torch's generator.
                values = [draws.gauss(0, 0.1) for _ in range(weight.numel())]
                weight.copy_(torch.tensor(values, dtype=torch.float64))
    return module.eval()


class Double(Policy):
    """A policy in float64."""

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        self.inner, self.signals = policy.double(), policy.signals

    def forward(self, observation: Observation) -> UnmaskDistribution:
        signals = {
            name: value.double() if value.is_floating_point() else value
            for name, value in observation.signals.items()
        }
        confidence = observation.confidence.double()
        return self.inner(replace(observation, confidence=confidence, signals=signals))


def learned(head: str | None = None, temperature: float = 1.0, **settings: Any) -> LearnedPolicy:
    """Return a learned policy of the small network with a head."""
    sizes: dict[str, Any] = {"width": 16, "heads": 2, "feed_forward": 16, "output_bias": -2.0}
    network = ConfidenceTransformer(**(sizes | settings))
    return seeded(LearnedPolicy(network, temperature, head and getattr(policies, head)()))


def hidden(width: int) -> LearnedPolicy:
    """Return a policy that looks at hidden states of a width."""
    return seeded(LearnedPolicy(HiddenTransformer(width, width=16, heads=2, feed_forward=16)))


def read_policy(file: Path) -> Policy:
    """Return the policy of a file."""
    return build(yaml.safe_load(file.read_text()))  # type: ignore[return-value]


# What needs another decoding than the rest.
APART = ("CorrectingHead", "RemaskingHead")
POLICIES: dict[str, Any] = {
    "Random": partial(policies.Random, 3),
    "LowConfidence": partial(policies.LowConfidence, 2),
    "Margin": partial(policies.Margin, 2),
    "LeftToRight": partial(policies.LeftToRight, 3),
    "ConfidenceThreshold": partial(policies.ConfidenceThreshold, 0.6),
    "EntropyBound": partial(policies.EntropyBound, 0.8),
    "bernoulli": learned,
    **{name: partial(learned, name) for name in policies.__all__
       if name.endswith("Head") and name not in (*APART, "Head")},
    "gain": partial(learned, temperature=0.5, confidence_gain=4.0, round_time=False),
    "top_k": partial(learned, top_p=3, layers=2),
    "entropy": partial(learned, entropy=True),
    "margin": partial(learned, margin=True, max_period=100.0),
    "blind": partial(learned, see_mask=False, see_time=False, context_block=8),
    "hidden": hidden,
    "Scaled": lambda: Scaled(3.0, learned()),
    "Tempered": lambda: Tempered(0.3, learned(output_bias=-0.5)),
    "Paced": lambda: Conditioned(2.0, learned(speed=True)),
    "told": partial(learned, speed=True),
}  # fmt: skip

SPECIAL = {"remasking": partial(learned, "RemaskingHead")}


PUBLISHED = Path(__file__).parents[1] / "configs" / "policies" / "published"
# Cases of these stand behind all others, which keep their numbers.
LATER: dict[str, Any] = {
    "EntropyBound confidence": partial(policies.EntropyBound, 2.0, "confidence"),
    "EntropyBound margin": partial(policies.EntropyBound, 2.0, "margin"),
    "LowEntropy": partial(policies.LowEntropy, 2),
    "Factor": partial(policies.Factor, 2.0),
    "Ancestral": partial(policies.Ancestral, 9),
    "KLASS": partial(policies.KLASS, 0.2, 3.0),
    "Dilated": partial(policies.Dilated, block_length=8),
    "Dilated bernoulli": lambda: policies.Dilated(learned(), block_length=8),
    "EarlyExit": lambda: policies.EarlyExit(policies.LowConfidence(), (0.05, 0.02, 0.01)),
    "EarlyExit bernoulli": lambda: policies.EarlyExit(learned(), (0.05, 0.02, 0.01)),
    **{f"published {file.stem}": partial(read_policy, file)
       for file in sorted(PUBLISHED.glob("*.yaml"))},
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One decoding job.

    Attributes:
        policy: Name in ``POLICIES``.
        denoiser: Name in ``DENOISERS``.
        block: Block length.
        on_empty: As in ``Decoding``.
        temperature: Of the tokens.
        scheduling: What differs from its defaults.
        approximate: The same.
        system: Further settings of the decoding: what a policy cannot do.
    """

    policy: str
    denoiser: str
    block: int = 8
    on_empty: str = "force"
    temperature: float = 0.0
    scheduling: dict[str, Any] = field(default_factory=dict)
    approximate: dict[str, Any] = field(default_factory=dict)
    system: dict[str, Any] = field(default_factory=dict)

    @property
    def values(self) -> dict[str, Any]:
        """The value of every axis."""
        axes = vars(Scheduling(**self.scheduling)) | vars(Approximate(**self.approximate))
        return {n: v for n, v in vars(self).items() if not isinstance(v, dict)} | axes


BLOCKS = (LENGTH, 8, 2)
SCHEDULES: list[dict[str, Any]] = [
    {}, {"skip": False}, {"share": False}, {"lookahead": 3}, {"lookahead": 1, "max_rows": 2},
    {"max_tokens": 150}, {"call_tokens": None}, {"call_tokens": 0},
    {"deterministic": True, "static_rows": 4, "static_tokens": 16}, {},
    {"skip": False, "share": False, "lookahead": 1, "max_rows": 1},
]  # fmt: skip
DUE = Placement(every=2)
SYSTEMS: list[tuple[str, float, dict[str, Any]]] = [
    ("ConfidenceThreshold", 0.0, {"corrector": Remask(1, placement=DUE), "max_block_steps": 24}),
    ("bernoulli", 0.7, {"corrector": Remask(placement=Placement(below=0.6)), "max_block_steps": 9}),
    ("ConfidenceThreshold", 0.0, {"corrector": WINO(0.9)}),
    ("Random", 0.7, {"corrector": WINO(0.8)}),
    ("LowConfidence", 0.0, {"corrector": ProSeCo(3, placement=DUE)}),
    ("LowConfidence", 0.7, {"corrector": BlockProSeCo(2)}),
    ("Random", 0.7, {"corrector": GIDD(5)}),
    ("Random", 0.7, {"resampler": SelfRewarding(3, 0.9)}),
    ("bernoulli", 0.0, {"resampler": BestOfN(2)}),
    ("remasking", 0.0, {"max_block_steps": 20}),
]  # fmt: skip
CACHED = ("LowConfidence", "ConfidenceThreshold", "bernoulli", "gain", "ThresholdHead", "Random")


def _cases() -> dict[str, Case]:
    made = []
    for place, policy in enumerate(POLICIES):
        for turn, denoiser in enumerate(DENOISERS):
            number = 2 * place + turn
            empty = "force" if number % 3 == 0 else "wait"
            schedule = SCHEDULES[number % len(SCHEDULES)]
            heat = 0.7 if (number // 2 + turn) % 3 == 1 else 0.0
            block = BLOCKS[(place + turn) % 3]
            made.append(Case(policy, denoiser, block, empty, heat, schedule))
    for place, policy in enumerate(CACHED):
        for turn, denoiser in enumerate(DENOISERS):
            empty = "wait" if policy in ("bernoulli", "gain") else "force"
            saving = {"cache": ("prefix", "dual")[(place + turn) % 2], "early_stop": place % 2 == 0}
            rows = {"max_rows": 2} if place == 1 else {"skip": place != 2, "share": place != 3}
            heat = 0.7 if place == 3 else 0.0
            made.append(Case(policy, denoiser, 8, empty, heat, rows, saving))
    for denoiser in DENOISERS:
        for empty in ("force", "wait"):
            for block in BLOCKS:
                made.append(Case("bernoulli", denoiser, block, empty))
        made.append(Case("LeftToRight", denoiser, 8, approximate={"early_stop": True}))
    for place, (policy, heat, system) in enumerate(SYSTEMS):
        for turn, denoiser in enumerate(DENOISERS):
            schedule = SCHEDULES[(3 * place + turn) % 6]
            empty = "wait" if place % 3 == 1 else "force"
            made.append(Case(policy, denoiser, BLOCKS[turn], empty, heat, schedule, {}, system))
    for place, policy in enumerate(LATER):
        for turn, denoiser in enumerate(DENOISERS):
            if policy.startswith("published") and turn != place % 2:
                continue
            number = 2 * place + turn
            empty = "wait" if "bernoulli" in policy or number % 3 else "force"
            saving = {"cache": ("prefix", "dual")[turn]} if policy == "KLASS" else {}
            block = (8, LENGTH, 2)[number % 3] if not saving else 8
            heat = 0.7 if number % 5 == 4 else 0.0
            schedule = SCHEDULES[number % len(SCHEDULES)] if not saving else {}
            made.append(Case(policy, denoiser, block, empty, heat, schedule, saving))
        if policy == "KLASS":
            made += [Case(policy, "tiny-llada", 8, "force", 0.0, one) for one in SCHEDULES[:5]]
    return {f"{number:02d} {case.policy} {case.denoiser}": case for number, case in enumerate(made)}


CASES = _cases()


@cache
def bundled(name: str) -> Denoiser:
    """Return a bundled denoiser in float64 with a softened head."""
    denoiser = DENOISERS[name](name)
    denoiser.double()
    head = denoiser.network.get_output_embeddings()
    head.weight = nn.Parameter(head.weight * SOFTNESS, requires_grad=False)
    return denoiser


def decode(case: Case) -> Rollout:
    """Return the rollouts of a case; the prompts have two lengths, and some are alike."""
    denoiser = bundled(case.denoiser)
    problems = list(ShoppingSums("validation", 2))
    prompt = denoiser.encode([problems[place] for place in (0, 1, 0, 0, 1)])
    if case.policy == "told":
        prompt = Prompt(prompt.tokens, prompt.attention, torch.tensor([0.5, 1.0, 2.0, 0.5, 3.0]))
    decoding = Decoding(
        LENGTH, case.block, case.temperature, case.on_empty,  # type: ignore[arg-type]
        Scheduling(**case.scheduling), Approximate(**case.approximate), **case.system,
    )  # fmt: skip
    noise = Noise(SEED, 1000 * torch.arange(ROWS) + 17)
    sizes = [denoiser.width] if case.policy == "hidden" else []
    policy = Double((POLICIES | SPECIAL | LATER)[case.policy](*sizes)).eval()
    return rollout(denoiser, policy, prompt, decoding, noise, record=True)


def digest(*tensors: Tensor) -> str:
    """Return what tells integers and booleans from others."""
    text = json.dumps([tensor.long().tolist() for tensor in tensors])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def summary(result: Rollout) -> dict[str, Any]:
    """Return what is stored of rollouts."""
    steps = result.steps
    assert steps is not None
    order = (steps.rollout * (LENGTH + 1) + steps.index).argsort()
    total = torch.zeros(ROWS, dtype=torch.float64)
    return {
        "mean_nfe": float(result.nfe.double().mean()),
        "response": digest(result.response),
        "nfe": digest(result.nfe),
        "committed_at": digest(result.committed_at),
        "still_masked": digest(result.still_masked),
        "steps": digest(steps.rollout[order], steps.index[order], steps.chosen[order]),
        "log_prob": total.index_add(0, steps.rollout, steps.log_prob.double()).tolist(),
    }


def chosen(empty: Any) -> str:
    """Return what a policy opens in a loop of one's own that asks for a step."""
    draws = random.Random(SEED)
    confidence = torch.tensor([[draws.random() for _ in range(16)] for _ in range(64)])
    masked = torch.tensor([[draws.random() < 0.7 for _ in range(16)] for _ in range(64)])
    eligible = torch.arange(16).expand(64, 16) < 8
    asked = [
        Choice(greedy, empty, None if greedy else SEED, signals={"speed": 2.0})
        for greedy in (True, False)
    ]
    policy = Double(learned(speed=True, output_bias=-1.0))
    opened = [policy.select(confidence, masked, eligible, 3, 16, choice) for choice in asked]
    return digest(*opened)


TRAINING: dict[str, Any] = {
    "plain": lambda: {"policy": Double(learned())},
    "features": lambda: {
        "policy": Conditioned(1.0, Double(learned(speed=True))),
        "decoding": Decoding(8, 8, temperature=1.0),
        "rounds": Rounds(4, scale_by_std=True),
        "experts": {"sure": Expert(policies.ConfidenceThreshold(0.5), 4)},
        "condition": AlphaList([0.0, 1.0, 4.0]),
    },
}


def trained(name: str) -> dict[str, list[float]]:
    """Return the sum and the norm of every weight after five rounds."""
    settings = TRAINING[name]()
    policy = settings["policy"].train()
    module = make_module(bundled("tiny-llada"), **settings)
    with TemporaryDirectory() as folder:
        make_trainer(folder, max_steps=5).fit(module, datamodule=make_data())
    return {
        name: [float(weight.sum()), float(weight.norm())]
        for name, weight in policy.named_parameters()
    }


@cache
def stored() -> dict[str, Any]:
    """Return the stored values."""
    return json.loads(STORED.read_text())


@pytest.mark.parametrize("name", CASES)
def test_a_trajectory_is_the_stored_one(name: str) -> None:
    found, wanted = summary(decode(CASES[name])), dict(stored()["cases"][name])
    sums = [torch.tensor(each.pop("log_prob"), dtype=torch.float64) for each in (found, wanted)]
    assert found == wanted
    torch.testing.assert_close(*sums, **CLOSE)


@pytest.mark.parametrize("name", TRAINING)
def test_a_training_run_ends_with_the_stored_weights(name: str) -> None:
    found, wanted = trained(name), stored()["training"][name]
    assert list(found) == list(wanted)
    for weight, values in found.items():
        assert values == pytest.approx(wanted[weight], rel=1e-4, abs=1e-4), weight


def test_every_value_of_every_axis_is_in_a_case() -> None:
    assert set(stored()["cases"]) == set(CASES)
    met: dict[str, set[Any]] = {}
    for case in CASES.values():
        for axis, value in case.values.items():
            met.setdefault(axis, set()).add(value)
    both = {False, True}
    wanted = {
        "policy": {*POLICIES, *SPECIAL, *LATER}, "denoiser": set(DENOISERS),
        "block": set(BLOCKS),
        "on_empty": {"force", "wait"}, "temperature": {0.0, 0.7},
        "cache": {"none", "prefix", "dual"},
        **dict.fromkeys(("skip", "share", "deterministic", "early_stop"), both),
        "lookahead": {1, 3, 8}, "max_rows": {None, 1, 2}, "max_tokens": {None, 150},
        "call_tokens": {None, 0, 512}, "static_rows": {4, 8}, "static_tokens": {16, 32},
    }  # fmt: skip
    assert met == wanted
    heads = {name for name in policies.__all__ if name.endswith("Head")} - {*APART, "Head"}
    assert heads <= set(POLICIES)
    klass = {
        stored()["cases"][name]["steps"]
        for name, case in CASES.items()
        if case == replace(case, policy="KLASS", denoiser="tiny-llada", approximate={})
    }
    assert len(klass) == 1, "scheduling changed what a policy sees of the past"


@pytest.mark.parametrize("empty", ["force", "wait"])
def test_choices_of_a_loop_of_ones_own_are_the_stored_ones(empty: str) -> None:
    assert chosen(empty) == stored()["choice"][empty]


def write() -> None:
    """Write the stored values anew."""
    values = {
        "cases": {name: summary(decode(case)) for name, case in CASES.items()},
        "choice": {empty: chosen(empty) for empty in ("force", "wait")},
        "training": {name: trained(name) for name in TRAINING},
    }
    STORED.parent.mkdir(exist_ok=True)
    STORED.write_text(json.dumps(values, indent=1) + "\n")


if __name__ == "__main__":
    write()
