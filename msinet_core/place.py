"""Where a device's code raised: the last line of it that a traceback passes through."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path

from msinet_core.device import Device, DeviceSpec
from msinet_core.errors import MsinetError

_CORE = str(Path(__file__).parent) + os.sep


def told(error: BaseException, spec: DeviceSpec) -> str:
    """Say what was raised, and before it where, as ``layers.py, line 49, conv2d: KeyError: 'x'``.

    Args:
        error: What a device raised.
        spec: Its description, which tells the device's files from others.
    """
    ours = isinstance(error, MsinetError) and not error.__cause__
    kind = "" if ours else f"{type(error).__name__}: "
    where = place(error, spec, outside=not ours)
    return f"{where}{': ' if where else ''}{kind}{error}"


def place(error: BaseException, spec: DeviceSpec, *, outside: bool = True) -> str:
    """Name the last frame inside the plugin, as ``layers.py, line 49, conv2d``.

    Args:
        error: What was raised; what caused it is looked at first.
        spec: The device, whose factory and probe tell where its files are.
        outside: Whether a frame of another library is named where the plugin has none.

    Returns:
        An empty string where there is none but our own.
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


def forget_locals(error: BaseException) -> None:
    """Let go of what the frames of a traceback hold: models, and with them a device's memory.

    Args:
        error: What was raised.
    """
    for one in _causes(error):
        traceback.clear_frames(one.__traceback__)


def _causes(error: BaseException) -> list[BaseException]:
    """List an error and what caused it, the first cause last."""
    found = [error]
    while found[-1].__cause__ is not None and found[-1].__cause__ not in found:
        found.append(found[-1].__cause__)
    return found


def _roots(spec: DeviceSpec) -> tuple[str, ...]:
    """Find the folders of the packages that the device's class and its probe are made of."""
    module, _, name = spec.factory.partition(":")
    factory = getattr(sys.modules.get(module), name, None)
    bases = factory.__mro__ if isinstance(factory, type) else ()
    names = {module, getattr(spec.probe, "__module__", None) or ""}
    names |= {base.__module__ for base in bases if base not in Device.__mro__}
    return tuple(sorted({root for name in names if (root := _root(name))}))


def _root(name: str) -> str:
    """Find the folder of a module's outermost package, or the file of one that is in no package.

    The core's own devices, and packages of a namespace, which has no file, count by their folder.
    """
    top = name.partition(".")[0]
    core = __name__.partition(".")[0]
    outermost = sys.modules.get(top) if top != core else None
    module = outermost if getattr(outermost, "__file__", None) else sys.modules.get(name)
    file = getattr(module, "__file__", None)
    if not file:
        return ""
    return str(Path(file).parent) + os.sep if "." in name or hasattr(module, "__path__") else file
