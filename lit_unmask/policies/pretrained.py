"""The methods by which users of the Hugging Face hub load, save and share models."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from lit_unmask.errors import ConfigurationError


class Pretrained:
    """Gives a policy ``from_pretrained``, ``save_pretrained`` and ``push_to_hub``.

    They are ``lit_unmask.load_policy``, ``save_policy`` and ``share_policy`` under other names: the
    same files, the same checks. Those lie above policies, which do not know how they are stored; so
    they are looked up by their public names when a method is called. The mixins of huggingface_hub
    are not used: they load the hub's client with every import, and keep arguments as plain JSON,
    while a policy is made of a network and a head.

    Attributes:
        origin: What the files said that it was loaded from, for those that it is saved to.
    """

    origin: object | None = None

    @classmethod
    def from_pretrained(cls, path: str | Path, revision: str | None = None) -> Self:
        """Load a policy of this class, on the CPU and in evaluation mode.

        Args:
            path: A folder of a saved policy, a checkpoint of ``lit-unmask fit``, or a hub id such
                as ``user/name``, in this order.
            revision: Commit, tag or branch on the hub; None for folders and checkpoints.

        Raises:
            FileNotFoundError: If there is no such folder or checkpoint, or the hub has no answer.
            ConfigurationError: If what is there is no policy, or one of another class.
        """
        from lit_unmask import load_policy

        policy = load_policy(path, revision, classes=(cls,))
        if not isinstance(policy, cls):
            raise ConfigurationError(
                f"{path} holds a {type(policy).__name__} and not a {cls.__name__}; load it with "
                "lit_unmask.load_policy, which takes any policy"
            )
        return policy

    def save_pretrained(self, folder: str | Path) -> Path:
        """Write the policy into a new folder, for ``from_pretrained`` and ``load_policy``.

        Args:
            folder: Where to; it must not exist, or be empty.

        Returns:
            The folder.

        Raises:
            ConfigurationError: If the folder is in use, or the policy cannot be described.
        """
        from lit_unmask import save_policy

        return Path(save_policy(self, folder))

    def push_to_hub(self, repo: str, private: bool | None = None) -> str:
        """Upload the policy with a model card; ``lit-unmask-export`` makes one with results.

        Args:
            repo: Hub id such as ``user/name``; made if it is not there.
            private: Whether a new repository is private; None leaves it to the account's settings.

        Returns:
            Address of the upload.

        Raises:
            ConfigurationError: If the policy cannot be described.
            ConnectionError: If the hub does not take it.
        """
        from lit_unmask import share_policy

        return str(share_policy(self, repo, private))
