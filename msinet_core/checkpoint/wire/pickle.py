"""Pickles of plain data, read without running anything: Python's pickle module is not used.

Functions and classes are never imported. They are names here, and a call becomes a `Call`, which
the caller may interpret; so a hostile pickle is data like any other.

Source: Python's pickletools, which documents every opcode.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

_MAX_OPCODES = 400_000
"""A state_dict takes some thirty for each tensor."""

_CONSTANTS: Mapping[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
}
_LITERALS = {
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
    *("BINUNICODE", "BINSTRING", "SHORT_BINSTRING"),
}
"""Opcodes whose argument is the value."""


@dataclass(frozen=True)
class Global:
    """A function or class, by name only.

    Args:
        name: For example ``torch._utils._rebuild_tensor_v2``.
    """

    name: str


@dataclass(eq=False)
class Call:
    """A call that was not made.

    Args:
        function: Its name, if it is a `Global`; otherwise empty.
        arguments: Of the call.
        items: Added to the result, as to a dictionary.
        state: Given to the result; None if there is none.
    """

    function: str
    arguments: tuple[Any, ...]
    items: dict[Any, Any] = field(default_factory=dict)
    state: Any = None


def read_pickle(stream: io.BytesIO, persistent: Callable[[Any], Any]) -> Any:
    """Read one pickle.

    Keys of dictionaries that are no texts are left out.

    Args:
        stream: At the pickle's first byte; left after its last.
        persistent: Returns the object for a persistent identifier.

    Raises:
        ValueError: It is not a pickle, or not of plain data.
        LookupError: It is damaged.
        TypeError: It is damaged.
        AttributeError: It is damaged.
    """
    machine = _Machine(persistent)
    for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
        if count == _MAX_OPCODES:
            raise ValueError("too many opcodes")
        machine.step(opcode.name, argument)
    return machine.stack.pop()


class _Machine:
    """Executes the opcodes that PyTorch's own reader of weights knows."""

    def __init__(self, persistent: Callable[[Any], Any]) -> None:
        self.stack: list[Any] = []
        self._outer: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        self._persistent = persistent

    def step(self, name: str, argument: Any) -> None:
        """Execute one opcode."""
        if name in _LITERALS:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name]())
        else:
            self._structure(name, argument)

    def _structure(self, name: str, argument: Any) -> None:
        stack = self.stack
        match name:
            case "PROTO" | "STOP":
                pass
            case "MARK":
                self._outer.append(stack)
                self.stack = []
            case "BINPUT" | "LONG_BINPUT":
                self._memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(self._memo[argument])
            case "TUPLE":
                values = self._since_mark()
                self.stack.append(tuple(values))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(tuple(self._pop(int(name[-1]))))
            case "APPEND":
                self._extend(self._pop(1))
            case "APPENDS":
                self._extend(self._since_mark())
            case "SETITEM":
                self._set(self._pop(2))
            case "SETITEMS":
                self._set(self._since_mark())
            case "GLOBAL":
                stack.append(Global(argument.replace(" ", ".")))
            case "REDUCE" | "NEWOBJ":
                function, arguments = self._pop(2)
                name = function.name if isinstance(function, Global) else ""
                stack.append(Call(name, arguments))
            case "BUILD":
                (state,) = self._pop(1)
                stack[-1].state = state
            case "BINPERSID":
                stack.append(self._persistent(stack.pop()))
            case _:
                raise ValueError(f"unsupported opcode {name}")

    def _pop(self, count: int) -> list[Any]:
        return [self.stack.pop() for _ in range(count)][::-1]

    def _since_mark(self) -> list[Any]:
        values = self.stack
        self.stack = self._outer.pop()
        return values

    def _extend(self, values: list[Any]) -> None:
        if isinstance(self.stack[-1], list):  # else a subclass of list, which holds no weights
            self.stack[-1].extend(values)

    def _set(self, items: list[Any]) -> None:
        target = self.stack[-1]
        target = target.items if isinstance(target, Call) else target
        for key, value in zip(items[::2], items[1::2], strict=True):
            # Numbers can all have one hash; hashing nested tuples takes forever, or crashes Python.
            if isinstance(key, str):
                target[key] = value
