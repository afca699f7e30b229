"""Parts of messages: suggestions, the operating system's reasons, long lists."""

from __future__ import annotations

import ast
import errno
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from msinet_core.errors import (
    MsinetError,
    bullet_list,
    command,
    counted,
    describe_error,
    did_you_mean,
    error_text,
    os_reason,
)
from msinet_core.system.files import write_text

ROOT = Path(__file__).parents[2]


def test_the_closest_name_is_suggested_whatever_its_case() -> None:
    assert did_you_mean("VGG", ("auto", "vgg16")) == " Did you mean 'vgg16'?"
    assert did_you_mean("salcon", ("SALICON",)) == " Did you mean 'SALICON'?"
    assert did_you_mean("elephant", ("auto", "vgg16")) == ""


def test_the_operating_systems_own_text_is_the_reason() -> None:
    assert os_reason(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))) == os.strerror(errno.ENOSPC)
    assert os_reason(OSError("lost")) == "lost"
    assert os_reason(OSError()) == "OSError"


def test_a_file_where_a_folder_should_be_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MsinetError, match="file"):
        write_text(tmp_path / "file" / "x.txt", "text")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MsinetError("No weights."), "No weights."),
        (ValueError("bad shape"), "ValueError: bad shape."),
        (MemoryError(), "MemoryError."),
    ],
    ids=repr,
)
def test_an_exception_becomes_a_sentence(error: Exception, expected: str) -> None:
    assert describe_error(error) == expected


def test_an_exception_that_cannot_be_printed_still_has_a_text() -> None:
    class UnprintableError(Exception):
        def __str__(self) -> str:
            raise KeyError

    assert "KeyError" in error_text(UnprintableError())
    assert describe_error(UnprintableError()).startswith("UnprintableError: ")


def test_one_thing_is_counted_in_the_singular() -> None:
    assert [counted(number, "image") for number in (0, 1, 2000)] == [
        *("0 images", "1 image", "2,000 images")
    ]
    assert counted(1, "is", "are") == "1 is"
    assert counted(2, "is", "are") == "2 are"


def test_a_long_list_is_cut_unless_debugging(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MSINET_DEBUG", raising=False)
    lines = [str(number) for number in range(9)]
    shown = bullet_list(lines, 3).splitlines()
    assert shown[:3] == ["  - 0", "  - 1", "  - 2"]
    assert len(shown) == 4
    assert "6 more" in shown[3]
    monkeypatch.setenv("MSINET_DEBUG", "1")
    assert bullet_list(lines, 3).splitlines() == [f"  - {line}" for line in lines]


def formatted_strings() -> Iterator[tuple[str, ast.JoinedStr]]:
    for folder in ("msinet_core", "plugins"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    yield f"{path}:{node.lineno}", node


def test_no_message_puts_a_value_into_a_command_unquoted() -> None:
    """The suggested command is pasted into a shell, and folders have names with spaces."""
    found = []
    for place, string in formatted_strings():
        text = ""
        for part in string.values:
            if isinstance(part, ast.Constant):
                text += part.value
            elif re.search(r"msinet-run [^.:;()\n]*$", text):
                found.append(place)
    assert not found, "use errors.command"


def test_commands_survive_a_shell() -> None:
    words = ["train", "--run", "runs/a b", "--data", "it's; here", "--init", Path("x$y")]
    assert shlex.split(command(*words)) == ["msinet-run", *map(str, words)]
    assert command("data", "check", "osie", data_root=None) == "msinet-run data check osie"
    assert command("data", "check", "osie", data_root=Path("my data")).endswith(
        " osie --data-root 'my data'"
    )
