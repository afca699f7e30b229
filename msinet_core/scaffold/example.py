"""Write a complete example plugin from the wheel, under another name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from msinet_core.scaffold.writer import check_name, identifier_of, write_package

_FILES = ("README.md", "LICENSE", "pyproject.toml", ".github", "src", "tests")
"""What belongs to an example; pyproject.toml puts the same into the wheel."""

_DEVICE = "|".join(
    (
        *(r'(?<=name="){0}(?=")', r'(?<=device = "){0}(?=")', r'^{0}(?= = ")'),
        *(r"(?<=--device ){0}\b", r"(?<=check ){0}\b", r"(?<=lists ){0}\b"),
        *(r"(?<=`){0}(?=`)", r"(?<=Device '){0}(?=')", r"(?<=r\"'){0}(?=')"),
    )
)
"""Where an example's files name the device, and not its framework."""


def write_example(folder: Path, name: str, example: str = "jax") -> Path:
    """Write the package of a complete plugin, which passes every row of the kit.

    Args:
        folder: The folder to create; it must not exist.
        name: The name of the new device.
        example: The device of the example.

    Returns:
        The folder.

    Raises:
        UsageError: An argument is invalid, or the folder or the device exists already.
        MsinetError: The folder cannot be written; nothing is left behind.
    """
    check_name(name)
    source = _source(example)
    renames = (
        (f"msinet_device_{example}", f"msinet_device_{identifier_of(name)}"),
        (f"msinet-device-{example}", f"msinet-device-{name}"),
        (_DEVICE.format(example), name),
    )
    contents = {
        path.relative_to(source).as_posix(): path.read_text("utf-8")
        for part in _FILES
        for path in _files(source / part)
    }
    renamed = ((_rename(path, renames), _rename(contents[path], renames)) for path in contents)
    return write_package(folder, renamed)


def _rename(text: str, renames: Iterable[tuple[str, str]]) -> str:
    for pattern, word in renames:
        text = re.sub(pattern, word, text, flags=re.MULTILINE)
    return text


def _source(example: str) -> Path:
    """Find an example in the wheel, or in the repository of an editable installation."""
    installed = Path(__file__).with_name("examples") / example
    if installed.is_dir():
        return installed
    return Path(__file__).parents[2] / "examples" / f"msinet-device-{example}"


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return [one for one in path.rglob("*") if one.is_file() and "__pycache__" not in one.parts]
