"""Where a checkpoint is: a folder, a bundled name, or a commit of a repository on the hub."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError

BUNDLED = Path(__file__).resolve().parents[2] / "bundled"
# Data alone: what a repository holds beside these, code above all, is not even downloaded.
DATA_FILES = ("*.json", "*.safetensors", "*.jinja", "*.txt")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def is_commit(revision: str | None) -> bool:
    """Return whether a revision is a full commit, which alone never moves."""
    return revision is not None and _COMMIT.fullmatch(revision) is not None


def is_hub_id(path: str) -> bool:
    """Return whether a path may be the name of a repository."""
    return path.count("/") == 1 and not path.startswith(("/", ".", "~"))


def local_folder(path: str) -> Path | None:
    """Return the folder that a path or a bundled name stands for, or None."""
    for folder in (Path(path).expanduser(), BUNDLED / path):
        if os.path.isdir(folder):  # False for what cannot be a path, too
            return folder
    return None


def nowhere(path: str) -> FileNotFoundError:
    """Return what is said of a path that is neither here nor the name of a repository."""
    names = sorted(entry.name for entry in BUNDLED.glob("*") if entry.is_dir())
    return FileNotFoundError(
        f"path={path!r} must be a folder, a bundled name ({', '.join(names) or 'none here'}) "
        "or a hub id such as 'GSAI-ML/LLaDA-8B-Instruct'"
    )


def resolve(
    path: str, revision: str | None, files: Sequence[str] = DATA_FILES
) -> tuple[Path, str | None]:
    """Find a checkpoint: a folder, a bundled name, or a hub id, in this order.

    A hub id without a commit is read at the commit that its branch stands at; as the branch may
    move, there is a warning that names the commit.

    Args:
        path: ``"runs/denoiser"``, ``"tiny-llada"`` or ``"GSAI-ML/LLaDA-8B-Instruct"``.
        revision: Commit, tag or branch on the hub; None elsewhere.
        files: Patterns of the files to get.

    Returns:
        The local folder, and the hub commit it holds (None for a folder or a bundled name).

    Raises:
        ValueError: If a revision is given for something that is not on the hub.
        FileNotFoundError: If there is no such folder or bundled name, or the hub has no answer.
    """
    folder = local_folder(path)
    if folder is not None:
        if revision is not None:
            raise ValueError(
                f"revision={revision!r} must be None: path={path!r} is the folder {folder}, "
                "and only checkpoints on the hub have revisions"
            )
        return folder, None
    if not is_hub_id(path):
        raise nowhere(path)
    try:
        folder = Path(snapshot_download(path, revision=revision, allow_patterns=list(files)))
    except (HFValidationError, OSError) as error:  # hub and network errors are OSErrors
        raise FileNotFoundError(
            f"cannot get path={path!r}, revision={revision!r} from the hub "
            f"({type(error).__name__}: {error}); check both names and the network, or download it "
            "elsewhere and give its folder"
        ) from error
    commit = folder.name
    if not is_commit(revision):
        warnings.warn(
            f"path={path!r}: revision={revision or 'main'} may move; this run reads commit "
            f"{commit}. Set revision: {commit} to keep it",
            stacklevel=2,
        )
    return folder, commit
