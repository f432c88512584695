"""lit-unmask-pretrain"""

from mistakes.workshop import mistake, text

# fmt: off
MISTAKES = [
    mistake("a pretraining without a configuration", "lit-unmask-pretrain fit"),
    mistake("a pretraining by a command that is none", "lit-unmask-pretrain train"),
    mistake("a pretraining with an unknown setting", "lit-unmask-pretrain fit --model.nope=1"),
    mistake("a pretraining with a configuration that is missing", "lit-unmask-pretrain fit --config missing.yaml"),
    mistake("a pretraining with YAML not UTF-8", "lit-unmask-pretrain fit --config t.yaml", text("t.yaml", b"\xff")),
    mistake("a pretraining with an unknown interpolation", "lit-unmask-pretrain fit --config t.yaml", text("t.yaml", "seed_everything: ${nothing}")),
]
