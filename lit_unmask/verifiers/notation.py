r"""One spelling for mathematics: Unicode, plain text and LaTeX's typography become plain LaTeX."""

from __future__ import annotations

import re
import unicodedata

_UNICODE: dict[str, str | int | None] = {
    **{"\u03c0": r"\pi ", "\u221e": r"\infty ", "\u03b8": r"\theta ", "\u222a": r"\cup "},
    **{"\u2229": r"\cap ", "\u2208": r"\in ", "\u00b1": r"\pm ", "\u2213": r"\mp "},
    **{"\u00d7": r"\cdot ", "\u00b7": r"\cdot ", "\u22c5": r"\cdot ", "\u2217": r"\cdot "},
    **{"\u00f7": "/", "\u2212": "-", "\u2013": "-", "\u2264": r"\le ", "\u2265": r"\ge "},
    **{"\u2260": r"\ne ", "\u00b0": r"^\circ ", "\u2044": "/", "\u2215": "/", "\u2026": r"\ldots "},
    **{"\u2205": r"\emptyset ", "\u03b1": r"\alpha ", "\u03b2": r"\beta ", "\u211d": r"\mathbb{R}"},
    **{"\u27e8": r"\langle ", "\u27e9": r"\rangle ", "\u03c6": r"\phi ", "\u03bb": r"\lambda "},
    **{"\u221b": r"\sqrt[3]", "\u2032": "'", "\u00a0": " ", "\u202f": " ", "\u2009": " "},
}
_POWERS = str.maketrans("\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u207b\u207f", "0123456789-n")  # fmt: skip  # noqa: E501
_BASES = str.maketrans("\u2080\u2081\u2082\u2083\u2084\u2085\u2086\u2087\u2088\u2089", "0123456789")
_POWER = re.compile("[\u2070\u00b9\u00b2\u00b3\u2074-\u2079\u207b\u207f]+")
_BASE = re.compile("[\u2080-\u2089]+")
_VULGAR = re.compile("(\\d*)\\s*([\u00bc-\u00be\u2150-\u215e])")
_DELIMITERS = ("$$", "$", r"\(", r"\)", r"\[", r"\]")
TEXT = re.compile(
    r"\\(?:(text(?:rm|normal|up)?|mathrm|mbox|hbox)|text(?:bf|it|sf)|math(?:bf|it|sf)|operatorname\*?)"
    r"\s*\{([^{}]*)(?:\}|$)"
)
_SPACING = re.compile(
    r"(?<!\\)\\[,;:> ]|\\q?quad(?![a-z])|~|\\(?:hspace|vspace|hskip)\{[^{}]*\}|\s+"
)
_NOTHING = re.compile(
    r"\\!|\\(?:left|right|[bB]igg?[lrm]?|displaystyle|textstyle|limits)(?![a-z])\.?"
)
_SPELLINGS = (
    (re.compile(r"\\[dtc]frac(?![a-z])"), r"\\frac"),
    (re.compile(r"\\(?:leqslant|leq)(?![a-z])|<="), r"\\le "),
    (re.compile(r"\\(?:geqslant|geq)(?![a-z])|>="), r"\\ge "),
    (re.compile(r"\\lt(?![a-z])"), "<"),
    (re.compile(r"\\gt(?![a-z])"), ">"),
    (re.compile(r"\\neq(?![a-z])|!="), r"\\ne "),
    (re.compile(r"\\(?:dots|cdots|dotsc|dotsb)(?![a-z])|\.\.\."), r"\\ldots "),
    (re.compile(r"\\(?:times|ast)(?![a-z])"), r"\\cdot "),
    (re.compile(r"\\div(?![a-z])"), "/"),
    (re.compile(r"\\(?:lbrack)(?![a-z])"), "["),
    (re.compile(r"\\(?:rbrack)(?![a-z])"), "]"),
    (re.compile(r"\\imath(?![a-z])"), "i"),
    (re.compile(r"\\([bpvBV]|small)matrix"), r"\\\1matrix"),
    (re.compile(r"\^\s*\{?\s*\\(?:circ|degree)\s*\}?|\\degrees?(?![a-z])"), " degrees "),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"(?<!\\)\\([%$&#])"), r"\1"),
    (re.compile(r"\*\*"), "^"),
    (re.compile(r"(?<![\\*])\*(?!\*)"), r"\\cdot "),
    (re.compile(r"(?<![\\A-Za-z])(?:pi|PI|Pi)(?![A-Za-z])"), r"\\pi "),
    (re.compile(r"(?<![\\A-Za-z])(?:infinity|inf|oo)(?![A-Za-z])"), r"\\infty "),
    (re.compile(r"(\+)\s*\\infty"), r"\\infty"),
    (re.compile(r"(?<![\\A-Za-z])sqrt(?=\s*[({\[\d])"), r"\\sqrt"),
    (re.compile(r"(?<![A-Za-z\\])(sin|cos|tan|cot|sec|csc|log|ln|arcsin|arccos|arctan|exp)"
                r"(?=\s*[(^_\d]|\s+[a-z](?![A-Za-z]))"), r"\\\1"),
    (re.compile(r"(?<=\d)[eE]([-+]?\d+)(?![\d.])"), r"\\cdot 10^{\1}"),
)  # fmt: skip
_DEGREES = re.compile(r"(\\(?:sin|cos|tan|cot|sec|csc)) ?[({]?(\d+) ?degrees[)}]?")
_BRACKETED = re.compile(r"(\\sqrt(?:\[[^\]]*\])?|\^|\\exp)\s*\(")
_SHORT_FRACTION = re.compile(
    r"\\frac\s*(?:(\d)\s*([A-Za-z\d])|(\d)\s*\{([^{}]*)\}|\{((?:[^{}]|\{[^{}]*\})*)\}\s*(\w)|(\w)\s+(\w))"
)
_SHORT_ROOT = re.compile(r"\\sqrt(\[[^\]]*\])?\s*(\d|[A-Za-z]|\\pi)")
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?: \d{3})+(?![\d])")
_MIXED = re.compile(
    r"(?<![\d./^_{\\}])(\d+)(?:\s+(?:and\s+)?|-(?=\d+/\d+\s*[a-z]))(\d+)/(\d+)(?![\d/])"
)


def without_delimiters(text: str) -> str:
    """Return an answer without the signs that begin and end mathematics, and emphasis."""
    text = text.strip().strip("*").strip().rstrip(".,;:")
    for delimiter in _DELIMITERS:
        text = text.removeprefix(delimiter).removesuffix(delimiter).strip()
    return text.rstrip(".,;:").removesuffix("\\").rstrip(".,; ")


def spelled(text: str) -> str:
    r"""Return an answer in one spelling, its words apart: ``½ \text{ cm}`` is ``\frac{1}{2} cm``.

    A single letter that was set as text stays in quotes, so that it can be told from a variable.
    """
    text = without_delimiters(_from_unicode(text))
    text = re.sub(r"\$([^$]*)\$", r" \1 ", text)
    text = re.sub(r"(?<!\\)\\[()\[\]]", " ", text)
    text = _NOTHING.sub("", re.sub(r",\\!\s*", ",", text))
    text = re.sub(r"(?<=\d)\\[,; ](?=\d{3})", " ", text)
    text = TEXT.sub(_plain, text)
    for pattern, spelling in _SPELLINGS:
        text = pattern.sub(spelling, text)
    text = " ".join(_SPACING.sub(" ", text).split())
    text = _DEGREES.sub(r"\1(\\frac{\2\\pi}{180})", text)
    text = _BRACKETED.sub(r"\1(", text)
    text = _braced(text).replace(r"\exp{", "e^{")
    text = _SHORT_ROOT.sub(lambda m: rf"\sqrt{m[1] or ''}{{{m[2]}}}", text)
    text = _SHORT_FRACTION.sub(_long_fraction, text)
    text = _THOUSANDS.sub(lambda match: match[0].replace(" ", ""), text)
    text = _MIXED.sub(r"\1\\frac{\2}{\3}", text)
    return text.strip().rstrip(".,;: ")


def compact(text: str) -> str:
    r"""Return a spelled text without spaces that say nothing; ``\pi x`` and ``1 2`` keep theirs."""
    text = re.sub(r"(?<=\d), (?=\d{3}(?!\d))", ";", text)  # a list, not thousands
    text = re.sub(r"(?<=[^\\A-Za-z\d.]) | (?=[^A-Za-z\d.])", "", text)
    text = re.sub(r"(?<=\d) (?=[A-Za-z])|(?<=[A-Za-z]) (?=\d)", "", text)
    return re.sub(r"(?<![\\A-Za-z])([A-Za-z]) (?=[A-Za-z](?![A-Za-z]))", r"\1", text)


def _from_unicode(text: str) -> str:
    text = _VULGAR.sub(_vulgar, text)
    text = _POWER.sub(lambda match: f"^{{{match[0].translate(_POWERS)}}}", text)
    text = _BASE.sub(lambda match: f"_{{{match[0].translate(_BASES)}}}", text)
    text = re.sub("\u221a\\s*([\\w.]+)", r"\\sqrt{\1}", text).replace("\u221a", r"\\sqrt"[1:])
    return text.translate(str.maketrans(_UNICODE))


def _vulgar(match: re.Match[str]) -> str:
    top, _, bottom = unicodedata.normalize("NFKC", match[2]).partition("\u2044")
    return rf"{match[1]}\frac{{{top}}}{{{bottom}}}" if top and bottom else match[0]


def _plain(match: re.Match[str]) -> str:
    words = match[2].strip()
    if match[1] and re.match(r"[A-Za-z](?:\s*[/^]|$)", words):  # a unit: m, m/s, m^2
        return words if words in "eid" else f' "{words[0]}"{words[1:]} '
    return f" {match[2]} "


def _braced(text: str) -> str:
    r"""Return a text with ``\sqrt(...)`` and ``^(...)`` in braces."""
    for match in reversed(list(_BRACKETED.finditer(text))):
        depth, start = 0, match.end() - 1
        for end in range(start, len(text)):
            depth += {"(": 1, ")": -1}.get(text[end], 0)
            if depth == 0:
                text = f"{text[:start]}{{{text[start + 1 : end]}}}{text[end + 1 :]}"
                break
    return text


def _long_fraction(match: re.Match[str]) -> str:
    top, bottom = (group for group in match.groups() if group is not None)
    return rf"\frac{{{top}}}{{{bottom}}}"
