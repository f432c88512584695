"""Model cards of policies: what it is, how to use it, and what a results store says of it."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from lit_unmask.errors import ConfigurationError
from lit_unmask.evaluation.fingerprints import plain_settings, policy_hash
from lit_unmask.policies.base import Policy
from lit_unmask.report.reading import read
from lit_unmask.report.results import Dataset, Result
from lit_unmask.sharing.description import Classes, TrainedWith, describe
from lit_unmask.sharing.hub import CARD, TRAINING, push_to_hub
from lit_unmask.sharing.saved import SavedPolicy, recalled, save_policy
from lit_unmask.types import SIGNALS

_TAGS = ["masked-diffusion", "unmasking-policy", "text-generation"]
_COLUMNS = ["policy", "accuracy", "95 % interval", "NFE", "95 % interval", "tokens/forward", ""]


def model_card(
    saved: SavedPolicy,
    name: str,
    store: Path | None = None,
    has_training: bool = False,
    classes: Classes = (),
) -> str:
    """Return a model card: YAML metadata, then Markdown.

    Args:
        saved: The policy.
        name: What users will pass to ``load_policy``: a hub id or a folder.
        store: Folder of a results store with test runs of the policy.
        has_training: Whether ``training.yaml`` will lie beside the card.
        classes: Classes of the caller's that the policy is made of.

    Raises:
        ConfigurationError: If the store has no finished test run of this policy, or what is in it
            cannot be compared.
    """
    policy = saved.build(classes)
    datasets = [] if store is None else read([store])
    if store is not None and not any(_own(policy, dataset) for dataset in datasets):
        tested = sorted({s.run.name for d in datasets for s in d.test})
        raise ConfigurationError(
            f"{store} has no finished test run of this policy, only of {', '.join(tested)}; run "
            "`lit-unmask test` with the Frontier callback and this checkpoint, or leave the store "
            "out"
        )
    sections = [
        f"# Unmasking policy for {_denoiser(saved.trained_with)}",
        _introduction(policy, saved),
        _usage(name),
        _training(saved.trained_with, has_training),
        *(_results(policy, dataset) for dataset in datasets),
        _limitations(datasets),
    ]
    metadata = _metadata(name, saved.trained_with, policy, datasets).to_yaml()
    return str(ModelCard(f"---\n{metadata}\n---\n\n" + "\n\n".join(sections) + "\n"))


def _own(policy: Policy, dataset: Dataset) -> list[Result]:
    """Return the test settings of this very policy."""
    return [setting for setting in dataset.test if _is_of(policy, setting)]


def _is_of(policy: Policy, setting: Result) -> bool:
    run = setting.run
    if policy.state_dict():
        return run.weights == policy_hash(policy)
    return (run.policy, run.params) == (type(policy).__name__, plain_settings(policy))


def _denoiser(trained_with: TrainedWith) -> str:
    identity = trained_with.denoiser or {}
    revision = identity.get("revision")
    return f"{identity.get('path', 'masked diffusion')}{f'@{revision}' if revision else ''}"


def _metadata(
    name: str, trained_with: TrainedWith, policy: Policy, datasets: list[Dataset]
) -> ModelCardData:
    base = (trained_with.denoiser or {}).get("path") or ""
    on_hub = base.count("/") == 1 and not base.startswith(("/", ".", "~"))
    results = [
        EvalResult(
            task_type="text-generation",
            dataset_type=dataset.name,
            dataset_name=dataset.name,
            dataset_split="test",
            metric_type=kind,
            metric_name=f"{kind}, block length {setting.run.block_length}",
            metric_value=round(value, 4),
        )
        for dataset in datasets
        for setting in _own(policy, dataset)
        for kind, value in (
            ("accuracy", setting.accuracy.value),
            ("nfe", setting.mean_nfe.value),
        )
    ]
    return ModelCardData(
        library_name="lit_unmask",
        tags=_TAGS,
        base_model=base if on_hub else None,
        model_name=name.rstrip("/").rpartition("/")[2] if results else None,
        eval_results=results or None,
    )


def _introduction(policy: Policy, saved: SavedPolicy) -> str:
    size = sum(weight.numel() for weight in policy.parameters())
    kind = f"A policy of {size:,} parameters" if size else "A heuristic, without parameters,"
    extra = sorted(name for name in policy.signals.names if not SIGNALS[name].condition)
    signals = ", ".join([f"largest token probabilities ({policy.signals.top_k})", *extra])
    description = json.dumps(saved.description, indent=2)
    return (
        f"{kind} that decides, at each forward of a frozen masked diffusion language model, which "
        f"positions to unmask. Signals that it asks for at each position: {signals}. Made with "
        "lit_unmask, after [arXiv 2512.09106](https://arxiv.org/abs/2512.09106).\n\n"
        f"```json\n{description}\n```"
    )


def _usage(name: str) -> str:
    return (
        "## Use it\n\n```python\nfrom lit_unmask import load_policy\n\n"
        f"policy = load_policy({name!r})\n"
        "opened = policy.select(confidence, masked, eligible, step, length)\n```\n\n"
        "Plain tensors go in: `confidence` `[B, L, K]` float, `masked` and `eligible` `[B, L]` "
        "bool; `opened` `[B, L]` says where to put the model's tokens in this step."
    )


def _training(trained_with: TrainedWith, has_training: bool) -> str:
    facts = {
        "denoiser": None if trained_with.denoiser is None else _denoiser(trained_with),
        "hash of its config": (trained_with.denoiser or {}).get("config_hash"),
        "generation length": trained_with.gen_length,
        "block length": trained_with.block_length,
        "token temperature": trained_with.temperature,
        "empty actions": trained_with.on_empty,
        "further decoding": trained_with.further and f"`{json.dumps(trained_with.further)}`",
        "reward": trained_with.reward and f"`{json.dumps(trained_with.reward)}`",
        "rounds": trained_with.rounds,
        "seed": trained_with.seed,
    }
    known = [f"- {name}: {value}" for name, value in facts.items() if value is not None]
    lines = ["## Training", "", *(known or ["Not known."])]
    if has_training:
        lines += ["", f"`{TRAINING}` has all settings:", "", "```bash"]
        lines += [f"lit-unmask fit --config {TRAINING}", "```"]
    return "\n".join(lines)


def _results(policy: Policy, dataset: Dataset) -> str:
    """Return the frontier table of one dataset, cheapest settings first."""
    run, rows = dataset.run, [_COLUMNS, ["---", *["---:"] * (len(_COLUMNS) - 2), "---"]]
    for setting in sorted(dataset.test, key=lambda s: s.mean_nfe.value):
        own = _is_of(policy, setting)
        accuracy, nfe = setting.accuracy, setting.mean_nfe
        cells = [
            f"{accuracy.value:.3f}",
            f"{accuracy.low:.3f} to {accuracy.high:.3f}",
            f"{nfe.value:.1f}",
            f"{nfe.low:.1f} to {nfe.high:.1f}",
            f"{setting.tokens_per_forward:.2f}",
        ]
        label = setting.label.replace("|", r"\|")
        front = "" if _is_beaten(setting, dataset.test) else "front"
        rows.append([f"**{label}** (this policy)" if own else label, *cells, front])
    seeds = sorted({run.seed for setting in dataset.test for run in setting.runs})
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    unfinished = len(dataset.unfinished)
    return (
        f"## Results on {dataset.name}\n\n{len(dataset.uids)} test problems (`{run.problems}`), "
        f"denoiser `{run.denoiser}`, generation length {run.gen_length}, token temperature "
        f"{run.temperature:g}, noise seeds {seeds}. NFE: denoiser forwards a problem. On the front "
        "is what no other row beats in accuracy without more forwards."
        f"{f' Unfinished runs, left out: {unfinished}.' if unfinished else ''}\n\n{table}"
    )


def _is_beaten(setting: Result, others: list[Result]) -> bool:
    mine = setting.accuracy.value, -setting.mean_nfe.value
    scores = [(other.accuracy.value, -other.mean_nfe.value) for other in others]
    return any(a >= mine[0] and b >= mine[1] and (a, b) != mine for a, b in scores)


def _limitations(datasets: list[Dataset]) -> str:
    tested = ", ".join(dataset.name for dataset in datasets)
    measured = "No measurements are given."
    if tested:
        measured = (
            f"It was measured on {tested} alone. Intervals are over problems, and say nothing of "
            "other training seeds, of which this is one."
        )
    return (
        "## Limitations\n\n"
        "- It was trained with one denoiser, one generation length and one block length; with "
        "others it may be worse than a heuristic that was tuned for them.\n"
        f"- {measured}\n"
        "- It chooses when tokens are committed, not which: what the denoiser gets wrong or "
        "should not say stays."
    )


def share_policy(policy: Policy, repo: str, private: bool | None = None) -> str:
    """Upload a policy to the hub, with a model card that says what is known without results.

    A card with measurements, and the configuration of the training run, come with
    ``lit-unmask-export``.

    Args:
        policy: Learned policy or heuristic.
        repo: Hub id such as ``user/name``; made if it is not there.
        private: Whether a new repository is private; None leaves it to the account's settings.

    Returns:
        Address of the upload.

    Raises:
        ConfigurationError: If the policy cannot be described.
        ConnectionError: If the hub does not take it.
    """
    trained_with, kinds = recalled(policy), [type(part) for part in policy.modules()]
    saved = SavedPolicy(Path(repo), describe(policy), trained_with, dict(policy.state_dict()))
    with tempfile.TemporaryDirectory() as folder:
        documents = {CARD: model_card(saved, repo, classes=kinds)}
        return push_to_hub(
            save_policy(policy, Path(folder) / "policy", trained_with, documents), repo, private
        )
