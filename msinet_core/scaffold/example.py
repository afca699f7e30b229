"""Write the complete plugin for JAX from the wheel, under another name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from msinet_core.scaffold.writer import check_name, identifier_of, write_package

_FILES = ("README.md", "LICENSE", "pyproject.toml", ".github", "src", "tests")
"""What belongs to the example; pyproject.toml puts the same into the wheel."""

_DEVICE = "|".join(
    (
        *(r'(?<=name=")jax(?=")', r'(?<=device = ")jax(?=")', r'^jax(?= = ")'),
        *(r"(?<=--device )jax\b", r"(?<=check )jax\b", r"(?<=lists )jax\b"),
        *(r"(?<=`)jax(?=`)", r"(?<=Device ')jax(?=')", r"(?<=r\"')jax(?=')"),
    )
)
"""Where its files name the device, and not its framework."""


def write_example(folder: Path, name: str) -> Path:
    """Write the package of a complete plugin, which passes every row of the kit.

    Args:
        folder: The folder to create; it must not exist.
        name: The name of the new device.

    Returns:
        The folder.

    Raises:
        UsageError: An argument is invalid, or the folder or the device exists already.
        MsinetError: The folder cannot be written; nothing is left behind.
    """
    check_name(name)
    source = _source()
    renames = (
        ("msinet_device_jax", f"msinet_device_{identifier_of(name)}"),
        ("msinet-device-jax", f"msinet-device-{name}"),
        (_DEVICE, name),
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


def _source() -> Path:
    """Find the example in the wheel, or in the repository of an editable installation."""
    installed = Path(__file__).with_name("examples") / "jax"
    if installed.is_dir():
        return installed
    return Path(__file__).parents[2] / "examples" / "msinet-device-jax"


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return [one for one in path.rglob("*") if one.is_file() and "__pycache__" not in one.parts]
