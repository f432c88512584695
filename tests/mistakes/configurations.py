"""Configurations"""

from itertools import pairwise

from mistakes.workshop import mistake, text

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{last}'] * 10)}]\n" for last, name in pairwise("abcdef")
)
BOMB += "trainer: {callbacks: *f}\n"

# fmt: off
MISTAKES = [
    mistake("a configuration that is missing", "fit --config missing.yaml"),
    mistake("a configuration that is a folder", "fit --config denoiser"),
    mistake("a base that is missing", "fit --config top.yaml", text("top.yaml", "extends: nothing.yaml\n")),
    mistake("a base that is itself", "fit --config top.yaml", text("top.yaml", "extends: top.yaml\n") ),
    mistake("a base that is a list of numbers", "fit --config top.yaml", text("top.yaml", "extends: [3]\n")),
    mistake("YAML that is not UTF-8", "fit + --config top.yaml", text("top.yaml", b"# na\xefve\nseed_everything: 1\n")),
    mistake("YAML with a NUL", "fit + --config top.yaml", text("top.yaml", b"seed_everything: 1\x00\n") ),
    mistake("YAML that does not parse", "fit + --config top.yaml", text("top.yaml", "trainer: {max_steps: 2\n")),
    mistake("YAML with tabs", "fit + --config top.yaml", text("top.yaml", "trainer:\n\tmax_steps: 2\n") ),
    mistake("YAML that is a list", "fit + --config top.yaml", text("top.yaml", "- 1\n- 2\n")),
    mistake("an empty configuration alone", "fit --config top.yaml", text("top.yaml", "")),
    mistake("YAML nested too deeply", "fit + --config top.yaml", text("top.yaml", "a: " + "[" * 5000 + "]" * 5000)),
    mistake("YAML with an alias of itself", "fit + --config top.yaml", text("top.yaml", "trainer: &a {b: *a}\n")),
    mistake("YAML with a code tag", "fit + --config top.yaml", text("top.yaml", "trainer: !!python/object/apply:os.getcwd []\n")),
    mistake("YAML with a key twice", "fit + --config top.yaml", text("top.yaml", "trainer: {max_steps: 2}\ntrainer: {max_steps: 3}\n")),
    mistake("an unknown interpolation", "fit + --config top.yaml", text("top.yaml", "trainer: {max_steps: '${nothing}'}\n")),
    mistake("an unknown resolver", "fit + --config top.yaml", text("top.yaml", "trainer: {max_steps: '${magic:1}'}\n")),
    mistake("an unfinished interpolation", "fit + --config top.yaml", text("top.yaml", "trainer: {max_steps: '${nothing'}\n")),
    mistake("an interpolation on the command line", "fit + --trainer.max_steps='${nothing}'"),
    mistake("an unset environment variable", "fit + --config top.yaml", text("top.yaml", "trainer: {max_steps: '${oc.env:NOTHING_AT_ALL}'}\n")),
    mistake("a word ???", "fit + --config top.yaml", text("top.yaml", "trainer: {max_steps: ???}\n") ),
    mistake("a trainer of nothing", "fit + --config top.yaml", text("top.yaml", "trainer: null\n")),
    mistake("rounds that are a list", "fit + --config top.yaml", text("top.yaml", "model: {rounds: [1]}\n")),
    mistake("a class that is a number", "fit + --config top.yaml", text("top.yaml", "data: {init_args: {train: {class_path: 5}}}\n")),
    mistake("a key that is a number", "fit + --config top.yaml", text("top.yaml", "3: 4\n")),
    mistake("YAML of two documents", "fit + --config top.yaml", text("top.yaml", "seed_everything: 1\n---\nseed_everything: 2\n")),
    mistake("YAML in UTF-16", "fit + --config top.yaml", text("top.yaml", "seed_everything: 1\n".encode("utf-16"))),
    mistake("YAML that is a text", "fit + --config top.yaml", text("top.yaml", "hello")),
    mistake("YAML whose aliases multiply", "fit + --config top.yaml", text("top.yaml", BOMB)),
]
