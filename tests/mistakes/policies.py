"""Saved policies, and lit-unmask-export"""

from typing import Any

import torch
from mistakes.workshop import Change, cut, entry, gone, mistake, saved, stored, text

LOAD = "validate + --model.policy=lit_unmask.load_policy --model.policy.path=policy"
OLD = "lit-unmask-export old.ckpt new --training t.yaml"


def made_with(**arguments: Any) -> Change:
    """Return the change of the arguments of a policy's network."""
    network = {"class_path": "lit_unmask.policies.ConfidenceTransformer", "init_args": arguments}
    return entry(
        "policy/config.json",
        policy={
            "class_path": "lit_unmask.policies.LearnedPolicy",
            "init_args": {"network": network},
        },
    )


def old(folder: Any) -> None:
    """Write a checkpoint that does not describe its policy."""
    torch.save({"state_dict": {}}, folder / "old.ckpt")


# fmt: off
MISTAKES = [
    mistake("a policy that is missing", LOAD),
    mistake("a policy that is a text", LOAD, text("policy", "x")),
    mistake("a policy without its weights", LOAD, saved, gone("policy/model.safetensors")),
    mistake("a policy's config cut off", LOAD, saved, cut("policy/config.json", 30)),
    mistake("a policy's config nested too deeply", LOAD, saved, text("policy/config.json", "[" * 100000) ),
    mistake("a policy's config that is a list", LOAD, saved, text("policy/config.json", "[]")),
    mistake("a policy of another version", LOAD, saved, entry("policy/config.json", format_version=99) ),
    mistake("a policy that names code", LOAD, saved, entry("policy/config.json", policy={"class_path": "os.system", "init_args": {"command": "id"}} )),
    mistake("a policy with an unknown setting", LOAD, saved, entry("policy/config.json", policy={"class_path": "lit_unmask.policies.LearnedPolicy", "init_args": {"nope": 1}})),
    mistake("a policy of words for numbers", LOAD, saved, entry("policy/config.json", policy={"class_path": "lit_unmask.policies.LearnedPolicy", "init_args": {"network": {"class_path": "lit_unmask.policies.ConfidenceTransformer", "init_args": {"width": "wide"}} }})),
    mistake("a policy with a network of no width", LOAD, saved, entry("policy/config.json", policy={"class_path": "lit_unmask.policies.LearnedPolicy", "init_args": {"network": {"class_path": "lit_unmask.policies.ConfidenceTransformer", "init_args": {"width": 0}} }})),
    mistake("a policy with a network of no heads", LOAD, saved, entry("policy/config.json", policy={"class_path": "lit_unmask.policies.LearnedPolicy", "init_args": {"network": {"class_path": "lit_unmask.policies.ConfidenceTransformer", "init_args": {"heads": 0}} }})),
    mistake("a policy with a network beyond memory", LOAD, saved, entry("policy/config.json", policy={"class_path": "lit_unmask.policies.LearnedPolicy", "init_args": {"network": {"class_path": "lit_unmask.policies.ConfidenceTransformer", "init_args": {"width": 10**9}} }})),
    mistake("a policy trained with nonsense", LOAD, saved, entry("policy/config.json", trained_with={"nope": 1})),
    mistake("a policy's weights cut off", LOAD, saved, cut("policy/model.safetensors", 100)),
    mistake("a policy's weights of a larger network", LOAD, saved, entry("policy/config.json", policy={"class_path": "lit_unmask.policies.LearnedPolicy", "init_args": {"network": {"class_path": "lit_unmask.policies.ConfidenceTransformer", "init_args": {"width": 32, "heads": 2, "feed_forward": 16}} }})),
    mistake("a speed for a policy without one", LOAD + " --model.policy.speed=2", saved),
    mistake("a temperature of 0 for a policy", LOAD + " --model.policy.temperature=0", saved),
    mistake("a revision of a policy's folder", LOAD + " --model.policy.revision=main", saved),
    mistake("a checkpoint that is a pickle with code", LOAD, text("policy", b"cos\nsystem\n(S'echo hi'\ntR.")),
    mistake("a checkpoint whose policy is a number", LOAD, lambda f: torch.save({"state_dict": {}, "policy": 3}, f / "policy")),
    mistake("nothing to export", "lit-unmask-export missing.ckpt new"),
    mistake("an export of a text", "lit-unmask-export base.yaml new"),
    mistake("an export of a folder without a policy", "lit-unmask-export denoiser new"),
    mistake("an export over a folder", "lit-unmask-export policy denoiser", saved),
    mistake("an export under a file", "lit-unmask-export policy base.yaml/new", saved),
    mistake("an export without a folder", "lit-unmask-export policy", saved),
    mistake("an export with a store that is missing", "lit-unmask-export policy new --store nowhere", saved),
    mistake("an export with a store of other policies", "lit-unmask-export policy new --store store", saved, stored),
    mistake("an export with a training that is missing", "lit-unmask-export policy new --training nowhere.yaml", saved),
    mistake("an export with a training not UTF-8", "lit-unmask-export policy new --training t.yaml", saved, text("t.yaml", b"\xff")),
    mistake("an export of a checkpoint with a training of nothing", OLD, old, text("t.yaml", "a: 1")),
    mistake("an export of a checkpoint with a training of unknown interpolation", OLD, old, text("t.yaml", "a: ${nothing}")),
    mistake("an export of a checkpoint with a training that does not parse", OLD, old, text("t.yaml", "a: [")),
    mistake("an export of a checkpoint with a training of another shape", OLD, old, text("t.yaml", "model: {policy: 3, decoding: 4}")),
    mistake("an export into a name of two lines", "lit-unmask-export policy 'a\nb'", saved),
    mistake("an export into a name with a NUL", "lit-unmask-export policy 'a\x00b'", saved),
    mistake("an export into itself", "lit-unmask-export policy policy", saved),
    mistake("an export with a training that is a folder", "lit-unmask-export policy new --training denoiser", saved),
    mistake("an upload to a name that none can have", "lit-unmask-export policy new --push 'a b/c/d'", saved),
    mistake("a checkpoint of no bytes", "fit + --ckpt_path=x.ckpt", text("x.ckpt", "")),
    mistake("a checkpoint that is a list", "fit + --ckpt_path=x.ckpt", lambda f: torch.save([1], f / "x.ckpt")),
    mistake("a checkpoint whose weights are a number", "fit + --ckpt_path=x.ckpt", lambda f: torch.save({"state_dict": 3}, f / "x.ckpt")),
]
