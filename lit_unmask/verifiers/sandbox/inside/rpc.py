"""Calls between two processes over a pair of pipes, one message a line."""

from __future__ import annotations

import builtins
import json
import os

from lit_unmask.verifiers.sandbox.inside.codec import decode, encode

TYPE_CHECKING = False  # typing takes longer to import than all of this package
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, BinaryIO


class Gone(Exception):
    """The other process has ended or no longer speaks."""


class Unsendable(Exception):
    """A value cannot be shown to the other process."""


class RPC:
    """One end of the conversation; while it waits for an answer it serves what it is asked.

    Args:
        reader: Where messages come from.
        writer: Where messages go to.
        serve: ``(name, args, kwargs) -> value`` for the requests of the other end.
        keep: Returns the handle of an object that is not plain data.
        find: Returns the object, or a stand-in for it, of a handle.
    """

    def __init__(
        self,
        reader: BinaryIO,
        writer: BinaryIO,
        serve: Callable[[str, list[Any], dict[str, Any]], Any],
        keep: Callable[[Any], Any],
        find: Callable[[Any], Any],
    ) -> None:
        self._reader, self._writer = reader, writer
        self._serve, self._keep, self._find = serve, keep, find

    def request(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Ask the other end and return its answer.

        Lists, dicts, sets and bytearrays among the arguments are afterwards as the other end left
        them.

        Raises:
            Gone: If the other end is no longer there.
            Exception: The builtin exception that is nearest to what was raised there.
        """
        sent = [encode(value, self._keep) for value in (args, kwargs)]
        ticket = os.urandom(8).hex()  # so that nobody answers before the question
        self._send({"do": name, "args": sent[0], "kwargs": sent[1], "ticket": ticket})
        while "do" in (message := self._receive()):
            self._answer(message)
        if message.get("ticket") != ticket:
            raise Gone("the other process answered something else")
        if "error" in message:
            raise _exception(message["error"], str(message.get("text", "")))
        after = self._decode(message.get("args"))
        for before, now in zip(args, after if isinstance(after, tuple) else (), strict=False):
            _update(before, now)
        return self._decode(message.get("value"))

    def serve_forever(self) -> None:
        """Answer requests until the other end is gone."""
        while True:
            self._answer(self._receive())

    def _answer(self, message: dict[str, Any]) -> None:
        args, kwargs = self._decode(message.get("args")), self._decode(message.get("kwargs"))
        try:
            value = self._serve(str(message.get("do")), list(args), dict(kwargs))
            answer = {"value": encode(value, self._keep), "args": encode(args, self._keep)}
        except (Gone, Unsendable):
            raise
        except BaseException as error:
            names = [kind.__name__ for kind in type(error).__mro__]
            answer = {"error": names, "text": _text(error)}
        self._send(answer | {"ticket": message.get("ticket")})

    def _decode(self, data: Any) -> Any:
        try:
            return decode(data, self._find)
        except (ValueError, TypeError, LookupError, ArithmeticError, RecursionError) as error:
            raise Gone(f"the other process sent nonsense: {error}") from error

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self._writer.write(json.dumps(message).encode() + b"\n")
            self._writer.flush()
        except OSError as error:
            raise Gone("the other process has ended") from error

    def _receive(self) -> dict[str, Any]:
        try:
            line = self._reader.readline()
            message = json.loads(line) if line.endswith(b"\n") else None
        except (OSError, ValueError, RecursionError) as error:
            raise Gone(f"the other process sent nonsense: {error}") from error
        if not isinstance(message, dict):
            raise Gone("the other process has ended")
        return message


def _exception(names: Any, text: str) -> Exception:
    for name in names if isinstance(names, list) else []:
        kind = getattr(builtins, str(name), None)
        if isinstance(kind, type) and issubclass(kind, Exception):
            try:
                return kind(text)
            except TypeError:  # UnicodeDecodeError wants more
                continue
    return RuntimeError(f"{names}: {text}")


def _text(error: BaseException) -> str:
    try:
        return str(error)[:500]
    except Exception:  # the program may have written __str__
        return ""


def _update(before: Any, now: Any) -> None:
    """Make a mutable argument look as the other end left it."""
    if type(before) is not type(now) or not isinstance(before, list | dict | set | bytearray):
        return
    if before == now:
        return
    if isinstance(before, list | bytearray):
        before[:] = now
    else:
        before.clear()
        before.update(now)
