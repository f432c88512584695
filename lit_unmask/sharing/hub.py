"""Policies to and from the Hugging Face hub: configs, safetensors and cards, never code."""

from __future__ import annotations

from pathlib import Path

from lit_unmask.errors import ConfigurationError
from lit_unmask.files import SUMS

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
CARD = "README.md"
TRAINING = "training.yaml"


def download(repo: str, revision: str | None = None) -> Path:
    """Return a local folder with the config and the weights of a policy on the hub.

    Files that are in the hub's local cache are not fetched again; with ``HF_HUB_OFFLINE=1`` the
    cache is all that is used.

    Args:
        repo: Hub id such as ``user/name``.
        revision: Commit, tag or branch.

    Raises:
        FileNotFoundError: If it is no hub id, or the hub has no answer.
    """
    if repo.count("/") != 1 or repo.startswith(("/", ".", "~")):
        raise FileNotFoundError(
            f"{repo!r} must be a policy's folder, a checkpoint, or a hub id such as 'user/name'"
        )
    # Only now, as it takes a third of a second.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        patterns = [CONFIG, WEIGHTS, SUMS]
        return Path(snapshot_download(repo, revision=revision, allow_patterns=patterns))
    except (HFValidationError, OSError) as error:  # hub and network errors are OSErrors
        raise FileNotFoundError(
            f"cannot get policy {repo!r}, revision={revision!r} from the hub "
            f"({_reason(error)}); check both names and the network, or give a "
            "folder"
        ) from error


def check_repository(repo: str) -> None:
    """Check the name of a repository, without a network.

    Raises:
        ConfigurationError: If none can have it.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise ConfigurationError(f"push={repo!r} must be a hub id such as 'user/name'") from error


def push_to_hub(folder: str | Path, repo: str, private: bool | None = None) -> str:
    """Upload a saved policy to the hub; the repository is made if there is none.

    Config, weights, their digests, model card and training configuration are uploaded, nothing
    else. The last has the paths of the machine that it was used on: read it first. Log in with
    ``hf auth login``.

    Args:
        folder: What :func:`save_policy` or ``lit-unmask-export`` wrote.
        repo: Hub id such as ``user/name``.
        private: Whether a new repository is private; None leaves it to the account's settings.

    Returns:
        Address of the upload.

    Raises:
        ConfigurationError: If the folder holds no saved policy.
        ConnectionError: If the hub does not take it.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError, HTTPError  # of httpx, or of httpx2

    missing = [name for name in (CONFIG, WEIGHTS) if not (Path(folder) / name).is_file()]
    if missing:
        raise ConfigurationError(f"{folder} has no {missing[0]}; write it with save_policy first")
    api = HfApi(library_name="lit_unmask")
    try:
        api.create_repo(repo, private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo,
            folder_path=folder,
            allow_patterns=[CONFIG, WEIGHTS, SUMS, CARD, TRAINING],
            commit_message="Upload an unmasking policy",
        )
    except (HFValidationError, OSError, HTTPError) as error:
        raise ConnectionError(
            f"cannot upload {folder} to {repo!r} ({_reason(error)}); check the "
            "name, the network and `hf auth login`"
        ) from error
    return str(commit)


def _reason(error: Exception) -> str:
    """Return the first line of what the hub's library says, which goes on with advice."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
