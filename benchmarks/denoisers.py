"""Examines a bundled denoiser on both tasks and at both lengths, as ``make pretrain`` does.

    python benchmarks/denoisers.py tiny-llada

Writes the accuracies into the metrics.json beside its weights, after each of the tests.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import yaml
from jsonargparse import ArgumentParser

from lit_unmask.denoisers import Dream, LLaDA
from lit_unmask.denoisers.loading.hub import BUNDLED
from lit_unmask.files import replace_file
from lit_unmask.pretrain.export import HeldOut, examine

KINDS = {"tiny-llada": LLaDA, "tiny-dream": Dream}
TESTS = Path(__file__).parents[1] / "configs/base/pretrain_test.yaml"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("denoiser", choices=KINDS)
    parser.add_argument("--tests", type=Path, default=TESTS, help="problems, as of a pretraining")
    parser.add_argument("--out", type=Path, help="instead of the file beside the weights")
    options = parser.parse_args(arguments)
    file = options.out or BUNDLED / options.denoiser / "metrics.json"
    metrics = json.loads(file.read_text()) if file.is_file() else {}
    for name, found in examine(KINDS[options.denoiser](options.denoiser), read(options.tests)):
        metrics[name] = metrics.get(name, {}) | found
        replace_file(file, (json.dumps(metrics, indent=1) + "\n").encode())
        print(name, json.dumps(found), flush=True)


def read(file: Path) -> dict[str, HeldOut]:
    """Return the tests of a file."""
    parser = ArgumentParser()
    parser.add_argument("--tests", type=dict[str, HeldOut])
    return parser.instantiate_classes(
        parser.parse_object({"tests": yaml.safe_load(file.read_text())})
    ).tests


if __name__ == "__main__":
    main()
