"""Write a new plugin's package from the templates that the wheel ships."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import cast

from msinet_core.device import API_VERSION, Availability, DeviceSpec, Probe
from msinet_core.errors import MsinetError, UsageError
from msinet_core.network.layout import CANONICAL_DATA_FORMAT, CANONICAL_KERNEL_LAYOUT, DataFormat
from msinet_core.registry.loader import spec_problems
from msinet_core.system.files import atomic_folder

LONGEST_NAME = 30
"""Letters of a device's name, so that no line of what is written grows too long."""

FILES: Mapping[str, str] = {
    "README.md.tmpl": "README.md",
    "pyproject.toml.tmpl": "pyproject.toml",
    "gitignore.tmpl": ".gitignore",
    "ci.yml.tmpl": ".github/workflows/ci.yml",
    "src/init.py.tmpl": "src/{package}/__init__.py",
    "src/probe.py.tmpl": "src/{package}/probe.py",
    "src/device.py.tmpl": "src/{package}/device.py",
    "src/layers.py.tmpl": "src/{package}/layers.py",
    "src/model.py.tmpl": "src/{package}/model.py",
    "src/tensors.py.tmpl": "src/{package}/tensors.py",
    "src/unwritten.py.tmpl": "src/{package}/unwritten.py",
    "src/py.typed.tmpl": "src/{package}/py.typed",
    "tests/test_device.py.tmpl": "tests/test_device.py",
}
"""Each template, and where in the new package it goes."""

KERNEL_AXES = {"H": "height", "W": "width", "I": "input", "O": "output"}


def write_plugin(
    folder: Path,
    name: str,
    data_format: str = CANONICAL_DATA_FORMAT,
    kernel_layout: str = CANONICAL_KERNEL_LAYOUT,
    framework: str = "numpy",
) -> Path:
    """Write a device plugin's package, in which the framework's own functions are to be filled in.

    Args:
        folder: The folder to make; it must not exist.
        name: The device's name.
        data_format: The order of image axes that it computes in, ``"NHWC"`` or ``"NCHW"``.
        kernel_layout: The order of kernel axes that it computes with, for example ``"OIHW"``.
        framework: What it computes with, as pip installs it, for example ``"torch>=2.6"``.

    Returns:
        The folder.

    Raises:
        UsageError: One of these cannot be, or the folder exists.
        MsinetError: The disk refuses; nothing is left behind.
    """
    words = _words(name, data_format, kernel_layout, framework)
    if folder.exists() or folder.is_symlink():
        raise UsageError(
            f"{folder} exists already, and nothing is written over it. Choose another folder with "
            f"--into, or remove it."
        )
    try:
        with atomic_folder(folder) as new:
            for template, target in FILES.items():
                path = new / target.format(package=words["package"])
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(_filled(template, words), encoding="utf-8")
    except OSError as error:
        raise MsinetError(
            f"Could not write {folder}: {error.strerror or error}. Nothing was left behind. Choose "
            f"another folder with --into."
        ) from error
    return folder


def _filled(template: str, words: Mapping[str, str]) -> str:
    text = files(__package__).joinpath("templates", *template.split("/")).read_text("utf-8")
    return Template(text).substitute(words)


def _words(name: str, data_format: str, kernel_layout: str, framework: str) -> dict[str, str]:
    """Check what was asked for, and give what each placeholder of the templates stands for."""
    from msinet_core.hardware.host import distribution_version

    requirement, framework_name = _requirement(framework)
    _check(name, data_format, kernel_layout)
    identifier = name.replace("-", "_")
    package = f"msinet_device_{identifier}"
    channels = data_format.index("C")
    spatial = tuple(data_format.index(axis) for axis in "HW")
    return {
        "name": name,
        "package": package,
        "distribution": f"msinet-device-{name}",
        "prefix": "".join(part.capitalize() for part in identifier.split("_")),
        "data_format": data_format,
        "kernel_layout": kernel_layout,
        "images": f"({', '.join(data_format)})",
        "kernel": f"({', '.join(KERNEL_AXES[axis] for axis in kernel_layout)})",
        "channel_axis": str(channels),
        "spatial_axes": str(spatial),
        "framework": framework_name,
        "requirement": requirement,
        "api_version": str(API_VERSION),
        "msinet": distribution_version("msinet") or "0.1",
    }


def _check(name: str, data_format: str, kernel_layout: str) -> None:
    spec = DeviceSpec(
        name=name,
        summary="",
        framework="",
        factory="package.module:Class",
        probe=lambda: Probe(Availability.NOT_HERE),
        api_version=API_VERSION,
        data_format=cast(DataFormat, data_format),
        kernel_layout=kernel_layout,
    )
    problems = spec_problems(spec)
    if len(name) > LONGEST_NAME:
        problems.append(f"name {name!r} must have at most {LONGEST_NAME} characters")
    if not re.search(r"[a-z0-9]\Z", name):
        problems.append(f"name {name!r} must end with a letter or a digit, as its package does")
    if problems:
        raise UsageError(f"No plugin can be written: {'; '.join(problems)}.")


def _requirement(framework: str) -> tuple[str, str]:
    """Read the framework as pip would; give the requirement and the distribution's name."""
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        requirement = Requirement(framework)
    except InvalidRequirement:
        requirement = None
    if requirement is None or requirement.marker or requirement.url:
        raise UsageError(
            f"The framework '{framework}' is nothing that pip installs by name. Write it as after "
            f'"pip install", for example torch or "torch>=2.6".'
        )
    return str(requirement), requirement.name
