"""What the check runs on, and whether that is enough.

``python -m gpu.machine DEVICE`` prints what torch says as JSON: in a process of its own, as one
that has asked a GPU keeps some of its memory.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

GB = 10**9
PACKAGES = ("torch", "lightning", "transformers", "jsonargparse", "omegaconf",
            "latex2sympy2_extended", "pytest", "hypothesis", "lit_unmask")  # fmt: skip
# The weights of 8 billion parameters in bfloat16, some rows and their logits.
LEAST_MEMORY = {"8b": 22 * GB, "tiny": GB}
# LLaDA's checkpoint; where Dream's has no room beside it, its part fails alone.
LEAST_DISK = {"8b": 17 * GB, "tiny": GB}
BOTH = 32 * GB
SHARED_MEMORY = Path("/dev/shm")


class Unfit(Exception):
    """A sentence about why the check cannot run here."""


def check_packages() -> None:
    """Refuse to run without a package.

    Raises:
        Unfit: If one is missing.
    """
    if lacking := [name for name in PACKAGES if find_spec(name) is None]:
        raise Unfit(
            f"{', '.join(lacking)} cannot be imported by {sys.executable}, and the check needs "
            f"{'it' if len(lacking) == 1 else 'them'}; install '.[dev]', or without a network "
            "take the folder of `make gpu-pack` along and run "
            "`python3 benchmarks/gpu/pack.py install`"
        )


def describe(device: str) -> dict[str, Any]:
    """Return what a process of its own finds out, see :func:`main`."""
    command = [sys.executable, "-m", "gpu.machine", device]
    path = {"PYTHONPATH": str(Path(__file__).parents[1])}
    run = subprocess.run(command, capture_output=True, text=True, env=os.environ | path)
    if run.returncode:
        last = (run.stderr.strip().splitlines() or ["no message"])[-1]
        raise Unfit(
            f"torch cannot be asked about device={device} ({last}); repair its installation"
        )
    return json.loads(run.stdout.splitlines()[-1])


def check_device(found: dict[str, Any], device: str, size: str) -> None:
    """Refuse a device that is not there or too small.

    Raises:
        Unfit: If it is.
    """
    if device == "cuda" and not found["cuda"]:
        raise Unfit(
            f"device=cuda needs a GPU, and torch {found['torch']} sees none; run this on a machine "
            "with one, or rehearse with --device cpu --size tiny"
        )
    if device == "cuda" and found["free"] < LEAST_MEMORY[size]:
        raise Unfit(
            f"{found['name']} has {found['free'] / GB:.1f} GB of memory free and size={size} needs "
            f"{LEAST_MEMORY[size] / GB:.0f}; end what else runs on it, or take --size tiny"
        )


def check_disk(folder: Path, size: str) -> None:
    """Refuse a scratch folder on a disk that is too full.

    Raises:
        Unfit: If it is.
    """
    free, least = shutil.disk_usage(folder).free, LEAST_DISK[size]
    if free < least:
        raise Unfit(
            f"scratch={folder} has {free / GB:.1f} GB free and size={size} needs {least / GB:.0f}; "
            "choose another folder with --scratch"
        )


def scratch_parent(size: str) -> Path:
    """Return where checkpoints go unless somebody says: into memory, if there is plenty."""
    # Twice: a loader reads weights into memory once more.
    roomy = SHARED_MEMORY.is_dir() and shutil.disk_usage(SHARED_MEMORY).free >= 2 * BOTH - GB
    return SHARED_MEMORY if size == "8b" and roomy else Path(tempfile.gettempdir())


def main() -> None:
    """Print name, free memory and versions as JSON."""
    import torch
    import transformers

    cuda = sys.argv[1] == "cuda" and torch.cuda.is_available()
    found = {
        "cuda": cuda,
        "torch": torch.__version__,
        "name": f"CPU ({platform.machine()})",
        "cores": os.cpu_count(),
        "software": f"torch {torch.__version__}, transformers {transformers.__version__}, "
        f"Python {platform.python_version()}",
    }
    if cuda:
        properties = torch.cuda.get_device_properties(0)
        free, total = torch.cuda.mem_get_info(0)
        found |= {"name": properties.name, "free": free, "memory": total}
        found["capability"] = f"{properties.major}.{properties.minor}"
    print(json.dumps(found))


if __name__ == "__main__":
    main()
