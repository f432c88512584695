"""Results stores, demonstrations, and lit-unmask-report"""

import sqlite3
from pathlib import Path

from mistakes.workshop import Change, cut, mistake, stored, text

from lit_unmask.evaluation.store import FILE

FRONTIER = "test + --trainer.callbacks+=lit_unmask.callbacks.Frontier --trainer.callbacks.grids={} --trainer.callbacks.folder=store --data.tuning='{coins: {class_path: toys.Coins, init_args: {split: tuning, size: 4}}}'"
IMITATE = "fit + --data=lit_unmask.training.demonstrations.ImitationData --data.store=shown --data.batch_size=1"
RECORD = "predict + --trainer.callbacks+=lit_unmask.callbacks.Demonstrate --trainer.callbacks.folder=shown"


def sql(statement: str, start: Change = stored) -> Change:
    """Return the change that a statement makes to a results store."""

    def change(folder: Path) -> None:
        start(folder)
        db = sqlite3.connect(folder / "store" / FILE)
        with db:
            db.execute(statement)
        db.close()

    return change


def nothing(folder: Path) -> None:
    """Make the folder of a store without a store."""
    (folder / "store").mkdir()


# fmt: off
MISTAKES = [
    mistake("a store that is a file", FRONTIER, text("store", "x")),
    mistake("a store under a file", FRONTIER.replace("=store", "=base.yaml/store")),
    mistake("a store's database that is a folder", FRONTIER, lambda f: (f / "store" / FILE).mkdir(parents=True)),
    mistake("a store's database of another program", FRONTIER, sql("CREATE TABLE a (b TEXT)", nothing)),
    mistake("a store's database that is a text", FRONTIER, text(f"store/{FILE}", "x" * 5000)),
    mistake("no store to report", "lit-unmask-report store"),
    mistake("a store to report that is a file", "lit-unmask-report base.yaml"),
    mistake("a store to report that is empty", "lit-unmask-report denoiser"),
    mistake("no store at all", "lit-unmask-report"),
    mistake("a store cut off", "lit-unmask-report store", stored, cut(f"store/{FILE}", 5000)),
    mistake("a store of another version", "lit-unmask-report store", sql("PRAGMA user_version = 99") ),
    mistake("a store without its table", "lit-unmask-report store", sql("DROP TABLE outcomes")),
    mistake("a store with a verdict of 2", "lit-unmask-report store", sql("UPDATE outcomes SET correct = 2")),
    mistake("a store with forwards that are a list", "lit-unmask-report store", sql("UPDATE outcomes SET nfe_by_kind = '[1]'")),
    mistake("a store with half a forward", "lit-unmask-report store", sql("UPDATE outcomes SET nfe = 1.5")),
    mistake("a store with a run of nothing", "lit-unmask-report store", sql("UPDATE runs SET fields = '{}'")),
    mistake("a store with a run nested too deeply", "lit-unmask-report store", sql("UPDATE runs SET fields = '" + "[" * 100000 + "'")),
    mistake("a store with a run of other fields", "lit-unmask-report store", sql("UPDATE runs SET fields = replace(fields, 'f00d', 'beef')")),
    mistake("a store with a name in bytes", "lit-unmask-report store", sql("UPDATE outcomes SET uid = x'ff00'")),
    mistake("a store whose policy has escape codes for a name", "lit-unmask-report store", sql("""UPDATE runs SET fields = replace(fields, '"name":"threshold"', '"name":"\\u001b[31m"')""")),
    mistake("a report of no resamples", "lit-unmask-report store --resamples 0", stored),
    mistake("a report with a negative seed", "lit-unmask-report store --seed -1", stored),
    mistake("a report of an unknown policy", "lit-unmask-report store --subject nobody", stored),
    mistake("a report into a file", "lit-unmask-report store --out base.yaml", stored),
    mistake("a report over somebody's page", "lit-unmask-report store --out denoiser", stored, text("denoiser/report.md", "mine")),
    mistake("a report over somebody's table", "lit-unmask-report store --out denoiser", stored, text("denoiser/results.csv", "mine")),
    mistake("cells that are no JSON", "lit-unmask-report store", stored, text("store/cells.json", "{") ),
    mistake("cells nested too deeply", "lit-unmask-report store", stored, text("store/cells.json", "[" * 100000)),
    mistake("no demonstrations", IMITATE),
    mistake("demonstrations that are a file", IMITATE, text("shown", "x")),
    mistake("a recipe cut off", IMITATE, text("shown/recipe.json", "{")),
    mistake("a recipe nested too deeply", IMITATE, text("shown/recipe.json", "[" * 100000)),
    mistake("a recipe of another version", IMITATE, text("shown/recipe.json", '{"version": 99}')),
    mistake("recording into a file", RECORD, text("shown", "x")),
    mistake("recording over a damaged recipe", RECORD, text("shown/recipe.json", "{")),
    mistake("a report of more resamples than memory", "lit-unmask-report store --resamples 1000000000000", stored),
]
