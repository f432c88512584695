"""Hub ids: which commit is read, and that it is said."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import pytest

from lit_unmask.denoisers import LLaDA
from lit_unmask.denoisers.loading.hub import is_commit, resolve
from tests.denoisers.conftest import Writer

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAME = "someone/tiny"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_checkpoint: Writer) -> Path:
    """A hub cache that holds one commit of one model, without a network."""
    home = tmp_path / "models--someone--tiny"
    shutil.copytree(write_checkpoint(LLaDA), home / "snapshots" / COMMIT)
    (home / "refs").mkdir()
    for name in ("main", "v1"):
        (home / "refs" / name).write_text(COMMIT)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path


def test_a_pinned_commit_is_read_without_a_warning(cache: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        denoiser = LLaDA(NAME, revision=COMMIT)
    assert denoiser.identity["path"] == NAME and denoiser.identity["revision"] == COMMIT


@pytest.mark.parametrize("revision", [None, "main", "v1"])
def test_a_revision_that_may_move_is_read_with_a_warning_that_names_the_commit(
    cache: Path, revision: str | None
) -> None:
    said = f"revision={revision or 'main'} may move; this run reads commit {COMMIT}"
    with pytest.warns(UserWarning, match=said):
        assert resolve(NAME, revision) == (
            cache / "models--someone--tiny/snapshots" / COMMIT,
            COMMIT,
        )


def test_a_commit_that_is_not_there_is_explained(cache: Path) -> None:
    with pytest.raises(FileNotFoundError, match=f"revision='{COMMIT[::-1]}' from the hub"):
        resolve(NAME, COMMIT[::-1])


@pytest.mark.parametrize("revision", [None, "main", COMMIT[:7], COMMIT.upper()])
def test_only_all_forty_digits_are_a_commit(revision: str | None) -> None:
    assert not is_commit(revision) and is_commit(COMMIT)
