"""The process of the program: loads it, and does with its functions what the tester asks.

Nothing here is trusted after the program was loaded; it can say whatever the program could return.
"""

from __future__ import annotations

import builtins
import operator
import os
import sys
import types

from lit_unmask.verifiers.sandbox.inside.rpc import RPC, Gone

TYPE_CHECKING = False  # typing takes longer to import than all of this package
if TYPE_CHECKING:
    from typing import Any

MODULE = "solution"
_BASES: tuple[Any, ...] = (list, tuple, dict, set, frozenset, str, int, float, bytes)
# What the tester may do with a thing of the program; next is a list of one item, empty at the end.
_OPERATIONS: dict[str, Any] = {
    "call": lambda function, *args, **kwargs: function(*args, **kwargs),
    **{"get": getattr, "item": operator.getitem, "iterate": iter, "length": len},
    "next": lambda thing: [item for _, item in zip((None,), thing, strict=False)],
    "same": lambda thing, other: bool(thing == other),
}


class Solution:
    """Serves a loaded program.

    Args:
        reader: Descriptor of the tester's requests.
        writer: Descriptor of the answers.
    """

    def __init__(self, reader: int, writer: int) -> None:
        self._module = types.ModuleType(MODULE)
        self._kept: dict[int, Any] = {}
        self._builtins = dict(vars(builtins))
        streams = open(reader, "rb"), open(writer, "wb")
        self._rpc = RPC(*streams, serve=self._serve, keep=self._keep, find=self._find)

    def run(self) -> None:
        """Answer until the tester is gone."""
        self._rpc.serve_forever()

    def _serve(self, name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        return (_OPERATIONS.get(name) or getattr(self, f"_do_{name}"))(*args, **kwargs)

    def _do_greet(self) -> None:
        pass

    def _do_load(self, source: str) -> None:
        sys.modules[MODULE] = self._module
        code, names = compile(source, f"<{MODULE}>", "exec"), vars(self._module)
        exec(code, names)  # nosec B102  # in the sandbox

    def _do_resolve(self, name: str) -> Any:
        try:
            return vars(self._module)[name]
        except KeyError:
            raise NameError(f"name {name!r} is not defined") from None

    def _do_test(self, source: str) -> None:
        """Run tests in this process, with the builtins that were there before the program."""
        current = vars(builtins)
        current.clear()
        current.update(self._builtins)
        code, names = compile(source, "<tests>", "exec"), vars(self._module)
        exec(code, names)  # nosec B102  # in the sandbox

    def _do_data(self, thing: Any) -> Any:
        """Return the content of an instance of a subclass of a builtin type, or None."""
        base = next((kind for kind in _BASES if isinstance(thing, kind)), None)
        if base is None:
            return None
        if base is dict:
            return dict(dict.items(thing))
        if base in (list, tuple, set, frozenset):
            return base(base.__iter__(thing))
        return base.__getnewargs__(thing)[0]

    def _keep(self, thing: Any) -> list[Any]:
        if isinstance(thing, _Function):
            return ["tester", thing.handle]
        self._kept[id(thing)] = thing
        return ["solution", id(thing)]

    def _find(self, handle: Any) -> Any:
        owner, number = handle
        return self._kept[number] if owner == "solution" else _Function(self._rpc, number)


class _Function:
    """A function of the tests, to call and for nothing else."""

    def __init__(self, rpc: RPC, handle: int) -> None:
        self.handle = handle
        self._rpc = rpc

    def __call__(self, *args: Any) -> Any:
        return self._rpc.request("call", self, *args)


def main(reader: int, writer: int) -> None:
    """Run the solution on two descriptors."""
    try:
        Solution(reader, writer).run()
    except Gone:
        pass
    finally:
        os._exit(0)
