"""Policies as folders and on the hub. Nothing here loads Lightning or transformers."""

from lit_unmask.sharing.hub import push_to_hub
from lit_unmask.sharing.pacing import with_speed
from lit_unmask.sharing.pretrained import share_policy
from lit_unmask.sharing.saved import SavedPolicy, load_policy, read_saved, save_policy
from lit_unmask.sharing.training import TrainedWith

__all__ = [
    "SavedPolicy",
    "TrainedWith",
    "load_policy",
    "push_to_hub",
    "read_saved",
    "save_policy",
    "share_policy",
    "with_speed",
]
