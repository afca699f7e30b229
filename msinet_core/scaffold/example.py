"""Write a complete example plugin from the wheel, under another name."""

from __future__ import annotations

import re
from pathlib import Path

from msinet_core.errors import MsinetError, UsageError, os_reason
from msinet_core.scaffold.writer import check_spec, identifier_of
from msinet_core.system.files import atomic_folder

EXAMPLES = ("jax",)
"""The devices of the examples."""

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
        example: One of `EXAMPLES`.

    Returns:
        The folder.

    Raises:
        UsageError: An argument is invalid, or the folder or the device exists already.
        MsinetError: The folder cannot be written; nothing is left behind.
    """
    if example not in EXAMPLES:
        raise UsageError(f"Unknown example: {example!r}; use {', '.join(EXAMPLES)}")
    check_spec(name)
    if folder.exists() or folder.is_symlink():
        raise UsageError(f"{folder} exists already; remove it, or use --into with another folder")
    source = _source(example)
    renames = (
        (f"msinet_device_{example}", f"msinet_device_{identifier_of(name)}"),
        (f"msinet-device-{example}", f"msinet-device-{name}"),
        (_DEVICE.format(example), name),
    )
    try:
        with atomic_folder(folder) as new:
            for path in sorted(path for part in _FILES for path in _files(source / part)):
                text, target = path.read_text("utf-8"), path.relative_to(source).as_posix()
                for pattern, word in renames:
                    text = re.sub(pattern, word, text, flags=re.MULTILINE)
                    target = re.sub(pattern, word, target)
                (new / target).parent.mkdir(parents=True, exist_ok=True)
                (new / target).write_text(text, encoding="utf-8")
    except OSError as error:
        raise MsinetError(
            f"Cannot write {folder}: {os_reason(error)}; use --into with another folder"
        ) from error
    return folder


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
