"""What there is of a checkpoint on this machine."""

from __future__ import annotations

import re
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError

from lit_unmask.denoisers.loading.headers import read_shapes
from lit_unmask.denoisers.loading.hub import DATA_FILES, local_folder, nowhere
from lit_unmask.preflight.devices import Missing

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def find(path: str, revision: str | None) -> tuple[Path | None, Missing | None]:
    """Look for a checkpoint on this machine alone.

    Args:
        path: A folder, a bundled name or a hub id.
        revision: Commit, tag or branch on the hub.

    Returns:
        The folder, whole or in part, None if there is nothing; what is missing, if anything.

    Raises:
        FileNotFoundError: If it is neither here nor the name of a repository.
    """
    folder, remedy = local_folder(path), f"a whole checkpoint in {path}"
    if folder is None:
        if not _HUB_ID.fullmatch(path):
            raise nowhere(path)
        remedy = f"hf download {path}" + (f" --revision {revision}" if revision else "")
        patterns = list(DATA_FILES)
        try:
            folder = Path(
                snapshot_download(
                    path, revision=revision, allow_patterns=patterns, local_files_only=True
                )
            )
        except (HFValidationError, OSError):
            return None, Missing(f"weights of {path} are not in the cache", remedy)
    try:
        read_shapes(folder)  # only the beginnings of files are read
    except (OSError, ValueError) as error:
        return folder, Missing(str(error), remedy)
    return folder, None
