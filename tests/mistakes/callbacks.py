"""Callbacks, experts and teaching"""

from pathlib import Path

import torch
from mistakes.workshop import mistake, text

ADD = "+ --trainer.callbacks+=lit_unmask.callbacks."
OWN = "--trainer.callbacks."
FRONTIER = f"test {ADD}Frontier {OWN}folder=store {OWN}grids="
COINS = "{class_path: toys.Coins, init_args: {split: test, size: 3}}"
GRID = "{policy: lit_unmask.policies.LowConfidence, values: [2], block_lengths: [4]}"
THRESHOLD = "{class_path: lit_unmask.policies.ConfidenceThreshold}"
NETWORK = "{class_path: lit_unmask.policies.ConfidenceTransformer, init_args: {speed: true}}"
ASKS = f"{{class_path: lit_unmask.policies.LearnedPolicy, init_args: {{network: {NETWORK}}}}}"
CLOSEST = """
trainer:
  callbacks:
    class_path: lit_unmask.callbacks.Frontier
    init_args: {grids: {}, folder: store, options: {tested: closest, policy_name: null}}
"""
FULL = "--model.decoding.block_length=8"


def cell(settings: str = "", grids: str = f"{{k: {GRID}}}") -> str:
    """Return the command line of a transfer to one cell."""
    made = f"{{far: {{tuning: {COINS}, test: {COINS}{settings}}}}}"
    return f"test {ADD}TransferTest {OWN}folder=moved {OWN}cells='{made}' {OWN}grids='{grids}'"


def warm(block_length: int, further: str = "") -> str:
    """Return the command line of a warm start."""
    return f"fit {ADD}WarmStart {OWN}expert='{THRESHOLD}' {OWN}block_length={block_length}{further}"


def taught(block_length: int = 4, further: str = "") -> str:
    """Return the command line of teaching from finished answers."""
    expert = f"{{policy: {THRESHOLD}, block_length: {block_length}}}"
    return f"fit + --model.teaching.expert='{expert}'{further}"


def other(folder: Path) -> None:
    """Write a checkpoint of another policy."""
    torch.save({"state_dict": {"policy.network.other": torch.zeros(1)}}, folder / "x.ckpt")


# fmt: off
MISTAKES = [
    mistake("a frontier without seeds", f"{FRONTIER}{{}} {OWN}options.seeds=[]"),
    mistake("a frontier in chunks of nothing", f"{FRONTIER}{{}} {OWN}options.chunk=0"),
    mistake("a frontier of blocks that do not divide the length", f"{FRONTIER}'{{k: {GRID.replace('[4]', '[3]')}}}'"),
    mistake("a frontier at a threshold above 1", f"{FRONTIER}{{}} {OWN}options.thresholds=[1.5]"),
    mistake("a frontier with two policies of a name", f"{FRONTIER}'{{policy: {GRID}}}'"),
    mistake("a frontier closest to nobody", "test + --config top.yaml", text("top.yaml", CLOSEST)),
    mistake("a frontier of a checkpoint that is missing", f"{FRONTIER}{{}} {OWN}checkpoints='{{b: x.ckpt}}'"),
    mistake("a frontier of a checkpoint of another policy", f"{FRONTIER}{{}} {OWN}checkpoints='{{b: x.ckpt}}'", other),
    mistake("a frontier without sets to tune on", f"{FRONTIER}{{}} --data.tuning={{}}"),
    mistake("a frontier with results under a file", f"{FRONTIER}{{}} {OWN}options.results=base.yaml/out"),
    mistake("a transfer to nowhere", f"test {ADD}TransferTest {OWN}cells={{}} {OWN}grids={{}}"),
    mistake("a transfer every -1 validations", f"fit {ADD}TransferTest {OWN}cells={{}} {OWN}grids={{}} {OWN}options.every_n_validations=-1"),
    mistake("a transfer without heuristics", cell(grids="{}")),
    mistake("a transfer of blocks that do not divide the length", cell(", block_length: 3")),
    mistake("a transfer beyond the denoiser's length", cell(", gen_length: 124")),
    mistake("a transfer to words that are unknown", cell().replace("toys.Coins", "lit_unmask.tasks.Sudoku4x4", 1)),
    mistake("a transfer into a file", cell(), text("moved", "x")),
    mistake("an inspection without TensorBoard", f"fit {ADD}Inspection"),
    mistake("an inspection with another logger", f"fit {ADD}Inspection --trainer.logger=lightning.pytorch.loggers.CSVLogger --trainer.logger.save_dir=out"),
    mistake("an inspection of blocks that do not divide the length", f"validate {ADD}Inspection {OWN}baselines='{{low: {{policy: {THRESHOLD}, block_length: 3}}}}'"),
    mistake("a baseline of blocks that do not divide the length", f"fit {ADD}AccuracyNFE {OWN}baselines='{{low: {{policy: {THRESHOLD}, block_length: 3}}}}'"),
    mistake("a baseline without the speed that it needs", f"fit {ADD}AccuracyNFE {OWN}baselines='{{low: {{policy: {ASKS}}}}}'"),
    mistake("a warm start from blocks that do not divide", warm(3)),
    mistake("a warm start from blocks of nothing", warm(0)),
    mistake("a warm start of a policy that counts", warm(4, " --model.policy.head=lit_unmask.policies.CountHead")),
    mistake("an expert of blocks of nothing", f"fit + {FULL} --model.experts='{{low: {{policy: {THRESHOLD}, block_length: 0}}}}'"),
    mistake("teaching by blocks that do not divide", taught(3)),
    mistake("teaching a policy that counts", taught(further=" --model.policy.head=lit_unmask.policies.CountHead")),
    mistake("teaching at a temperature", taught(further=" --model.decoding.temperature=1")),
    mistake("teaching into a file", taught(further=" --model.teaching.folder=base.yaml")),
    mistake("teaching into demonstrations", taught(further=" --model.teaching.folder=shown"), text("shown/recipe.json", "{")),
    mistake("teaching from demonstrations", taught(further=" --data=lit_unmask.training.demonstrations.ImitationData --data.store=shown --data.batch_size=1")),
    mistake("recording a speed", f"predict {ADD}Demonstrate {OWN}folder=shown {OWN}signals.names=[speed]"),
    mistake("speeds that fall", f"fit {ADD}SpeedSweep {OWN}speeds=[2,1]"),
    mistake("speeds of a policy without one", f"fit {ADD}SpeedSweep {OWN}speeds=[2]"),
    mistake("a page with a baseline called as the policy is", f"predict {ADD}Trajectories {OWN}path=page.html {OWN}baselines='{{policy: {{policy: {THRESHOLD}}}}}'"),
    mistake("predictions into a file that is there", f"predict {ADD}PredictionWriter {OWN}path=base.yaml"),
]
