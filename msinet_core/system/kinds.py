"""The kinds of values that settings accept, given in Python, TOML or on the command line."""

from __future__ import annotations

import math
import numbers
import operator
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from msinet_core.errors import UsageError, did_you_mean


@dataclass(frozen=True)
class Kind:
    """Define the values that a setting accepts.

    Args:
        expected: What a value must be, for example "an integer of at least 1".
        metavar: How help texts show a value.
        standard: Returns an accepted value in its standard form, and raises `TypeError`,
            `ValueError` or `UsageError` for any other object.
        from_text: Converts text from the command line; raises `ValueError` for another form.
        to_text: Formats a value as on the command line.
        words: The words that it accepts, if there are only some.
        is_table: Whether it is a table, whose entries can be given one by one.
    """

    expected: str
    metavar: str
    standard: Callable[[Any], Any]
    from_text: Callable[[str], Any] = str
    to_text: Callable[[Any], str] = str
    words: Sequence[str] = ()
    is_table: bool = False

    def check(self, value: Any, convert: Callable[[Any], Any] = lambda value: value) -> Any:
        """Return a value in its standard form.

        Args:
            value: Any object.
            convert: Called with it first.

        Raises:
            ValueError: Gives the value and what it must be.
        """
        try:
            return self.standard(convert(value))
        except (ArithmeticError, AttributeError, TypeError, ValueError, UsageError):
            unknown = [name for name in re.findall(r"\w+", str(value)) if name not in self.words]
            hint = did_you_mean(unknown[0], self.words) if unknown else ""
            raise ValueError(f"{value!r}; must be {self.expected}.{hint}") from None

    def parse(self, text: str) -> Any:
        """Return a value from the command line in its standard form.

        Args:
            text: The text.

        Raises:
            ValueError: Gives the text and what it must be.
        """
        return self.check(text, self.from_text)


def integer(minimum: int = 1) -> Kind:
    """Accept integers.

    Args:
        minimum: The smallest one.
    """

    def standard(value: Any) -> int:
        if isinstance(value, bool) or operator.index(value) < minimum:
            raise ValueError
        return operator.index(value)

    return Kind(f"an integer of at least {minimum}", "N", standard, int)


def choice(words: Sequence[str], synonyms: Mapping[str, str] | None = None) -> Kind:
    """Accept one of several words.

    Args:
        words: The words.
        synonyms: Other spellings of some of them.
    """

    def standard(value: Any) -> str:
        word = (synonyms or {}).get(value, value)
        return words[words.index(word)]

    return Kind(f"one of {', '.join(words)}", f"[{'|'.join(words)}]", standard, words=words)


def choices(words: Sequence[str], always: Sequence[str] = ()) -> Kind:
    """Accept several words, as a sequence or with commas between them.

    Args:
        words: The words.
        always: Those that are part of every value.
    """

    def standard(value: Any) -> tuple[str, ...]:
        names = _split(value)
        if not set(names) <= set(words):
            raise ValueError
        return tuple(dict.fromkeys((*always, *names)))

    expected = f"one or more of {', '.join(words)}, separated by commas"
    return Kind(expected, ",".join(words), standard, to_text=",".join, words=words)


def factors(parts: Sequence[str]) -> Kind:
    """Accept a table of factors above 0, one for each of some parts.

    Args:
        parts: Their names.
    """

    def standard(value: Any) -> dict[str, float]:
        value = from_text(value) if isinstance(value, str) else value
        table = {
            parts[parts.index(name)]: _positive(number) for name, number in dict(value).items()
        }
        return {name: table[name] for name in parts if name in table}

    def from_text(entry: str) -> dict[str, float]:
        name, number = entry.split("=", 1)
        return {name.strip(): float(number)}

    metavar = "PART=FACTOR"
    expected = f"{metavar}: one of {', '.join(parts)}, and a number above 0"
    return Kind(expected, metavar, standard, from_text, words=parts, is_table=True)


def several(kind: Kind) -> Kind:
    """Accept one or several values of a kind, as a sequence or with commas between them.

    Args:
        kind: The kind of each value.
    """

    def standard(value: Any) -> tuple[Any, ...]:
        if isinstance(value, str):
            value = map(kind.from_text, _split(value))
        values = list(value) if isinstance(value, Iterable) else [value]
        if not values:
            raise ValueError
        return tuple(dict.fromkeys(map(kind.standard, values)))

    return Kind(
        f"{kind.expected}; or several, separated by commas",
        f"{kind.metavar},...",
        standard,
        to_text=lambda values: ",".join(map(kind.to_text, values)),
        words=kind.words,
    )


def text(metavar: str) -> Kind:
    """Accept strings and paths.

    Args:
        metavar: How help texts show a value.
    """
    return Kind("a string", metavar, os.fsdecode)


def image_size(example: tuple[int, int]) -> Kind:
    """Accept height and width in pixels, as two integers or as "HxW".

    Args:
        example: One of them.
    """

    def standard(value: Any) -> tuple[int, int]:
        if isinstance(value, str):
            match = re.fullmatch(r"\s*(\d+)\s*[xX]\s*(\d+)\s*", value)
            value = map(int, match.groups()) if match else ()
        height, width = map(integer().standard, value)
        return height, width

    to_text = "{0[0]}x{0[1]}".format
    expected = f"height x width in pixels, such as {to_text(example)}"
    return Kind(expected, "HxW", standard, to_text=to_text)


def _positive(value: Any, maximum: float = sys.float_info.max) -> float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError
    number = float(value)
    if not 0 < number <= maximum:
        raise ValueError
    return number


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _table(value: Any) -> dict[str, str]:
    table = dict([value.split("=", 1)] if isinstance(value, str) else value)
    if not all(isinstance(part, str) for item in table.items() for part in item):
        raise TypeError
    return table


def _split(value: Any) -> list[Any]:
    if not isinstance(value, str):
        return list(value)
    return [name.strip() for name in value.split(",") if name.strip()]


POSITIVE_NUMBER = Kind("a finite number above 0", "FLOAT", _positive, float)
FRACTION = Kind(
    "a number above 0 and below 1",
    "FLOAT",
    partial(_positive, maximum=math.nextafter(1.0, 0.0)),
    float,
)
SIGMA = Kind(
    "a number of pixels above 0, at most 1000", "PX", partial(_positive, maximum=1000), float
)
"""Of the Gaussian at each fixation: about one degree of visual angle, so some 20 to 100 pixels."""

SPLIT = choice(("valid", "train", "test"), {"val": "valid", "validation": "valid"})
"""A part of a dataset; many name its folder otherwise."""

FLAG = Kind("true or false", "", _flag)
TABLE = Kind(
    "NAME=VALUE, or a table of strings",
    "NAME=VALUE",
    _table,
    lambda option: dict([option.split("=", 1)]),
    is_table=True,
)
