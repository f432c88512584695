"""What the README and the guide tell a user to type works."""

import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest
import torch
from toy_rollouts import LENGTH, decode

from lit_unmask.cli import main
from lit_unmask.policies import Policy
from lit_unmask.rollout import Decoding

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *(ROOT / "docs" / f"{name}.md" for name in ("guide", "engine"))]
TEXT = "\n".join(page.read_text() for page in PAGES)


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)


COMMANDS = list(
    dict.fromkeys(
        line.partition("#")[0].strip() for block in blocks("bash") for line in block.splitlines()
    )
)
INLINE = re.findall(r"`((?:make|python) [^`]+)`", TEXT)
RUNS = [command for command in COMMANDS if command.startswith("lit-unmask ")]
SCRIPTS = [command for command in INLINE if command.startswith("python ")]
TARGETS = {c.split()[1] for c in [*COMMANDS, *INLINE] if c.startswith("make ")}


def test_there_are_commands_to_check():
    assert len(RUNS) >= 5 and len(SCRIPTS) >= 2 and {"demo", "test", "bench"} <= TARGETS


@pytest.mark.parametrize("command", RUNS)
def test_a_command_line_runs(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    words = shlex.split(command)[1:]
    if "--ckpt_path" in words:
        place = words.index("--ckpt_path")
        assert words[place + 1] == "..."
        del words[place : place + 2]
    sizes = [f"--data.init_args.{part}.math.init_args.size=2" for part in ("val", "test", "tuning")]
    small = ["--trainer.fast_dev_run=1", "--data.init_args.batch_size=1"]
    main([*words, *small, "--model.rounds.group_size=2", *sizes])


@pytest.mark.parametrize("command", SCRIPTS)
def test_a_script_has_the_options_that_are_named(command, monkeypatch, capsys):
    script, *options = shlex.split(command)[1:]
    monkeypatch.syspath_prepend(str((ROOT / script).parent))
    monkeypatch.setattr(sys, "argv", [script, "--help"])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT / script), run_name="__main__")
    said = capsys.readouterr().out
    assert end.value.code == 0 and "--help" in said
    assert all(option in said for option in options if option.startswith("--"))


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_a_make_target_exists(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)


def test_the_heuristic_of_the_readme_decodes():
    names: dict = {}
    for code in blocks("python"):
        exec(code, names)
    made = [
        thing
        for thing in names.values()
        if isinstance(thing, type) and issubclass(thing, Policy) and thing is not Policy
    ]
    assert len(made) == 1
    result = decode(made[0](), Decoding(LENGTH, LENGTH))
    assert not result.still_masked.any()
    # Half of what is left in each step: 4, 2, 1 and 1 of 8 positions.
    assert torch.equal(result.nfe, torch.full_like(result.nfe, 4))


def test_the_files_that_are_named_exist():
    named = re.findall(r"`((?:configs|docs|benchmarks)/[^`*\s]+)`", TEXT)
    # The benchmark writes its results when it is run.
    missing = [n for n in named if not (ROOT / n).exists() and "results/" not in n]
    assert named and not missing


LINKED = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", LINKED, ids=lambda page: page.stem)
def test_a_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        assert "://" in target or (page.parent / target).exists(), target
