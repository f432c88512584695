from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from toy_trajectories import SHORT, SLOW, written

from lit_unmask.inspection.trajectories import TrajectoryStep, as_json
from lit_unmask.inspection.viewer import viewer_html, write_viewer

HOSTILE = "</script><script>alert(1)</script><!--<img src=x onerror=alert(2)>&amp;\u2028\u2029$data"


class Page(HTMLParser):
    """Collects elements with their attributes, and the text of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._raw = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._raw = True
            self.texts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._raw = False

    def handle_data(self, data: str) -> None:
        if self._raw:
            self.texts[-1] += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def data_of(page: str) -> str:
    """Return the text of the block of JSON."""
    return re.findall(r'<script type="application/json" id="trajectories">(.*?)</script>', page)[0]


def test_the_page_has_everything_in_it() -> None:
    page = Page(viewer_html([SHORT, SLOW]))
    attributes = [attribute for _, found in page.elements for attribute in found]
    assert not {"src", "href", "action", "style"} & set(attributes)
    assert not [name for name in attributes if name.startswith("on")]
    assert not {"link", "img", "iframe", "object", "base"} & {tag for tag, _ in page.elements}
    assert len(page.named("script")) == 2 and len(page.named("style")) == 1
    assert "url(" not in page.texts[0] and "@import" not in page.texts[0]


def test_the_policy_allows_this_script_and_this_style_alone() -> None:
    text = viewer_html([SHORT])
    page = Page(text)
    (policy,) = [
        meta["content"]
        for meta in page.named("meta")
        if meta.get("http-equiv") == "Content-Security-Policy"
    ]
    style, _, script = page.texts
    hashes = [
        base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()
        for part in (style, script)
    ]
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{hashes[0]}'; script-src 'sha256-{hashes[1]}'; "
        "base-uri 'none'; form-action 'none'"
    )
    assert text.index("Content-Security-Policy") < text.index("<style>")


def test_the_script_never_parses_markup() -> None:
    script = Page(viewer_html([SHORT])).texts[2]
    banned = "innerHTML|outerHTML|insertAdjacentHTML|document.write|eval|new Function|fetch|import"
    assert not re.findall(rf"\b({banned})\b\s*[(=]", script)
    assert "XMLHttpRequest" not in script


def test_text_of_models_is_data() -> None:
    tokens = (HOSTILE, "you", "<end>", "<end>")
    run = replace(SHORT, uid=HOSTILE, question=HOSTILE, label=HOSTILE, tokens=tokens)
    text = viewer_html([run], title=HOSTILE)
    data = data_of(text)
    assert not set(data) & set("<>&\u2028\u2029")
    assert json.loads(data) == json.loads(as_json([run]))
    assert "<img" not in text and "alert(1)</script>" not in text
    harmless = [tag for tag, _ in Page(viewer_html([SHORT])).elements]
    assert [tag for tag, _ in Page(text).elements] == harmless


def test_what_cannot_be_shown_is_refused() -> None:
    with pytest.raises(ValueError, match="no trajectories"):
        viewer_html([])
    with pytest.raises(ValueError, match="2 trajectories of problem 'greet' have the label"):
        viewer_html([SHORT, SLOW, SHORT])
    viewer_html([SHORT, replace(SHORT, dataset="other"), replace(SHORT, uid="other")])


def test_twenty_problems_by_two_policies_stay_small(tmp_path: Path) -> None:
    length, forwards = 64, 32
    everything = tuple(range(length))
    numbers = tuple(0.001 + place / 100 for place in range(length))
    step = TrajectoryStep(everything[:32], everything[:32], (1, 2), (), numbers, numbers)
    run = replace(
        SHORT,
        nfe=forwards,
        gen_length=length,
        tokens=("a token",) * length,
        steps=(step,) * forwards,
    )
    run = written(run)
    runs = [
        replace(run, uid=str(number), label=label) for number in range(20) for label in ("a", "b")
    ]
    file = tmp_path / "new" / "page.html"
    write_viewer(file, runs)
    assert 0.5e6 < file.stat().st_size < 1.7e6
    assert [path.name for path in file.parent.iterdir()] == ["page.html"]
