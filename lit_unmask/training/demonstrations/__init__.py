"""Trajectories of a policy on disk, for other policies to imitate."""

from lit_unmask.training.demonstrations.data import ImitationData
from lit_unmask.training.demonstrations.reading import DemonstrationStore
from lit_unmask.training.demonstrations.recipe import Recipe
from lit_unmask.training.demonstrations.recording import Demonstrated, Demonstrator, demonstrate
from lit_unmask.training.demonstrations.shards import DemonstrationWriter
