"""Explain a failure: whose code raised, on which line, and what to try next."""

from __future__ import annotations

import os
import re
import sys
import traceback
from importlib import metadata
from pathlib import Path

from msinet_core.device import Device, DeviceSpec
from msinet_core.errors import DEBUG_VARIABLE, MsinetError, command, describe_error, error_text
from msinet_core.registry.hookspecs import ENTRY_POINT_GROUP
from msinet_core.registry.loader import DISABLE_VARIABLE
from msinet_core.registry.plugin import OWN_DISTRIBUTION, PLUGINS_VARIABLE, LoadedPlugin, Plugin
from msinet_core.system.install_hints import editable_folder

NAME_PREFIX = "msinet-device-"
"""How plugin distributions are named, if they follow the scaffold."""

TRACEBACK_COMMAND = "msinet-run plugins list --traceback"

_CORE = str(Path(__file__).parents[1]) + os.sep

_MEMORY = re.compile(
    r"MemoryError|out of memory|(not enough|insufficient) memory|resource_?exhausted|\bOOM\b|"
    r"malloc\]|(can't|cannot|could not|failed to|unable to) allocate|tried to allocate",
    re.IGNORECASE,
)
"""What the messages of frameworks contain if memory is the reason."""


def describe_failure(error: BaseException, spec: DeviceSpec) -> str:
    """Describe an exception and where it was raised: ``layers.py, line 49, conv2d: KeyError: 'x'``.

    Args:
        error: What a device raised.
        spec: The device, whose own files are named first.
    """
    ours = isinstance(error, MsinetError) and not error.__cause__
    kind = "" if ours else f"{type(error).__name__}: "
    where = failing_line(error, spec, outside=not ours)
    return f"{where}{': ' if where else ''}{kind}{error_text(error)}"


def failing_line(error: BaseException, spec: DeviceSpec, *, outside: bool = True) -> str:
    """Name the last frame inside the plugin, for example ``layers.py, line 49, conv2d``.

    Args:
        error: What was raised; its causes are searched as well.
        spec: The device, whose factory and probe locate its files.
        outside: Whether to name a frame of another library if no frame is the plugin's.

    Returns:
        An empty string if every frame is ours.
    """
    frames = [frame for one in _causes(error) for frame in traceback.extract_tb(one.__traceback__)]
    roots = _roots(spec)
    inside = [frame for frame in frames if frame.filename.startswith(roots)] if roots else []
    if not inside and outside:
        inside = [frame for frame in frames if not frame.filename.startswith(_CORE)]
    if not inside:
        return ""
    last = inside[-1]
    return f"{Path(last.filename).name}, line {last.lineno}, {last.name}"


def clear_locals(error: BaseException) -> None:
    """Release what the frames of a traceback hold: models, and with them a device's memory.

    Args:
        error: The exception.
    """
    for one in _causes(error):
        traceback.clear_frames(one.__traceback__)


def ran_out_of_memory(message: str) -> bool:
    """Return whether a failure's message says that memory was the reason.

    Args:
        message: The message, with the type of the exception.
    """
    return _MEMORY.search(message) is not None


def advice(error: BaseException, device: str) -> str:
    """Suggest what to try when a device failed.

    Args:
        error: What was raised; each framework has its own type for running out of memory.
        device: The device's name.
    """
    if ran_out_of_memory(describe_error(error)):
        return (
            "If it ran out of memory, try in this order: (1) a smaller --batch-size, for training "
            "with an --accumulate that keeps their product, so that the steps stay the same and "
            "--resume continues the run; (2) a 16-bit --precision, if the device supports one; "
            "(3) a smaller --image-size."
        )
    return f"To find out what is wrong, run: {command('plugins', 'check', device)}"


def failure_message(error: BaseException, spec: DeviceSpec, plugin: Plugin) -> str:
    """Write the message for an unexpected exception raised while a device was in use.

    Args:
        error: What was raised.
        spec: The device.
        plugin: The plugin that registered it.
    """
    where = failing_line(error, spec, outside=False)
    report = f"with the {DEBUG_VARIABLE}=1 traceback."
    if not where:
        return (
            f"Unexpected error: {describe_error(error)} Please report it {report} The device was "
            f"'{spec.name}', from {plugin}."
        )
    what = f"Device '{spec.name}' failed in {where}: {describe_error(error)}"
    if plugin.distribution == OWN_DISTRIBUTION:
        return f"{what} {advice(error, spec.name)} If that does not help, please report it {report}"
    return (
        f"{what} {advice(error, spec.name)} The device comes from {plugin}; report it to its "
        f"author {report}"
    )


def plugin_fix(loaded: LoadedPlugin) -> str:
    """Say what a user can do about a broken plugin.

    Args:
        loaded: The result of loading the plugin.

    Returns:
        An empty string for a plugin that works.
    """
    if not loaded.problem:
        return ""
    plugin = loaded.plugin
    if plugin.distribution is None:
        fixes = [f"remove it from {PLUGINS_VARIABLE}"]
    else:
        fixes = [f"disable it with {DISABLE_VARIABLE}={plugin.name}"]
    if plugin.distribution and not loaded.mismatched:  # the problem itself says which to install
        folder = editable_folder(plugin.distribution)
        fix = f"fix it in {folder}" if folder else f"pip install --upgrade {plugin.distribution}"
        fixes.insert(0, fix)
    return f"{', or '.join(fixes)}. For its author: {TRACEBACK_COMMAND}"


def entry_point_hint(without: list[str]) -> str:
    """Explain how packages register devices, and name those whose entry point is missing.

    Args:
        without: From `distributions_without_entry_point`.
    """
    hint = (
        f"Devices come from installed packages with an entry point in the group "
        f"{ENTRY_POINT_GROUP}; reinstall a package after changing its pyproject.toml."
    )
    return " ".join([hint, *without])


def distributions_without_entry_point() -> list[str]:
    """List installed distributions that are named like plugins and register none."""
    found = set()
    for distribution in metadata.distributions():
        name = str(distribution.metadata["Name"] or "").lower().replace("_", "-")
        groups = {entry_point.group for entry_point in distribution.entry_points}
        if not name.startswith(NAME_PREFIX) or ENTRY_POINT_GROUP in groups:
            continue
        near = sorted(group for group in groups if group.startswith("msinet"))
        instead = f"; it has one in {', '.join(near)}" if near else ""
        found.add(
            f"{name} {distribution.version} is installed but has no such entry point{instead}."
        )
    return sorted(found)


def _causes(error: BaseException) -> list[BaseException]:
    """List an exception and its causes, the first cause last."""
    found = [error]
    while found[-1].__cause__ is not None and found[-1].__cause__ not in found:
        found.append(found[-1].__cause__)
    return found


def _roots(spec: DeviceSpec) -> tuple[str, ...]:
    """Find the folders of the packages that define the device's class and its probe."""
    module, _, name = spec.factory.partition(":")
    factory = getattr(sys.modules.get(module), name, None)
    bases = factory.__mro__ if isinstance(factory, type) else ()
    names = {module, getattr(spec.probe, "__module__", None) or ""}
    names |= {base.__module__ for base in bases if base not in Device.__mro__}
    return tuple(sorted({root for name in names if (root := _root(name))}))


def _root(name: str) -> str:
    """Find the folder of a module's outermost package, or the file of a single module.

    The core's own devices, and packages in a namespace package, count by their own folder.
    """
    top = name.partition(".")[0]
    core = __name__.partition(".")[0]
    outermost = sys.modules.get(top) if top != core else None
    module = outermost if getattr(outermost, "__file__", None) else sys.modules.get(name)
    file = getattr(module, "__file__", None)
    if not file:
        return ""
    return str(Path(file).parent) + os.sep if "." in name or hasattr(module, "__path__") else file
