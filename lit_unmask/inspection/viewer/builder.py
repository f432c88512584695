"""Builds the page: template, style, script and trajectories in one file."""

from __future__ import annotations

import base64
import hashlib
import html
from collections import Counter
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from string import Template

from lit_unmask.files import replace_file
from lit_unmask.inspection.trajectories import Trajectory, as_json

_SCRIPTS = ("charts.js", "panel.js", "viewer.js")
# Characters that could end a script element or begin markup in it, and the line ends of JavaScript
# that JSON knows as ordinary characters.
_ESCAPES = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


def viewer_html(trajectories: Sequence[Trajectory], title: str = "Trajectories") -> str:
    """Return a page that shows trajectories, with all that it needs in it.

    The page loads nothing and may load nothing: its content security policy allows the script and
    the style that are in it, by their hashes, and forbids everything else. Text of models and
    problems is in a block of JSON that is never parsed as markup.

    Args:
        trajectories: What to show; those of one problem may be looked at side by side.
        title: Title of the page.

    Raises:
        ValueError: If there is nothing to show, or two trajectories of a problem share a label.
    """
    if not trajectories:
        raise ValueError("there are no trajectories to show; record at least one problem")
    counts = Counter((run.dataset, run.uid, run.label) for run in trajectories)
    (_, uid, label), count = counts.most_common(1)[0]
    if count > 1:
        raise ValueError(
            f"{count} trajectories of problem {uid!r} have the label {label!r}; give each policy "
            "a label of its own and show each problem once"
        )
    style = _read("viewer.css")
    script = "\n".join(_read(name) for name in _SCRIPTS)
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return Template(_read("template.html")).substitute(
        title=html.escape(title),
        policy=policy,
        style=style,
        script=script,
        data=as_json(trajectories).translate(_ESCAPES),
    )


def write_viewer(
    path: Path, trajectories: Sequence[Trajectory], title: str = "Trajectories"
) -> None:
    """Write the page of :func:`viewer_html` in one step; makes the folder, and replaces a file."""
    page = viewer_html(trajectories, title)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, page.encode())


def _read(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """Return the source expression of an inline script or style in a content security policy."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
