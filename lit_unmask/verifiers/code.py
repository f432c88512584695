"""Finds the program in a completion about code.

What is understood: fenced blocks, with or without a language, closed or not, or closed alone; marks
such as ``[BEGIN]`` and ``[DONE]``; a program among prose; a continuation of the prompt, whose first
line or whole body may have lost its indentation.
"""

from __future__ import annotations

import ast
import builtins
import re
import textwrap
from collections.abc import Iterator

from lit_unmask.verifiers.blocks import between_marks, blocks_of, plain
from lit_unmask.verifiers.syntax import (
    DEFINITIONS,
    Reader,
    name_of,
    names_used,
    statements,
)

_START = re.compile(r"^(?:def|class|import|from|async|@|[A-Za-z_]\w*\s*(?::[^=\n]+)?=)", re.M)
_INDENTATION = re.compile(r"^[ \t]+", re.M)
# Longer texts are cut: no problem here asks for programs of such a length.
_LONGEST = 10_000
# Characters that are parsed to find a program, prompt not counted: a tenth of a second.
_WORK = 30_000
_MOST_PIECES, _MOST_STARTS = 12, 60
# Who calls these shows the program or talks with somebody.
_SHOWING = {"print", "input", "open", "exit", "quit", "display", "exec", "eval"}


def find_program(completion: str, prompt: str = "", entry_point: str | None = None) -> str:
    """Return the program that a completion means.

    A fenced block that defines the entry point wins, the last of them; without an entry point it is
    the first block. Definitions and imports of the blocks before it come along, and what else of
    other blocks it uses. A completion without a block is read as a program if it defines the entry
    point, else as a continuation of the prompt. What does not parse behind the program is cut off.

    Never raises, whatever the text; the program need not parse. The work is bounded, see
    :class:`~lit_unmask.verifiers.syntax.Reader`.

    Args:
        completion: What was written.
        prompt: Code that the completion continues; its imports and definitions belong to the
            program even if the completion repeats the signature.
        entry_point: Name that the program must define, where it is known.
    """
    text = completion[:_LONGEST].replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
    text = _INDENTATION.sub(lambda match: match[0].replace("\t", "    "), between_marks(text))
    preamble = preamble_of(prompt, entry_point)
    finder = _Finder(entry_point, len(prompt))
    readings = list(dict.fromkeys(finder.readings(text)))
    programs = [finder.program_of(reading) for reading in readings]
    if entry_point is not None or not prompt:
        for program in programs:
            if finder.reader.defines(program, entry_point):
                return f"{preamble}\n{program}" if preamble else program
    return finder.continued(prompt, readings) if prompt else programs[0]


def preamble_of(prompt: str, entry_point: str | None) -> str:
    """Return the complete statements of a prompt before what it leaves to be continued."""
    reader = Reader()
    tree = reader.tree(prompt)
    if tree is None:
        return reader.longest(prompt)
    if not tree.body:
        return prompt
    named = [node for node in tree.body if entry_point and name_of(node) == entry_point]
    last = (named or tree.body)[-1]
    if not isinstance(last, DEFINITIONS):
        return prompt
    first = min([last.lineno, *(decorator.lineno for decorator in last.decorator_list)])
    return "\n".join(prompt.split("\n")[: first - 1])


def parses(program: str) -> bool:
    """Return whether a text is a program of at least one statement."""
    return Reader().parses(program)


class _Finder:
    """Reads texts as programs that define an entry point, within a bound of work."""

    def __init__(self, entry_point: str | None, length: int) -> None:
        self.entry_point = entry_point
        # Each of the ways to continue a prompt parses it again.
        self.reader = Reader(_WORK + 10 * length)

    def readings(self, text: str) -> Iterator[str]:
        """Yield what of a text may be the program, most likely first."""
        for quoted_too in (False, True):
            blocks = blocks_of(text, quoted_too)
            yield from self._of_blocks(blocks.python)
            if blocks.before is not None:
                yield plain(blocks.before)
        yield plain(text)

    def _of_blocks(self, blocks: list[str]) -> Iterator[str]:
        if not blocks:
            return
        programs = [self.program_of(block) for block in blocks]
        defining = [
            number
            for number, program in enumerate(programs)
            if self.entry_point is not None and self.reader.defines(program, self.entry_point)
        ]
        chosen = defining[-1] if defining else 0
        yield self._with_others(programs if defining else blocks, chosen)
        # A block may be whole by itself where one before it ends the program early.
        yield blocks[chosen]

    def program_of(self, text: str) -> str:
        """Return a text from its first line of code as far as it parses, prose left out."""
        whole = _without_words(text, self.reader)
        if self.reader.parses(whole):
            return whole
        pieces: list[str] = []
        position = 0
        for _ in range(_MOST_STARTS):
            if len(pieces) == _MOST_PIECES or self.reader.spent:
                break
            piece = _without_words(self.reader.longest(text[position:]), self.reader)
            if piece.strip():
                pieces.append(piece)
            match = _START.search(text, position + max(len(piece), 1))
            if match is None:
                break
            position = match.start()
        if not pieces:
            return text
        defining = [n for n, p in enumerate(pieces) if self.reader.defines(p, self.entry_point)]
        if not defining:
            return pieces[0]
        return self._with_others(pieces, defining[-1] if self.entry_point else defining[0])

    def _with_others(self, programs: list[str], chosen: int) -> str:
        """Return a program with what others give to it in front.

        From those before it come definitions and imports, and what else of them it uses: constants,
        tables, and the statements that fill them. From those behind it comes only what is missing.
        """
        program = programs[chosen]
        units = [unit for source in programs[:chosen] for unit in self._units(source)]
        kept = {n for n, (nodes, _) in enumerate(units) if any(map(_is_definition, nodes))}
        later = [unit for source in programs[chosen + 1 :] for unit in self._units(source)]
        if not units and not later:
            return program
        known = self._bound(program)
        known |= {name for number in kept for name in _names_bound(units[number][0])}
        used = names_used("".join([*(units[n][1] for n in sorted(kept)), program]))
        units += later
        growing = True
        while growing:
            growing = False
            for number, (nodes, text) in enumerate(units):
                if number in kept or not self._serves(nodes, text, used - known):
                    continue
                kept.add(number)
                used |= names_used(text)
                growing = True
            known |= {name for n in kept for name in _names_bound(units[n][0])}
        known -= self._bound(program)
        kept |= {n for n, unit in enumerate(units) if self._fills(*unit, known & used)}
        return "".join([*(units[number][1] for number in sorted(kept)), program])

    def _units(self, source: str) -> list[tuple[list[ast.stmt], str]]:
        program = self.program_of(source) if self.reader.tree(source) is None else source
        tree = self.reader.tree(program)
        return [] if tree is None else list(statements(program, tree))

    def _bound(self, program: str) -> set[str]:
        tree = self.reader.tree(program)
        return set() if tree is None else _names_bound(tree.body)

    def _serves(self, nodes: list[ast.stmt], text: str, missing: set[str]) -> bool:
        """Return whether statements bind what is missing, and do nothing but that."""
        missing = missing - set(dir(builtins))
        kinds = (ast.Assign, ast.AnnAssign, *DEFINITIONS, ast.Import, ast.ImportFrom)
        return (
            all(isinstance(node, kinds) for node in nodes)
            and bool(_names_bound(nodes) & missing)
            and not names_used(text) & (_SHOWING | {self.entry_point})
        )

    def _fills(self, nodes: list[ast.stmt], text: str, tables: set[str]) -> bool:
        """Return whether statements change what other statements bind, and show nothing."""
        used = names_used(text)
        kinds = (ast.Assign, ast.AugAssign, ast.For, ast.While, ast.Expr, ast.If, ast.With)
        changes = any(
            not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Name)
            for node in nodes
        )
        return (
            changes
            and all(isinstance(node, kinds) for node in nodes)
            and bool(used & tables)
            and not used & (_SHOWING | {self.entry_point})
        )

    def continued(self, prompt: str, texts: list[str]) -> str:
        """Return a prompt with the continuation that keeps the most lines of a text."""
        best, kept = prompt + texts[0], 0
        for text in texts:
            whole = _lines(text)
            for candidate in _indentations(text):
                lines = self.reader.longest(candidate, prompt)
                if _lines(lines) > kept:
                    best, kept = prompt + lines, _lines(lines)
                if kept == whole:
                    break
        return _without_words(best, self.reader)


def _lines(text: str) -> int:
    return sum(1 for line in text.splitlines() if line.strip())


def _indentations(text: str) -> Iterator[str]:
    """Yield a text as it is, with its first line indented, and with all lines indented."""
    yield text
    yield "\n" + text
    first, _, rest = text.lstrip("\n").partition("\n")
    yield f"\n    {first.lstrip()}\n{rest}"
    yield "\n" + textwrap.indent(textwrap.dedent(text.strip("\n")), "    ")
    yield f"\n    {first.lstrip()}\n" + textwrap.indent(textwrap.dedent(rest), "    ")


def _without_words(source: str, reader: Reader) -> str:
    """Return a program without words of prose at its end that happen to parse."""
    tree = reader.tree(source)
    if tree is None:
        return source
    body = list(tree.body)
    while body and isinstance(body[-1], ast.Expr) and _is_prose(body[-1].value):
        body.pop()
    if len(body) == len(tree.body):
        return source
    return "\n".join(source.split("\n")[: body[-1].end_lineno if body else 0]) + "\n"


def _is_prose(node: ast.expr) -> bool:
    return not any(isinstance(part, ast.Call | ast.Await) for part in ast.walk(node))


def _is_definition(node: ast.stmt) -> bool:
    return isinstance(node, (*DEFINITIONS, ast.Import, ast.ImportFrom))


def _names_bound(nodes: list[ast.stmt]) -> set[str]:
    """Return the names that statements bind by definition, import or assignment."""
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, DEFINITIONS):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            parts = [part for target in targets for part in ast.walk(target)]
            names |= {part.id for part in parts if isinstance(part, ast.Name)}
    return names
