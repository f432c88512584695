"""Policies as folders and on the hub. Nothing here loads Lightning or transformers."""

from lit_unmask import lazily
from lit_unmask.sharing.description import TrainedWith
from lit_unmask.sharing.hub import push_to_hub
from lit_unmask.sharing.loading import load_policy, with_speed
from lit_unmask.sharing.saved import SavedPolicy, read_saved, save_policy

# The card loads the hub's client.
__getattr__ = lazily(__name__, {"share_policy": "card"})
