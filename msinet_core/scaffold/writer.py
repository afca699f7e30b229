"""Write a new plugin's package from the templates in the wheel."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from string import Template

from msinet_core.device import API_VERSION
from msinet_core.errors import UsageError
from msinet_core.hardware.host import distribution_version
from msinet_core.network.layout import CANONICAL_DATA_FORMAT, CANONICAL_KERNEL_LAYOUT
from msinet_core.registry.registry import load_registry
from msinet_core.system.files import atomic_folder

MAX_NAME_LENGTH = 30
"""So that no line of the written code becomes too long."""

TEMPLATES = Path(__file__).with_name("templates")
"""A file for each of the new package; ``package`` in a path stands for the package's name."""

KERNEL_AXES = {"H": "height", "W": "width", "I": "input", "O": "output"}


def write_plugin(
    folder: Path,
    name: str,
    data_format: str = CANONICAL_DATA_FORMAT,
    kernel_layout: str = CANONICAL_KERNEL_LAYOUT,
    framework: str = "numpy",
) -> Path:
    """Write a device plugin's package; the functions that use the framework are to be filled in.

    Args:
        folder: The folder to create; it must not exist.
        name: The device's name.
        data_format: The order of image axes on the device, ``"NHWC"`` or ``"NCHW"``.
        kernel_layout: The order of kernel axes on the device, for example ``"OIHW"``.
        framework: The requirement that pip installs, for example ``"torch>=2.6"``.

    Returns:
        The folder.

    Raises:
        UsageError: An argument is invalid, or the folder or the device exists already.
        MsinetError: The folder cannot be written; nothing is left behind.
    """
    requirement, framework_name = _parse_requirement(framework)
    check_name(name)
    identifier = identifier_of(name)
    package = f"msinet_device_{identifier}"
    words = {
        "name": name,
        "package": package,
        "distribution": f"msinet-device-{name}",
        "prefix": "".join(part.capitalize() for part in identifier.split("_")),
        "data_format": data_format,
        "kernel_layout": kernel_layout,
        "images": f"({', '.join(data_format)})",
        "kernel": f"({', '.join(KERNEL_AXES[axis] for axis in kernel_layout)})",
        "channel_axis": str(data_format.index("C")),
        "spatial_axes": str(tuple(data_format.index(axis) for axis in "HW")),
        "framework": framework_name,
        "requirement": requirement,
        "api_version": str(API_VERSION),
        "msinet": distribution_version("msinet") or "0.1",
    }
    contents = {}
    for template in sorted(TEMPLATES.rglob("*.tmpl")):
        target = template.relative_to(TEMPLATES).with_suffix("").as_posix()
        text = Template(template.read_text("utf-8")).substitute(words)
        contents[target.replace("package", package)] = text
    return write_package(folder, contents.items())


def write_package(folder: Path, contents: Iterable[tuple[str, str]]) -> Path:
    """Write the files of a package, all or none.

    Args:
        folder: The folder to create; it must not exist.
        contents: Paths in the folder, with ``/``, and texts.

    Returns:
        The folder.

    Raises:
        UsageError: The folder exists already.
        MsinetError: The folder cannot be written; nothing is left behind.
    """
    if folder.exists() or folder.is_symlink():
        raise UsageError(f"{folder} exists already; remove it, or use --into with another folder")
    with atomic_folder(folder) as new:
        for target, text in contents:
            path = new / target
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return folder


def identifier_of(name: str) -> str:
    """Return a device's name as a part of Python names.

    Args:
        name: The device's name.
    """
    return name.replace("-", "_")


def check_name(name: str) -> None:
    """Refuse a name that a new device could not have.

    Args:
        name: The device's name.

    Raises:
        UsageError: It is invalid, or a device has it already.
    """
    valid = re.fullmatch(r"[a-z]([a-z0-9_-]*[a-z0-9])?", name)
    if not valid or name == "auto" or len(name) > MAX_NAME_LENGTH:
        raise UsageError(
            f"Invalid device name {name!r}: use at most {MAX_NAME_LENGTH} lower-case letters, "
            "digits, '-' and '_', beginning with a letter, ending with a letter or digit, and not "
            "'auto'"
        )
    for registration in load_registry().registrations:
        if name in (registration.spec.name, *registration.spec.aliases):
            raise UsageError(
                f"Device '{name}' exists already, from {registration.plugin}; choose another name"
            )


def _parse_requirement(framework: str) -> tuple[str, str]:
    """Return a requirement as pip reads it, and the name of the distribution."""
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        requirement = Requirement(framework)
    except InvalidRequirement:
        requirement = None
    if requirement is None or requirement.marker or requirement.url:
        raise UsageError(
            f"Invalid framework: {framework!r}; use a name as in pip install NAME, for example "
            'torch or "torch>=2.6"'
        )
    return str(requirement), requirement.name
