from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import pytest
from toys import Coins, make_data, make_module

from lit_unmask.denoisers import LLaDA
from lit_unmask.errors import ConfigurationError
from lit_unmask.preflight import problems as module
from lit_unmask.preflight.assumptions import Assumptions
from lit_unmask.preflight.checks import problems_of
from lit_unmask.preflight.dry_run import Request
from lit_unmask.preflight.problems import (
    missing_problems,
    prompts_of,
    size_of,
)
from lit_unmask.preflight.spec import Spec
from lit_unmask.tasks import (
    GSM8K,
    MATH,
    MATH500,
    MBPP,
    CodeDataModule,
    HumanEval,
    KodCode,
    MathDataModule,
    Mixture,
    TaskDataModule,
)
from lit_unmask.tasks.rows import HubDataset
from lit_unmask.verifiers import ProgramVerifier
from lit_unmask.verifiers.sandbox import Sandbox, Unsafe, detection, strongest


class Unknown(GSM8K):
    """A dataset of a user, of which no size is noted."""

    source = HubDataset("somebody/problems", "main")


ROWS = Path(__file__).parents[1] / "fixtures" / "tasks"
SIZES = {
    "all": (GSM8K("test"), 1319),
    "a share": (GSM8K("train"), 7473 * 94 // 100),
    "some": (GSM8K("validation", size=96), 96),
    "more than there are": (MATH500(size=10_000), 500),
    "a fifth": (MBPP("tuning"), 374 * 20 // 100),
    "a mixture": (Mixture({"a": GSM8K("train"), "b": MATH("train")}), 7024 + 7050),
    "a weighted mixture": (Mixture({"a": GSM8K("test"), "b": MATH500()}, {"a": 1, "b": 1}), 1000),
    "nobody knows": (Mixture({"a": Unknown("train")}), None),
    "a file": (GSM8K("test", path=str(ROWS / "gsm8k.jsonl")), 5),
}


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of datasets that holds nothing, and no way to load anything."""
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    real = builtins.__import__

    def refuse(name: str, *rest: Any, **named: Any) -> Any:
        assert name != "datasets", "a plan must not load datasets"
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", refuse)
    return tmp_path / "cache"


def counted(data: TaskDataModule, stage: str = "fit") -> list[Any]:
    """Return what a stage lacks."""
    return missing_problems(problems_of(stage, data).values())


@pytest.mark.parametrize("case", SIZES)
def test_sizes_are_known_without_the_problems(case: str) -> None:
    problems, size = SIZES[case]
    assert size_of(problems) == size


def test_what_is_on_the_hub_comes_with_a_command() -> None:
    missing = counted(MathDataModule())
    assert len(missing) == 4, "each source once"
    said = {lack.what.split(" at ")[0]: lack.remedy for lack in missing}
    assert "--task lit_unmask.tasks.GSM8K --split train --output FILE" in said["openai/gsm8k train"]
    assert "--task lit_unmask.tasks.MATH500" in said["HuggingFaceH4/MATH-500 test"]


def test_what_datasets_has_prepared_is_not_missing(empty_cache: Path) -> None:
    source = GSM8K.source
    folder = empty_cache / "openai___gsm8k" / "main" / "0.0.0" / source.revision
    folder.mkdir(parents=True)
    (folder / "gsm8k-test.arrow").touch()
    assert counted(make_data(train=GSM8K("test"))) == []
    (folder / "gsm8k-test.arrow").rename(folder / "gsm8k-other.txt")
    assert counted(make_data(train=GSM8K("test"))) != []


def test_the_package_is_asked_for_where_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    missing = counted(make_data(train=GSM8K("train")))[0]
    assert "package datasets" in missing.what
    assert "pip install 'lit-unmask[data]'" in missing.remedy
    assert counted(make_data(train=GSM8K("test", path=str(ROWS / "gsm8k.jsonl")))) == []


def test_a_file_that_is_not_there_comes_with_a_command() -> None:
    data = make_data(train=GSM8K("train", path="nowhere.jsonl"))
    (missing,) = counted(data)
    assert "nowhere.jsonl" in missing.what and "lit-unmask-data export" in missing.remedy
    assert size_of(data.train) is None


def test_an_evaluation_lacks_less() -> None:
    whats = [missing.what.split(" at ")[0] for missing in counted(MathDataModule(), "validate")]
    assert whats == ["openai/gsm8k train", "EleutherAI/hendrycks_math train"]


class Broken(Sandbox):
    """Runs nothing."""

    def command(self, inner: list[str], folder: str) -> list[str]:
        return ["/bin/false"]


def test_programs_need_a_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detection, "KINDS", (Broken,))
    strongest.cache_clear()
    data = CodeDataModule(train=KodCode("train"))
    (missing,) = (lack for lack in counted(data) if "sandbox" in lack.what)
    assert "no sandbox" in missing.what and "bubblewrap" in missing.remedy
    assert not any("sandbox" in lack.what for lack in counted(MathDataModule()))
    strongest.cache_clear()


def test_the_sandbox_that_was_chosen_is_the_one_that_is_missing() -> None:
    path = str(ROWS / "humaneval.jsonl")
    lacks = [Broken(), Unsafe(packages=("nowhere",)), Unsafe()]
    said = [
        missing_problems([HumanEval(path=path, verifier=ProgramVerifier(sandbox))])
        for sandbox in lacks
    ]
    assert "does not run here" in said[0][0].what and "choose another" in said[0][0].remedy
    assert "'nowhere'" in said[1][0].what and said[2] == []


def request_of(denoiser: LLaDA | None, stage: str, data: TaskDataModule, **given: Any) -> Request:
    path = denoiser.identity["path"] if denoiser is not None else "nobody/has-this"
    spec: Any = Spec(LLaDA, {"path": path})
    return Request(stage, {"callbacks": None}, make_module(spec), data,
                   assumptions=Assumptions(**given))  # fmt: skip


def test_prompts_are_counted_where_they_can_be(tiny_llada: LLaDA) -> None:
    train = Coins("train", size=20)
    lengths = tiny_llada.encode(list(train)).attention.sum(1)
    found = prompts_of(request_of(tiny_llada, "fit", make_data(train=train)))
    assert found.tokens == round(lengths.float().mean().item())
    limit = int(lengths.median())
    short = make_data(train=train, max_prompt_tokens=limit)
    kept = (lengths <= limit).float().mean()
    assert prompts_of(request_of(tiny_llada, "fit", short)).kept == kept
    none = make_data(train=train, max_prompt_tokens=1)
    with pytest.raises(ConfigurationError, match="max_prompt_tokens=1 leaves out all"):
        prompts_of(request_of(tiny_llada, "fit", none))


def test_prompts_are_assumed_where_they_cannot() -> None:
    short = make_data(max_prompt_tokens=150)
    assert prompts_of(request_of(None, "fit", make_data())).tokens == 200
    assert prompts_of(request_of(None, "fit", short)).tokens == 150
    assert prompts_of(request_of(None, "fit", short, prompt_tokens=99)).tokens == 99


def test_prompts_of_evaluated_sets_are_all_kept(tiny_llada: LLaDA) -> None:
    data = make_data(max_prompt_tokens=1)
    data.test, data.tuning = {"coins": Coins("test", 20)}, {"coins": Coins("tuning", 10)}
    lengths = [
        tiny_llada.encode(list(problems["coins"])).attention.sum(1).float()
        for problems in (data.test, data.tuning)
    ]
    mean = round((lengths[0].sum() + lengths[1].sum()).item() / 30)
    found = prompts_of(request_of(tiny_llada, "test", data))
    assert (found.tokens, found.kept) == (mean, 1.0)
    data.test, data.tuning = {"coins": GSM8K("test")}, {}
    assert prompts_of(request_of(tiny_llada, "test", data)).tokens == 200
