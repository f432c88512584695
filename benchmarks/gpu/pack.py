"""Packages for a GPU machine without a network: fetched where there is one, installed there.

    python benchmarks/gpu/pack.py fetch                 # make gpu-pack
    python3 benchmarks/gpu/pack.py install              # on the machine, with its own torch

``fetch`` puts the wheels that such a machine lacks into ``.gpu/``. It is taken to have torch,
Lightning, transformers and their needs, for CPython 3.12 on Linux. ``install`` makes the virtual
environment ``.venv-gpu/`` that sees the machine's packages and holds those of ``.gpu/`` and this
project; then ``.venv-gpu/bin/python benchmarks/gpu_check.py`` runs there. Needs nothing but Python.
"""

from __future__ import annotations

import argparse
import re
import site
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]
WHEELS, ENVIRONMENT = ROOT / ".gpu", ROOT / ".venv-gpu"
NEEDED = (
    *("jsonargparse", "typeshed-client", "docstring-parser"),
    *("omegaconf", "antlr4-python3-runtime", "latex2sympy2-extended"),
)
BUILD = "setuptools>=77,<82"  # of pyproject.toml, and what torch allows
EIGHT_BIT = "torchao"
"""In a folder of its own, as transformers would load it in every run."""
PYTHON = "3.12"
PLATFORMS = [f"manylinux_2_{glibc}_x86_64" for glibc in (17, 24, 27, 28)] + ["manylinux2014_x86_64"]
MOST_BYTES = 40 * 2**20


class PackError(Exception):
    """A sentence about what is missing."""


def canonical(name: str) -> str:
    """Return a distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned(constraints: str, names: tuple[str, ...] = (*NEEDED, EIGHT_BIT)) -> list[str]:
    """Return ``name==version`` for each name, from the text of ``constraints.txt``.

    Raises:
        PackError: If a name is not there.
    """
    pins = dict(line.split("==") for line in constraints.split() if "==" in line)
    versions = {canonical(name): version for name, version in pins.items()}
    for name in names:
        if name not in versions:
            raise PackError(f"constraints.txt has no version of {name}; add the one to be tested")
    return [f"{name}=={versions[name]}" for name in names]


def fetch(folder: Path) -> list[Path]:
    """Download all wheels; returns them.

    Raises:
        PackError: If one is missing, or all are too large to be carried.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.whl"):
        old.unlink()
    for requirement in (*pinned((ROOT / "constraints.txt").read_text()), BUILD):
        if not (_download(requirement, folder) or _build(requirement, folder)):
            raise PackError(
                f"{requirement} has no wheel for CPython {PYTHON} on Linux and none can be built "
                "from its source; change its version in constraints.txt"
            )
    wheels = sorted(folder.glob("*.whl"))
    size = sum(wheel.stat().st_size for wheel in wheels)
    if size > MOST_BYTES:
        raise PackError(
            f"{folder} holds {size / 2**20:.0f} MiB, more than {MOST_BYTES / 2**20:.0f}; leave "
            f"{EIGHT_BIT} out"
        )
    return wheels


def _download(requirement: str, folder: Path) -> bool:
    platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
    asked = ["--python-version", PYTHON, "--implementation", "cp", *platforms]
    return _pip("download", "--no-deps", "--only-binary=:all:", *asked, "-d", folder, requirement)


def _build(requirement: str, folder: Path) -> bool:
    """Build a wheel of a pure package that comes as source alone."""
    before = set(folder.glob("*.whl"))
    if not _pip("wheel", "--no-deps", "--no-binary=:all:", "-w", folder, requirement):
        return False
    return all(wheel.stem.endswith("none-any") for wheel in set(folder.glob("*.whl")) - before)


def _pip(*arguments: object, python: Path | None = None) -> bool:
    """Run pip, another Python's if one is given; returns whether that went well."""
    chosen = [] if python is None else ["--python", python]
    command = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", *chosen]
    return subprocess.run([str(word) for word in (*command, *arguments)]).returncode == 0


def missing(folder: Path) -> list[str]:
    """Return the names of which a folder holds no wheel."""
    there = {canonical(wheel.name.split("-")[0]) for wheel in folder.glob("*.whl")}
    return [name for name in (*NEEDED, "setuptools") if name not in there]


def install(folder: Path, environment: Path) -> Path:
    """Make the environment; returns its Python.

    Raises:
        PackError: If a wheel is missing, or pip fails.
    """
    if lacking := missing(folder):
        raise PackError(
            f"{folder} has no wheel of {', '.join(lacking)}; run make gpu-pack where there is a "
            "network and take the folder along"
        )
    # Not every Python has ensurepip; the pip that runs this one serves the other too.
    venv.EnvBuilder(system_site_packages=True, with_pip=False, clear=True).create(environment)
    python = environment / "bin" / "python"
    variables = {"base": str(environment), "platbase": str(environment)}
    packages = Path(sysconfig.get_path("purelib", "venv", variables))
    # Where this Python is itself one of a virtual environment, the new one would not see it.
    lines = [f"import site; site.addsitedir({place!r})\n" for place in site.getsitepackages()]
    (packages / "machine.pth").write_text("".join(lines))
    offline = ("install", "--no-index", "--no-deps")
    wheels = [wheel for wheel in folder.glob("*.whl") if not wheel.name.startswith(EIGHT_BIT)]
    good = (
        _pip(*offline, *wheels, python=python)
        and _pip(*offline, "--no-build-isolation", "-e", ROOT, python=python)
        and all(
            _pip(*offline, "--target", environment / EIGHT_BIT, wheel)
            for wheel in folder.glob(f"{EIGHT_BIT}-*.whl")
        )
    )
    if not good:
        raise PackError(f"pip could not install {folder} into {environment}; see above")
    return python


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["fetch", "install"])
    parser.add_argument("--wheels", type=Path, default=WHEELS)
    parser.add_argument("--environment", type=Path, default=ENVIRONMENT)
    options = parser.parse_args()
    try:
        if options.what == "fetch":
            wheels = fetch(options.wheels)
            size = sum(wheel.stat().st_size for wheel in wheels) / 2**20
            print(f"{len(wheels)} wheels, {size:.1f} MiB, in {options.wheels}")
        else:
            python = install(options.wheels, options.environment)
            print(f"{python} benchmarks/gpu_check.py runs the check")
    except PackError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
