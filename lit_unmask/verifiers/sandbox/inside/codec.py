"""Values as JSON: plain data and common types of the standard library, other things by handle."""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from importlib import import_module

TYPE_CHECKING = False  # typing takes longer to import than all of this package
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# Larger ones are written in base 16: decimal text of long integers is slow, and refused.
_LARGEST_DECIMAL = 2**63
_SEQUENCES: dict[str, Any] = {kind.__name__: kind for kind in (tuple, set, frozenset, deque)}
_MAPPINGS: dict[str, Any] = {kind.__name__: kind for kind in (dict, OrderedDict, Counter)}
_TAGS: dict[type, str] = {
    kind: tag for table in (_SEQUENCES, _MAPPINGS) for tag, kind in table.items()
}
_TAGS[defaultdict] = "dict"
# Types that are their text; imported where one is met.
_TEXTS = {
    "decimal.Decimal": ("__str__", None),
    "fractions.Fraction": ("__str__", None),
    "datetime.date": ("isoformat", "fromisoformat"),
    "datetime.datetime": ("isoformat", "fromisoformat"),
    "datetime.time": ("isoformat", "fromisoformat"),
    "builtins.complex": ("__repr__", None),
    "builtins.bytes": ("hex", "fromhex"),
    "builtins.bytearray": ("hex", "fromhex"),
}
_TIMEDELTA = "datetime.timedelta"


def encode(value: Any, keep: Callable[[Any], Any]) -> Any:
    """Return a value as JSON data.

    Types are compared exactly: an instance of a subclass, whose methods may say anything, goes by
    handle.

    Args:
        value: What to encode.
        keep: Returns the handle, as JSON data, of what is no plain data.

    Returns:
        Something that ``json.dumps`` takes.
    """
    kind = type(value)
    if value is None or kind in (bool, float, str):
        return value
    if kind is int:
        return value if abs(value) < _LARGEST_DECIMAL else ["int", hex(value)]
    if kind is list:
        return ["list", [encode(item, keep) for item in value]]
    if kind is range:
        return ["range", [value.start, value.stop, value.step]]
    tag = _TAGS.get(kind)
    if tag in _SEQUENCES:
        return [tag, [encode(item, keep) for item in value]]
    if tag in _MAPPINGS:
        return [tag, [[encode(key, keep), encode(item, keep)] for key, item in value.items()]]
    name = f"{kind.__module__}.{kind.__qualname__}"
    if name == _TIMEDELTA:
        return [name, [value.days, value.seconds, value.microseconds]]
    if name in _TEXTS:
        return [name, getattr(value, _TEXTS[name][0])()]
    return ["kept", keep(value)]


def decode(data: Any, find: Callable[[Any], Any]) -> Any:
    """Return the value that :func:`encode` made ``data`` of.

    Args:
        data: What ``json.loads`` returned.
        find: Returns the object, or a stand-in for it, of a handle.

    Returns:
        A value of exactly the type that was encoded.

    Raises:
        ValueError: If the data is of no known form; other exceptions if its content is not right.
    """
    if data is None or isinstance(data, bool | int | float | str):
        return data
    if not (isinstance(data, list) and len(data) == 2 and isinstance(data[0], str)):
        raise ValueError("a message of no known form")
    tag, content = data
    if tag == "kept":
        return find(content)
    if tag == "int":
        return int(content, 16)
    if tag == "range":
        return range(*content)
    if tag == "list":
        return [decode(item, find) for item in content]
    if tag in _SEQUENCES:
        return _SEQUENCES[tag](decode(item, find) for item in content)
    if tag in _MAPPINGS:
        return _MAPPINGS[tag]({decode(key, find): decode(item, find) for key, item in content})
    if tag not in _TEXTS and tag != _TIMEDELTA:
        raise ValueError(f"a message with the unknown tag {tag!r}")
    module, _, name = tag.partition(".")
    kind = getattr(import_module(module), name)
    if tag == _TIMEDELTA:
        return kind(*content)
    reader = _TEXTS[tag][1]
    return getattr(kind, reader)(content) if reader else kind(content)
