"""Check dataclasses from plugins against their type hints, and take them through JSON."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

Record = TypeVar("Record")


_hints: Callable[[Any], dict[str, Any]] = cache(get_type_hints)


def field_problems(record: Any) -> list[str]:
    """List the fields of a dataclass whose values do not have their declared types.

    Args:
        record: An instance; its tuples and dataclasses are checked as well.
    """
    found = []
    for name, hint in _hints(type(record)).items():
        value = getattr(record, name)
        if is_dataclass(hint) and isinstance(value, hint):  # type: ignore[arg-type]
            found += [f"{name}.{problem}" for problem in field_problems(value)]
        elif not _conforms(value, hint):
            found.append(f"{name} must be {_describe(hint)}, got {reprlib.repr(value)}")
    return found


def to_json(record: Any) -> dict[str, Any]:
    """Return a dataclass as values that JSON can hold; callables are left out.

    Args:
        record: An instance whose fields have their declared types.
    """

    def convert(items: list[tuple[str, Any]]) -> dict[str, Any]:
        return {
            name: value.value if isinstance(value, Enum) else value
            for name, value in items
            if not callable(value)
        }

    return asdict(record, dict_factory=convert)


def from_json(kind: type[Record], values: Mapping[str, Any], **others: Any) -> Record:
    """Return the dataclass that `to_json` was given.

    Args:
        kind: The dataclass.
        values: What `to_json` returned.
        others: Fields that JSON cannot hold.
    """
    hints = _hints(kind)
    known = {name: _decode(hint, values[name]) for name, hint in hints.items() if name in values}
    return kind(**known, **others)


def _conforms(value: object, hint: Any) -> bool:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is tuple:
        return isinstance(value, tuple) and all(_conforms(item, arguments[0]) for item in value)
    if origin in (Union, UnionType):
        return any(_conforms(value, argument) for argument in arguments)
    if origin is Literal:
        return isinstance(value, str) and value in arguments
    if origin is Callable or hint is Callable:
        return callable(value)
    if hint is int and isinstance(value, bool):
        return False
    if origin is not None:
        return isinstance(value, origin)
    return isinstance(value, hint) and not (is_dataclass(hint) and field_problems(value))


def _decode(hint: Any, value: Any) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is tuple:
        return tuple(_decode(arguments[0], item) for item in value)
    if is_dataclass(hint) and isinstance(hint, type):
        return from_json(hint, value)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint(value)
    # A lone surrogate could not be printed.
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value


def _describe(hint: Any) -> str:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is tuple:
        return f"a tuple of {_describe(arguments[0])}"
    if origin in (Union, UnionType):
        return " or ".join(_describe(argument) for argument in arguments)
    if origin is Literal:
        return " or ".join(map(str, arguments))
    if hint is NoneType:
        return "None"
    return "callable" if origin is not None else str(hint.__name__)
