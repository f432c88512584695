"""Evaluates the trained policies of this repository and writes the results page.

    python benchmarks/results.py

Runs configs/frontier.yaml and configs/transfer.yaml for the policies in benchmarks/policies
(``policy`` was trained on math and ``code-policy`` on code), and some of them with several noise
seeds, into results stores under ``--stores``, and turns the stores into docs/results.md, one
page, and docs/results, one file a dataset and one about the policies of ``make study``.
What a store holds is not computed again: a second run only writes the page anew.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from study.evaluating import evaluate
from study.page import study_section

from lit_unmask.cli import main as lit_unmask
from lit_unmask.preflight.extends import read_config
from lit_unmask.report.cli import main as lit_unmask_report

ROOT = Path(__file__).parents[1]
POLICIES = ROOT / "benchmarks" / "policies"
# Policies that are run with several noise seeds, which takes three minutes.
NOISY, NOISE_SEEDS = ("policy/seed-0", "policy/seed-1"), 8
# The cells of a small transfer.
SMALL_TRANSFER = ("home", "code", "tiny-dream")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    # Relative, because the page names them.
    parser.add_argument("--stores", type=Path, default=Path("runs/results"))
    parser.add_argument("--out", type=Path, default=Path("docs"))
    parser.add_argument(
        "--small", action="store_true", help="few problems and settings, to try the command itself"
    )
    options = parser.parse_args(arguments)
    seeds = trained("policy")
    run("frontier", frontier(seeds, options), options)
    run("transfer", transfer(seeds, options), options)
    run("transfer-code", transfer_of_code(trained("code-policy"), options), options)
    run("noise", noise(seeds, options), options)
    print(f"study: {evaluate(options.stores / 'study', options.small)}")
    write_page(options)


def trained(family: str) -> dict[str, Path]:
    """Return the folders of the policies of a family by name, one for each training seed."""
    folders = sorted(file.parent for file in (POLICIES / family).glob("*/config.json"))
    if not folders:
        sys.exit(f"{POLICIES / family} has no policy; lit-unmask-export writes one of a checkpoint")
    return {f"{family}/{folder.name}": folder for folder in folders}


def configuration(name: str, policy: Path, small: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a configuration that tests a saved policy, and the arguments of its last callback."""
    config = read_config(ROOT / "configs" / f"{name}.yaml")
    config["trainer"]["logger"] = False
    config["model"]["policy"] = {
        "class_path": "lit_unmask.sharing.load_policy",
        "init_args": {"path": str(policy)},
    }
    callback = config["trainer"]["callbacks"][-1]["init_args"]
    if small:
        shrink(config["data"]["init_args"])
        callback["grids"] = {name: few(grid) for name, grid in callback["grids"].items()}
    return config, callback


def frontier(seeds: dict[str, Path], options: argparse.Namespace) -> dict[str, Any]:
    """Return the configuration of the frontier of all policies."""
    (first, folder), *others = seeds.items()
    config, callback = configuration("frontier", folder, options.small)
    callback["options"] = {"policy_name": first}
    callback["checkpoints"] = {name: str(other) for name, other in others}
    callback["folder"] = str(options.stores / "frontier")
    return config


def transfer(
    seeds: dict[str, Path], options: argparse.Namespace, name: str = "transfer"
) -> dict[str, Any]:
    """Return the configuration of the transfer of the first policy."""
    first, folder = next(iter(seeds.items()))
    config, callback = configuration("transfer", folder, options.small)
    callback["options"] = {"policy_name": first}
    callback["folder"] = str(options.stores / name)
    if options.small:
        callback["cells"] = {name: callback["cells"][name] for name in SMALL_TRANSFER}
        shrink(callback["cells"])
        for cell in callback["cells"].values():
            cell.pop("grids", None)
    return config


def transfer_of_code(seeds: dict[str, Path], options: argparse.Namespace) -> dict[str, Any]:
    """Return the configuration of the transfer of the first policy that was trained on code."""
    config = transfer(seeds, options, "transfer-code")
    callback = config["trainer"]["callbacks"][-1]["init_args"]
    cells = callback["cells"]
    # Names of their own, as cells of one name share their problems and heuristics.
    callback["cells"] = {
        "code to code": cells["code"],
        "code to math": cells["home"],
        "code to tiny-dream": {**cells["code"], "denoiser": cells["tiny-dream"]["denoiser"]},
    }
    return config


def noise(seeds: dict[str, Path], options: argparse.Namespace) -> dict[str, Any]:
    """Return the configuration of some of the policies, whose actions are drawn several times."""
    config = frontier({name: seeds[name] for name in NOISY}, options)
    callback = config["trainer"]["callbacks"][-1]["init_args"]
    callback["grids"], callback["folder"] = {}, str(options.stores / "noise")
    callback["options"]["seeds"] = list(range(2 if options.small else NOISE_SEEDS))
    sets = config["data"]["init_args"]
    for stage in ("tuning", "test"):
        # A name of its own, as runs with one seed and with several are not compared.
        sets[stage] = {f"{name}, noise seeds": one for name, one in sets[stage].items()}
    return config


def shrink(sets: Any) -> None:
    """Leave two problems in each set of a configuration, wherever it stands."""
    if isinstance(sets, dict):
        if "size" in sets:
            sets["size"] = 2
        for part in sets.values():
            shrink(part)


def few(grid: dict[str, Any]) -> dict[str, Any]:
    """Return a grid of one setting."""
    return {**grid, "values": grid["values"][-1:], "block_lengths": grid["block_lengths"][-1:]}


def run(name: str, config: dict[str, Any], options: argparse.Namespace) -> None:
    """Test with a configuration, which is kept beside the store."""
    options.stores.mkdir(parents=True, exist_ok=True)
    file = options.stores / f"{name}.yaml"
    file.write_text(yaml.safe_dump(config, sort_keys=False))
    lit_unmask(["test", "--config", str(file)])


def write_page(options: argparse.Namespace) -> None:
    """Write results.md, and the folder of its pictures and of one file a dataset."""
    names = ("frontier", "transfer/store", "transfer-code/store", "noise")
    stores = [options.stores / name for name in names]
    report, details = options.stores / "report", options.out / "results"
    lit_unmask_report([*map(str, stores), "--out", str(report), "--command", "make results"])
    shutil.rmtree(details, ignore_errors=True)
    details.mkdir(parents=True)
    for file in [*report.glob("*.png"), *report.glob("*.md")]:
        if file.name != "report.md":
            shutil.copy(file, details / file.name)
    study = study_section(options.stores / "study", options.stores / "frontier", details)
    page = whole_page((report / "report.md").read_text(), study)
    (options.out / "results.md").write_text(page)


def whole_page(report: str, study: str) -> str:
    """Return the results page: a report, with the study before its caveats and links into results/.

    Args:
        report: The report's page.
        study: The section on the study, in Markdown.
    """
    before, mark, after = report.partition("## What cannot be claimed")
    return re.sub(r"\]\(([^()/]+\.(?:png|md))\)", r"](results/\1)", f"{before}{study}{mark}{after}")


if __name__ == "__main__":
    main()
