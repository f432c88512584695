"""A policy put on the hub in one step."""

from __future__ import annotations

import tempfile
from pathlib import Path

from lit_unmask.policies import Policy
from lit_unmask.sharing.description import describe
from lit_unmask.sharing.hub import CARD, push_to_hub
from lit_unmask.sharing.origin import recalled
from lit_unmask.sharing.saved import SavedPolicy, save_policy


def share_policy(policy: Policy, repo: str, private: bool | None = None) -> str:
    """Upload a policy to the hub, with a model card that says what is known without results.

    A card with measurements, and the configuration of the training run, come with
    ``lit-unmask-export``.

    Args:
        policy: Learned policy or heuristic.
        repo: Hub id such as ``user/name``; made if it is not there.
        private: Whether a new repository is private; None leaves it to the account's settings.

    Returns:
        Address of the upload.

    Raises:
        ConfigurationError: If the policy cannot be described.
        ConnectionError: If the hub does not take it.
    """
    from lit_unmask.sharing.card import model_card  # loads the hub's client

    trained_with, kinds = recalled(policy), [type(part) for part in policy.modules()]
    saved = SavedPolicy(Path(repo), describe(policy), trained_with, dict(policy.state_dict()))
    with tempfile.TemporaryDirectory() as folder:
        documents = {CARD: model_card(saved, repo, classes=kinds)}
        return push_to_hub(
            save_policy(policy, Path(folder) / "policy", trained_with, documents), repo, private
        )
