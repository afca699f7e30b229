"""Settings, declared once: what a value may be, given in Python, TOML or on the command line.

A dataclass declares its fields with `setting` and calls `check_settings`; the command line makes
its options from the same declarations.
"""

from __future__ import annotations

import abc
import math
import numbers
import operator
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from msinet_core.errors import UsageError, did_you_mean


class Kind(abc.ABC):
    """Define the values that a setting accepts."""

    metavar: str = ""
    """How help texts show a value."""

    @property
    @abc.abstractmethod
    def expected(self) -> str:
        """What a value must be, for example "an integer of at least 1"."""

    @abc.abstractmethod
    def standard(self, value: Any) -> Any:
        """Return an accepted value in its standard form.

        Args:
            value: Any object.

        Raises:
            TypeError, ValueError: The value is not accepted.
        """

    def from_text(self, text: str) -> Any:
        """Convert text from the command line to a value that `check` accepts.

        Args:
            text: The text.

        Raises:
            ValueError: The text has another form.
        """
        return text

    def to_text(self, value: Any) -> str:
        """Format a value as on the command line.

        Args:
            value: An accepted value.
        """
        return str(value)

    def check(self, value: Any) -> Any:
        """Return a value in its standard form.

        Args:
            value: Any object.

        Raises:
            ValueError: Gives the value and what it must be.
        """
        try:
            return self.standard(value)
        except (TypeError, ValueError):
            raise self._problem(value) from None

    def parse(self, text: str) -> Any:
        """Read a value from the command line.

        Args:
            text: The text.

        Raises:
            ValueError: Gives the text and what it must be.
        """
        try:
            return self.standard(self.from_text(text))
        except (TypeError, ValueError):
            raise self._problem(text) from None

    def _problem(self, value: Any) -> ValueError:
        return ValueError(f"{value!r}; must be {self.expected}.{self.hint(value)}")

    def hint(self, value: Any) -> str:
        """Return " Did you mean 'x'?" if a word is close to an accepted one.

        Args:
            value: A value that is not accepted.
        """
        return ""


@dataclass(frozen=True)
class Integer(Kind):
    """Accept integers.

    Args:
        minimum: The smallest one.
    """

    minimum: int = 1
    metavar = "N"

    @property
    def expected(self) -> str:
        return f"an integer of at least {self.minimum}"

    def standard(self, value: Any) -> int:
        if isinstance(value, bool) or operator.index(value) < self.minimum:
            raise ValueError
        return operator.index(value)

    def from_text(self, text: str) -> int:
        return int(text)


class PositiveNumber(Kind):
    """Accept finite numbers above 0."""

    metavar = "FLOAT"
    expected = "a finite number above 0"

    def standard(self, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise TypeError
        number = float(value)
        if not 0 < number < math.inf:
            raise ValueError
        return number

    def from_text(self, text: str) -> float:
        return float(text)


@dataclass(frozen=True)
class Text(Kind):
    """Accept text, or a path.

    Args:
        metavar: How help texts show it.
    """

    metavar: str = "TEXT"
    expected = "a string"

    def standard(self, value: Any) -> str:
        text = os.fspath(value)
        if not isinstance(text, str):
            raise TypeError
        return text


class Flag(Kind):
    """Accept true or false."""

    expected = "true or false"

    def standard(self, value: Any) -> bool:
        if not isinstance(value, bool):
            raise TypeError
        return value


@dataclass(frozen=True)
class Choice(Kind):
    """Accept one of several words.

    Args:
        words: The words.
        synonyms: Other spellings of some of them.
    """

    words: Sequence[str]
    synonyms: Mapping[str, str] = field(default_factory=dict)

    @property
    def metavar(self) -> str:  # type: ignore[override]  # derived from the words
        return f"[{'|'.join(self.words)}]"

    @property
    def expected(self) -> str:
        return f"one of {', '.join(self.words)}"

    def standard(self, value: Any) -> str:
        word = self.synonyms.get(value, value)
        return self.words[self.words.index(word)]

    def hint(self, value: Any) -> str:
        return did_you_mean(str(value), self.words)


@dataclass(frozen=True)
class Choices(Kind):
    """Accept several words, as a sequence or with commas between them.

    Args:
        words: The words.
        always: Those that are always part of the value.
    """

    words: Sequence[str]
    always: Sequence[str] = ()

    @property
    def metavar(self) -> str:  # type: ignore[override]  # derived from the words
        return ",".join(self.words)

    @property
    def expected(self) -> str:
        return f"one or more of {', '.join(self.words)}, separated by commas"

    def standard(self, value: Any) -> tuple[str, ...]:
        names = _split(value)
        if not set(names) <= set(self.words):
            raise ValueError
        return tuple(dict.fromkeys((*self.always, *names)))

    def to_text(self, value: Any) -> str:
        return ",".join(value)

    def hint(self, value: Any) -> str:
        names = _split(value) if isinstance(value, Sequence) else []
        unknown = [name for name in names if name not in self.words]
        return did_you_mean(str(unknown[0]), self.words) if unknown else ""


@dataclass(frozen=True)
class ImageSize(Kind):
    """Accept height and width in pixels, as two integers or as "HxW".

    Args:
        example: One of them.
    """

    example: tuple[int, int]
    metavar = "HxW"

    @property
    def expected(self) -> str:
        return f"height x width in pixels, such as {self.to_text(self.example)}"

    def standard(self, value: Any) -> tuple[int, int]:
        if isinstance(value, str):
            value = self.from_text(value)
        height, width = map(Integer().standard, value)
        return height, width

    def from_text(self, text: str) -> tuple[int, int]:
        match = re.fullmatch(r"\s*(\d+)\s*[xX]\s*(\d+)\s*", text)
        if match is None:
            raise ValueError
        return int(match[1]), int(match[2])

    def to_text(self, value: Any) -> str:
        return "{}x{}".format(*value)


class Table(Kind):
    """Accept texts by name."""

    metavar = "NAME=VALUE"
    expected = "NAME=VALUE, or a table of strings"

    def standard(self, value: Any) -> dict[str, str]:
        table = dict(value)
        if not all(isinstance(text, str) for item in table.items() for text in item):
            raise TypeError
        return table

    def from_text(self, text: str) -> dict[str, str]:
        return dict([text.split("=", 1)])


@dataclass(frozen=True)
class Setting:
    """Describe a setting.

    Args:
        kind: The values it accepts.
        help: What it does, in sentences.
        default: Its default value; None for none.
        unset: What happens if it is None, as the help text's default.
    """

    kind: Kind
    help: str
    default: Any = None
    unset: str = ""


def setting(kind: Kind, help: str, default: Any = MISSING, unset: str = "") -> Any:
    """Declare a setting as a field of a dataclass.

    Args:
        kind: The values it accepts; None too if that is its default.
        help: What it does, in sentences.
        default: Its default value; a required setting has none.
        unset: What happens if it is None, as the help text's default.
    """
    declared = Setting(kind, help, None if default is MISSING else default, unset)
    metadata = {"setting": declared}
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def setting_like(declared: Setting, default: Any) -> Any:
    """Declare a setting as a field, like one of another dataclass.

    Args:
        declared: The other setting.
        default: The default value of this one.
    """
    return setting(declared.kind, declared.help, default)


def declared_settings(owner: Any) -> dict[str, Setting]:
    """Return the settings that a dataclass declares, by name.

    Args:
        owner: The dataclass, or an instance.
    """
    return {item.name: item.metadata["setting"] for item in fields(owner)}


def check_settings(owner: Any) -> None:
    """Check all settings of a frozen dataclass, and bring each to its standard form.

    Args:
        owner: The instance; call this in its ``__post_init__``.

    Raises:
        UsageError: Lists every setting whose value is not accepted.
    """
    problems = []
    for item in fields(owner):
        value = getattr(owner, item.name)
        if value is None and item.default is None:
            continue
        try:
            checked = item.metadata["setting"].kind.check(value)
        except ValueError as error:
            problems.append(f"invalid {item.name}: {error}")
        else:
            object.__setattr__(owner, item.name, checked)
    if problems:
        raise UsageError("\n".join(problems))


def option_name(name: str) -> str:
    """Return a setting's option, for example ``--batch-size``.

    Args:
        name: The setting's name.
    """
    return f"--{name.replace('_', '-')}"


def _split(value: Any) -> list[str]:
    if not isinstance(value, str):
        return list(value)
    return [name.strip() for name in value.split(",") if name.strip()]
