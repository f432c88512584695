"""The command that measures every decoding system."""

import json
import sys
from pathlib import Path

import pytest
import yaml

from lit_unmask.policies import Dilated
from lit_unmask.report.comparisons import Comparison
from lit_unmask.report.statistics import Estimate

FOLDER = Path(__file__).parents[2] / "benchmarks"
sys.path.append(str(FOLDER))
import systems as command  # noqa: E402
from systems_page import seen  # noqa: E402
from systems_settings import (  # noqa: E402
    Recipe,
    Shuffled,
    adds_up,
    changed,
    choices,
    recipe_of,
    short,
)

TABLE = yaml.safe_load((FOLDER / "systems.yaml").read_text())


@pytest.fixture
def few(tmp_path):
    """Measure two systems on a few problems."""
    table = {name: dict(TABLE[name]) for name in ("threshold", "majority of four")}
    table["threshold"]["grid"] = {
        "policy.init_args.threshold, decoding.block_length": [[0.5, 8], [0.5, 64]]
    }
    table["majority of four"]["grid"] = {"decoding.block_length": [16]}
    (tmp_path / "table.yaml").write_text(yaml.safe_dump(table, sort_keys=False))
    folders = {"table": "table.yaml", "store": "store", "out": "rows.json", "page": "page.md"}
    given = [f"--{name}={tmp_path / file}" for name, file in folders.items()]

    def run():
        small = ["--test", "4", "--tuning", "2"]
        command.main(["--denoisers", "tiny-dream", "--tasks", "math", *small, *given])
        return json.loads((tmp_path / "rows.json").read_text())

    return run


def test_a_row_has_all_forwards_and_its_control_and_a_second_run_computes_nothing(
    few, tmp_path, capsys
):
    rows = few()
    assert "0 outcomes computed" not in capsys.readouterr().out
    threshold, vote = rows
    assert (threshold["system"], vote["system"]) == ("threshold", "majority of four")
    assert threshold["control"]["forwards"] == {"predictor": 64.0, "all": 64.0}
    kinds, one = vote["forwards"], vote["control"]["forwards"]
    assert kinds["all"] == pytest.approx(kinds["predictor"] + kinds["particle"])
    assert kinds["particle"] > 2 * kinds["predictor"] and set(one) == {"predictor", "all"}
    assert set(vote["compared"]) == {"threshold", "control"}
    assert vote["setting"] == {"block_length": 16}
    page = (tmp_path / "page.md").read_text()
    assert few() == rows and "0 outcomes computed, " in capsys.readouterr().out
    assert (tmp_path / "page.md").read_text() == page
    assert "majority of four | block_length 16 |" in page and (tmp_path / "page.png").is_file()


@pytest.mark.parametrize("name", TABLE)
def test_every_system_says_what_can_be_measured(name):
    system = TABLE[name]
    claim = system["claim"]
    assert claim["expects"] in ("more", "no_more", "cheaper") and claim["text"].endswith(".")
    assert claim["against"] == "control" or TABLE[claim["against"]].get("reference")
    tuned = changed(system["setting"], choices(system["grid"])[0])
    # What needs a folder that nobody ships is made by nobody here.
    folder = system.get("folder", ".")
    if folder == "." or (FOLDER.parent / folder).is_dir():
        for said in (tuned, changed(tuned, system["control"]["changes"])):
            assert isinstance(recipe_of(said)[0], Recipe)


def test_a_choice_changes_what_stands_at_its_keys():
    said = {"a": {"b": 1, "c": 2}, "d": 3}
    assert changed(said, {"a.b": None, "a.e.f, d": [4, 5]}) == {
        "a": {"c": 2, "e": {"f": 4}},
        "d": 5,
    }
    assert said == {"a": {"b": 1, "c": 2}, "d": 3}
    assert choices({"x, a.y": [[1, 2]], "z": [3, 4]}) == [
        {"x, a.y": [1, 2], "z": 3},
        {"x, a.y": [1, 2], "z": 4},
    ]
    assert short({"x, a.y": [1, 2], "c.z": 3}) == {"x": 1, "y": 2, "z": 3}


def test_shuffled_rounds_have_the_counts_of_dilated_ones_in_another_order():
    dilated, other = Dilated(block_length=32), Shuffled(block_length=32)
    assert other.rounds.bincount().tolist() == dilated.rounds.bincount().tolist()
    assert other.rounds.tolist() != dilated.rounds.tolist()


def test_a_reward_counts_steps_that_follow():
    assert adds_up("so fig +1 giving 4 . then tea +2 making 6 . and kiwi +4 thus 9 .") == 0.5
    assert adds_up("drop = x - 2 ; 24 ; lift = 1 + drop ; 25 ; cut = lift - 6 ; 19 ;") == 1.0
    assert adds_up("nothing at all") == 0.0


def comparison(gain, saved, p=0.5):
    return Comparison(None, None, (), "", p, p, Estimate(*gain), Estimate(*saved))


@pytest.mark.parametrize(
    ("expects", "gain", "saved", "p", "answer"),
    [
        ("more", (0.1, 0.02, 0.2), (0, 0, 0), 0.01, "yes"),
        ("more", (0.1, 0.02, 0.2), (0, 0, 0), 0.08, "unclear"),
        ("more", (0.0, -0.1, 0.04), (0, 0, 0), 1.0, "no"),
        ("no_more", (0.0, -0.1, 0.04), (0, 0, 0), 1.0, "yes"),
        ("no_more", (0.1, 0.02, 0.2), (0, 0, 0), 0.01, "no"),
        ("no_more", (0.0, -0.1, 0.06), (0, 0, 0), 1.0, "unclear"),
        ("cheaper", (0.0, -0.04, 0.04), (0.5, 0.4, 0.6), 1.0, "yes"),
        ("cheaper", (0.0, -0.06, 0.04), (0.5, 0.4, 0.6), 1.0, "unclear"),
        ("cheaper", (0.0, -0.04, 0.04), (-0.5, -0.6, -0.4), 1.0, "no"),
        ("cheaper", (-0.2, -0.3, -0.1), (0.5, 0.4, 0.6), 0.01, "no"),
    ],
)
def test_a_claim_is_seen_or_refuted_only_where_the_test_can_tell(expects, gain, saved, p, answer):
    assert seen(expects, comparison(gain, saved, p)) == answer
