"""Files of problems, and lit-unmask-data"""

import gzip
import json

from mistakes.workshop import mistake, rows, text

GSM = "--data.test='{rows: {class_path: lit_unmask.tasks.GSM8K, init_args: {split: test, path: rows.jsonl}}}'"
CODE = (
    "--data.test='{rows: {class_path: lit_unmask.tasks.HumanEval, init_args: {path: rows.jsonl}}}'"
)
GOOD = {"question": "What is 1 + 1?", "answer": "It is 2.\n#### 2"}
TASK = {
    "task_id": "t/0",
    "prompt": "def f():\n",
    "canonical_solution": "    return 1\n",
    "test": "def check(c):\n    assert c() == 1\n",
    "entry_point": "f",
}


def problems(what, content):
    return mistake(what, f"test + {GSM}", text("rows.jsonl", content))


# fmt: off
MISTAKES = [
    mistake("a file of problems that is missing", f"test + {GSM}"),
    mistake("a file of problems that is a folder", f"test + {GSM}".replace("rows.jsonl", "denoiser") ),
    problems("no problems in the file", "\n"),
    problems("a line that is no JSON", json.dumps(GOOD) + "\n{\n"),
    problems("a file that is not UTF-8", b'{"question": "na\xefve", "answer": "#### 1"}\n'),
    problems("a line nested too deeply", json.dumps(GOOD) + "\n" + "[" * 200000 + "\n"),
    problems("a number of too many digits", '{"question": ' + "9" * 5000 + "}\n"),
    problems("a lone surrogate in a question", '{"question": "a \\ud800 b", "answer": "#### 2"}\n'),
    problems("a lone surrogate in a name of a field", '{"\\ud800": 1, "answer": "#### 2"}\n'),
    problems("a field that is missing", '{"question": "a"}\n'),
    problems("a field with escape codes that is missing", '{"\\u001b[2Jquestion": "a"}\n'),
    problems("a field that is a number", '{"question": 1, "answer": "#### 2"}\n'),
    problems("an empty question", '{"question": " ", "answer": "#### 2"}\n'),
    problems("an answer without its mark", '{"question": "a", "answer": "2"}\n'),
    mistake("one question with two answers", f"test + {GSM}", rows("rows.jsonl", GOOD, GOOD | {"answer": "#### 3"})),
    mistake("a set with escape codes for a name", """test + --data.test='{"\\u001b[31m": {class_path: toys.Coins, init_args: {split: test, size: 2}}}'"""),
    mistake("a question with a special token", f"test + {GSM}", rows("rows.jsonl", GOOD | {"question": "a <|mdm_mask|> b"})),
    mistake("a question longer than the denoiser reads", f"test + {GSM}", rows("rows.jsonl", GOOD | {"question": "egg " * 500})),
    mistake("rows of another dataset", f"test + {GSM}", rows("rows.jsonl", GOOD | {"_origin": "openai/gsm8k train"})),
    mistake("an origin that is a list", f"test + {GSM}", rows("rows.jsonl", GOOD | {"_origin": ["x"]}) ),
    mistake("fewer problems than asked for", f"test + {GSM} --data.test.rows.size=5", rows("rows.jsonl", GOOD)),
    mistake("a set of no problems", f"test + {GSM} --data.test.rows.size=0", rows("rows.jsonl", GOOD) ),
    mistake("a compressed file cut off", f"test + {GSM}".replace("rows.jsonl", "rows.jsonl.gz"), text("rows.jsonl.gz", gzip.compress(json.dumps(GOOD).encode() * 100)[:60])),
    mistake("a compressed file damaged", f"test + {GSM}".replace("rows.jsonl", "rows.jsonl.gz"), text("rows.jsonl.gz", gzip.compress(json.dumps(GOOD).encode() * 100)[:30] + b"\0" * 50)),
    mistake("an entry point with code", f"test + {CODE}", rows("rows.jsonl", TASK | {"entry_point": "f) or print(1"})),
    mistake("tests without a check", f"test + {CODE}", rows("rows.jsonl", TASK | {"test": "x = 1"}) ),
    mistake("one name with two programs", f"test + {CODE}", rows("rows.jsonl", TASK, TASK | {"prompt": "def f(x=1):\n"})),
    mistake("a split that is none", f"test + {GSM}".replace("split: test", "split: exam")),
    mistake("no command of data", "lit-unmask-data"),
    mistake("problems of no task", "lit-unmask-data export --task Nothing --split test --output a.jsonl"),
    mistake("problems of a task without a source", "lit-unmask-data export --task lit_unmask.tasks.ShoppingSums --split test --output a.jsonl"),
    mistake("problems of an empty name", "lit-unmask-data export --task .. --split test --output a.jsonl"),
    mistake("problems of a split that is none", "lit-unmask-data export --task lit_unmask.tasks.GSM8K --split exam --output a.jsonl"),
    mistake("problems over a file", "lit-unmask-data export --task lit_unmask.tasks.GSM8K --split test --output base.yaml"),
    mistake("problems into a folder that is missing", "lit-unmask-data export --task lit_unmask.tasks.GSM8K --split test --output nowhere/a.jsonl"),
    mistake("no problems to generate", "lit-unmask-data generate --name gsm_symbolic --output a.jsonl --size 0"),
    mistake("words for a size to generate", "lit-unmask-data generate --name gsm_symbolic --output a.jsonl --size many"),
    mistake("a file of no rows", f"test + {GSM}", text("rows.jsonl", "")),
    mistake("a question that is NaN", f"test + {GSM}", text("rows.jsonl", '{"question": NaN, "answer": "#### 2"}\n')),
    mistake("an answer that is true", f"test + {GSM}", rows("rows.jsonl", GOOD | {"answer": True})),
    mistake("an answer of nothing", f"test + {GSM}", rows("rows.jsonl", GOOD | {"answer": "#### "})),
    mistake("problems into a folder", "lit-unmask-data export --task lit_unmask.tasks.GSM8K --split test --output denoiser"),
]
