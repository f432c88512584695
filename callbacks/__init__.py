"""Lightning callbacks of lit_unmask; imported as ``lit_unmask.callbacks``."""

from lit_unmask.callbacks.accuracy_nfe import AccuracyNFE, Baseline
from lit_unmask.callbacks.completions import Completions, PredictionWriter
from lit_unmask.callbacks.demonstrate import Demonstrate
from lit_unmask.callbacks.frontier import Frontier, FrontierOptions
from lit_unmask.callbacks.inspection import Inspection
from lit_unmask.callbacks.interruption import Interruption
from lit_unmask.callbacks.layout import ScalarLayout
from lit_unmask.callbacks.progress import RolloutProgressBar
from lit_unmask.callbacks.speed_sweep import SpeedSweep
from lit_unmask.callbacks.trajectories import Trajectories, TrajectoryText
from lit_unmask.callbacks.transfer import TransferOptions, TransferTest
from lit_unmask.callbacks.transfer_cell import Cell
from lit_unmask.callbacks.unmasking_stats import UnmaskingStats
from lit_unmask.callbacks.warm_start import Teaching, WarmStart
