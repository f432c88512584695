"""The decoding loop and what belongs to it."""

from lit_unmask.rollout.decoding import Decoding
from lit_unmask.rollout.ledger import Ledger
from lit_unmask.rollout.loop import Listener, Noise, Progress, Rollout, rollout

__all__ = ["Decoding", "Ledger", "Listener", "Noise", "Progress", "Rollout", "rollout"]
