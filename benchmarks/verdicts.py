r"""How often grading is wrong, by mutation: wrong neighbours and right rewritings of true answers.

    python benchmarks/verdicts.py FILE [--show N]

FILE holds JSON lines with a field ``answer``, the reference in LaTeX. Every neighbour that differs
must be refused and every rewriting be taken; prints the share of each kind that is not, and up to N
cases of it.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from lit_unmask.verifiers import grade_math

_NUMBER = re.compile(r"(?<![\d.,_!])\d+(?![\d.]|,\d|,?\\!)")
_EXPRESSION = re.compile(r"[^,]*[a-z\\][^,]*")


def neighbours(answer: str) -> Iterator[tuple[str, str]]:
    """Yield kinds of mistakes, and answers that make them."""
    for found in _NUMBER.finditer(answer):
        before, after = answer[: found.start()], answer[found.end() :]
        kind = "exponent" if before.endswith(("^", "^{")) else "number"
        yield kind, f"{before}{{}}{int(found[0]) + 1}{after}".replace("{}", "")
        yield "digit", f"{before}{found[0]}0{after}" if found[0] != "0" else f"{before}7{after}"
        yield "root", rf"{before}\sqrt{{{found[0]}}}{after}" if int(found[0]) > 1 else ""
        if not before.endswith(("_", "_{", "^", "^{", "\\sqrt", "frac")):
            yield "power", f"{before}{found[0]}^2{after}" if int(found[0]) > 1 else ""
    for old, new, kind in (
        ("+", "-", "sign"), (" - ", " + ", "sign"), ("(", "[", "bracket"), ("[", "(", "bracket"),
        (")", "]", "bracket"), ("]", ")", "bracket"), (r"\pm", "+", "sign"),
        (r"\frac{", r"\frac{2", "number"), (r"\sqrt", "", "root"), (r"\pi", "", "factor"),
        (r"\cup", r"\cap", "sign"), (r"\infty", "10", "number"), ("x", "x^2", "power"),
    ):  # fmt: skip
        if old in answer and not (kind == "bracket" and "text" in answer):
            yield kind, _once(answer, old, new)
    yield from _whole(answer)


def _once(answer: str, old: str, new: str) -> str:
    changed = answer.replace(old, new, 1)
    return changed if changed.count("(") == changed.count(")") or "[" in changed + answer else ""


def _whole(answer: str) -> Iterator[tuple[str, str]]:
    """Yield mistakes in an answer as a whole."""
    if base := re.fullmatch(r"(\d+)_\{?(\d+)\}?", answer):
        yield "base", f"{base[1]}_{{{int(base[2]) + 1}}}"
        yield "base", f"{int(base[1]) + 1}"
        return
    if "," in answer and not re.search(r"\d,(?:\\!\s*)?\s*\d{3}", answer):
        yield "part", answer.rpartition(",")[2].strip(" )]}\\")
        yield "part", f"{answer}, 977"
        return
    if re.search(r"\\text\{|\\mbox|\\cup|\\in|matrix|=|circ|\$|pm", answer):
        if words := re.fullmatch(r"\\text\{\(?(.+?)\)?\}", answer):
            yield "word", "north" if len(words[1]) > 1 else chr(ord(words[1]) + 1)
        return
    if answer.strip("0.") != "":
        yield "sign", f"-({answer})"
        for factor in (r"2(%s)", r"\pi(%s)", r"x(%s)", r"(%s)^3", r"\frac{%s}{7}"):
            if answer not in ("1", "-1") or "^" not in factor:
                yield "factor", factor % answer
    for term in (" + 1", " + x", r" - \sqrt{2}", " + 10^{-9}", "i", "!", r" \text{ million}"):
        if term in (" + 1", " + x", r" - \sqrt{2}", " + 10^{-9}"):
            yield "term", answer + term
        elif answer.isdecimal() and int(answer) > 2:
            yield "factor", answer + term


def rewritings(answer: str) -> Iterator[tuple[str, str]]:
    """Yield ways to write the same answer, by kind."""
    yield "itself", answer
    yield "delimiters", f"${answer}$"
    yield "delimiters", rf"\({answer}\)."
    yield "spaces", re.sub(r"(?<!\\)\s+(?![A-Za-z])", "", answer)
    yield "spaces", re.sub(r"([-+=])", r" \1 ", answer)
    if "frac" in answer:
        yield "fraction", re.sub(r"\\d?frac", r"\\dfrac", answer)
        yield "fraction", re.sub(r"\\d?frac", r"\\tfrac", answer)
        if "^" not in answer and r"\text" not in answer:
            plain = re.sub(r"(?<!\d)(?<!\d )\\d?frac\{([^{}]*)\}\{([^{}]*)\}", r"(\1)/(\2)", answer)
            yield "fraction", plain
    yield (
        "brackets",
        re.sub(
            r"(?<!\\right)(?<!\\)([)\]])",
            r"\\right\1",
            re.sub(r"(?<!\\left)(?<!\\)([(\[])", r"\\left\1", answer),
        ),
    )
    yield "brackets", re.sub(r"\\left\s*|\\right\s*", "", answer)
    if re.fullmatch(r"-?\d+", answer):
        yield "decimals", f"{answer}.0"
        yield "thousands", f"{int(answer):,}"
        yield "thousands", f"{int(answer):,}".replace(",", "{,}")
        for unit in (r"\text{ cm}", r"\text{ apples}", " dollars", r"\ \mathrm{m}", " hours"):
            yield "unit", answer + unit
        yield "name", f"x = {answer}"
    if found := re.fullmatch(r"(-?)\\d?frac\{(\d+)\}\{(\d+)\}", answer):
        top, bottom = int(found[2]), int(found[3])
        yield "fraction", f"{found[1]}{top}/{bottom}"
        yield "fraction", rf"{found[1]}\frac{{{3 * top}}}{{{3 * bottom}}}"
        yield "fraction", rf"\frac{{{found[1]}{top}}}{{{bottom}}}"
        if bottom in (2, 4, 5, 8, 10, 16, 20, 25, 40, 50, 100):
            yield "decimals", f"{found[1]}{top / bottom}"
        if top > bottom and not found[1]:
            yield "fraction", rf"{top // bottom}\frac{{{top % bottom}}}{{{bottom}}}"
    if sum_ := re.fullmatch(r"([^-+(){},=]+) ?\+ ?([^-+(){},=]+)", answer):
        yield "order", f"{sum_[2]} + {sum_[1]}"
    if r"\pi" in answer:
        yield "unicode", re.sub(r"\\pi(?![a-z])", "\u03c0", answer)
    if r"\sqrt" in answer:
        yield "plain", re.sub(r"\\sqrt\{(\w+)\}", r"sqrt(\1)", answer)
        yield "unicode", re.sub(r"\\sqrt\{?(\w+)\}?", "\u221a\\1", answer)
    if "circ" in answer:
        yield "unit", answer.replace(r"^\circ", "")
        yield "unit", answer.replace(r"^\circ", r"\text{ degrees}")
        yield "unicode", answer.replace(r"^\circ", "\u00b0")
    if words := re.fullmatch(r"\\text\{\(?(.+?)\)?\}", answer):
        yield "word", words[1]
        yield "word", rf"\textbf{{{words[1]}}}."
    if "^" in answer and "circ" not in answer and "mbox" not in answer:
        yield "plain", answer.replace("^", "**")


def measure(answers: list[str], show: int = 0) -> dict[str, dict[str, tuple[int, int]]]:
    """Return how many of each kind there are and how many are judged wrongly, by side."""
    counts: dict[str, dict[str, tuple[int, int]]] = {}
    for side, made, due in (("neighbours", neighbours, 0.0), ("rewritings", rewritings, 1.0)):
        tried, failed = Counter[str](), Counter[str]()
        for answer in answers:
            for kind, other in dict.fromkeys(made(answer)):
                if not other or (due == 0 and other == answer):
                    continue
                tried[kind] += 1
                if float(grade_math(rf"\boxed{{{other}}}", answer)) != due:
                    failed[kind] += 1
                    if failed[kind] <= show:
                        print(f"{side[:-1]} ({kind}): {other!r} of {answer!r}")
        counts[side] = {kind: (tried[kind], failed[kind]) for kind in sorted(tried)}
    return counts


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--show", type=int, default=0)
    wanted = parser.parse_args()
    rows = [json.loads(line) for line in wanted.file.read_text().splitlines()]
    counts = measure([row["answer"] for row in rows], wanted.show)
    print("| side | kind | cases | judged wrongly |\n| --- | --- | --- | --- |")
    for side, kinds in counts.items():
        for kind, (tried, failed) in kinds.items():
            print(f"| {side} | {kind} | {tried} | {failed} |")
        tried, failed = (sum(column) for column in zip(*kinds.values(), strict=True))
        print(f"| **{side}** | all | {tried} | {failed} ({failed / tried:.2%}) |")


if __name__ == "__main__":
    main()
