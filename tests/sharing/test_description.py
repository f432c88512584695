"""Policies as class paths and arguments: every one of ours, none of a stranger's."""

import json
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn
from toy_rollouts import POLICIES

from lit_unmask import policies
from lit_unmask.errors import ConfigurationError
from lit_unmask.policies import LearnedPolicy, LowConfidence, Policy
from lit_unmask.sharing.description import build, describe

YAMLS = sorted((Path(__file__).parents[2] / "configs" / "policies").rglob("*.yaml"))


def test_the_policies_below_are_all_there_are():
    public = {getattr(policies, name) for name in policies.__all__}
    kinds = {kind for kind in public if issubclass(kind, Policy)} - {Policy}
    # Settings of learned ones are in policies/test_settings.py.
    kinds -= {policies.Scaled, policies.Tempered, policies.Thresholded}
    assert {type(make()) for make in POLICIES.values()} == kinds


@pytest.mark.parametrize("name", POLICIES)
def test_a_description_makes_the_same_policy_again(name):
    policy = POLICIES[name]()
    description = json.loads(json.dumps(describe(policy)))
    again = build(description)
    assert type(again) is type(policy)
    assert describe(again) == description
    assert description["class_path"] == f"lit_unmask.policies.{type(policy).__name__}"


@pytest.mark.parametrize("file", YAMLS, ids=lambda file: file.stem)
def test_a_description_is_the_yaml_with_its_defaults(file):
    setting = OmegaConf.to_container(OmegaConf.load(file))
    description = describe(build(setting))
    assert description["class_path"] == setting["class_path"]
    for name, value in setting["init_args"].items():
        found = description["init_args"][name]
        if name in ("network", "head", "policy"):
            value, found = value["class_path"], found["class_path"]
        assert found == value


def test_making_a_policy_leaves_the_random_state_alone():
    description = describe(POLICIES["learned"]())
    before = torch.get_rng_state()
    build(description)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("path", [
    "os.system",
    "torch.nn.Linear",
    "lit_unmask.training.module.LitUnmask",
    "lit_unmask.denoisers.LLaDA",
    "lit_unmask.policies.networks.layers.nn",
    "lit_unmask.policies.networks.layers.nn.Linear",
    "lit_unmask.policies.base.Observation",
    "lit_unmask.policies.heuristics.top_k.top_positions",
    "lit_unmask.policies.Nothing",
    "lit_unmask.policies.nowhere.Policy",
    "lit_unmask.policies_of_others.Policy",
    "lit_unmask.policies..base.Policy",
    "lit_unmask.policies.\0.Policy",
    "LowConfidence",
    "",
])  # fmt: skip
def test_a_file_cannot_name_other_classes(path):
    for description in (
        {"class_path": path, "init_args": {}},
        {
            "class_path": "lit_unmask.policies.LearnedPolicy",
            "init_args": {"network": {"class_path": path, "init_args": {}}},
        },
    ):
        with pytest.raises(ConfigurationError, match="is not a policy class of"):
            build(description)


def test_what_a_module_of_ours_imports_is_not_on_offer(monkeypatch):
    monkeypatch.setattr("lit_unmask.policies.networks.layers.Linear", nn.Linear, raising=False)
    with pytest.raises(ConfigurationError, match="is not a policy class of"):
        build({"class_path": "lit_unmask.policies.networks.layers.Linear", "init_args": {}})


class Own(LowConfidence):
    """A heuristic of the user's, found where it is handed over only."""

    def __init__(self, k: int, order: list[int]) -> None:
        super().__init__(k)
        self.order = order


def test_a_class_of_the_users_has_to_be_handed_over():
    description = describe(Own(2, [3, 1]))
    assert description["init_args"] == {"k": 2, "order": [3, 1]}
    with pytest.raises(ConfigurationError, match=r"test_description.Own.*pass classes="):
        build(description)
    again = build(description, [Own])
    assert type(again) is Own and (again.k, again.order) == (2, [3, 1])


class Forgets(LowConfidence):
    def __init__(self, k: int, secret: int) -> None:
        super().__init__(k)


class TakesAnything(LowConfidence):
    def __init__(self, **settings: int) -> None:
        super().__init__(**settings)


def forgetful_network():
    network = nn.Linear(2, 2)
    network.signals = LowConfidence.signals
    return LearnedPolicy(network)


@pytest.mark.parametrize("make, message", [
    (lambda: Forgets(1, 2), r"Forgets does not keep its argument 'secret'; add `self.secret"),
    (lambda: TakesAnything(k=1), r"TakesAnything takes \*\*settings: .*int.*; give it named"),
    (lambda: Own(1, torch.arange(2)), "Own.order is a Tensor; a policy that is to be stored"),
    (forgetful_network, "Linear does not keep its argument 'bias'|Linear.bias is a Parameter"),
])  # fmt: skip
def test_a_class_that_cannot_be_described_is_named(make, message):
    with pytest.raises(ConfigurationError, match=message):
        describe(make())


@pytest.mark.parametrize("description, message", [
    ({"init_args": {}}, "class_path and init_args alone"),
    ({"class_path": "lit_unmask.policies.Random", "init_args": [1]}, "class_path and init_args"),
    ({"class_path": "lit_unmask.policies.Random", "more": 1}, "class_path and init_args alone"),
    ("lit_unmask.policies.Random", "class_path and init_args alone"),
    ({"class_path": "lit_unmask.policies.Random", "init_args": {"k": 0}}, "k=0 must be at least"),
    ({"class_path": "lit_unmask.policies.Random", "init_args": {"q": 1}}, "argument 'q'"),
    ({"class_path": "lit_unmask.policies.Policy", "init_args": {}}, "cannot be made .* abstract"),
])  # fmt: skip
def test_what_is_no_description_is_refused(description, message):
    with pytest.raises(ConfigurationError, match=message):
        build(description)
