"""The decoding loop and what belongs to it."""

from lit_unmask.randomness import Noise
from lit_unmask.rollout.decoding import Approximate, Decoding
from lit_unmask.rollout.history import Start
from lit_unmask.rollout.ledger import Ledger
from lit_unmask.rollout.loop import rollout
from lit_unmask.rollout.result import Listener, Progress, Rollout
from lit_unmask.rollout.scheduling import Scheduling
