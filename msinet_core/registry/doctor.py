"""Examine a device before training on it: versions, hardware, and what its plugin can prove."""

from __future__ import annotations

import importlib
import importlib.util
import platform
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from msinet_core.device import DeviceSpec
from msinet_core.errors import MsinetError, describe_error
from msinet_core.hardware.host import (
    distribution_version,
    missing_requirements,
    parse_requirements,
)
from msinet_core.network.memory import estimate_memory, memory_sentences
from msinet_core.network.msinet import DEFAULT_IMAGE_SIZE, IMAGE_SIZE, msinet_graph
from msinet_core.registry.measured import automatic_precision
from msinet_core.registry.probe_runner import run_probe
from msinet_core.system.install_hints import installable
from msinet_core.system.version import __version__

Status = Literal["ok", "note", "problem"]


@dataclass(frozen=True)
class Finding:
    """The result of one examination.

    Args:
        title: What was examined, in a few words.
        status: ``"ok"``, ``"note"``, or ``"problem"`` if the device would not work or be wrong.
        detail: What was found, in sentences.
        fix: The command or the steps that fix a problem.
        data: Figures for ``--json``; anything that JSON can hold.
    """

    title: str
    status: Status
    detail: str
    fix: str = ""
    data: Any = None

    def to_dict(self) -> dict[str, Any]:
        """Return what ``msinet-run doctor --json`` prints for it."""
        return {name: value for name, value in asdict(self).items() if value not in ("", None)}


Examine = Callable[[DeviceSpec, Mapping[str, str]], Iterable[Finding]]
"""The function that `DeviceSpec.doctor` names."""


def examine(spec: DeviceSpec, arguments: Mapping[str, str]) -> Iterator[Finding]:
    """Yield findings about the program, the device's requirements, and the device itself.

    Args:
        spec: The device.
        arguments: The user's arguments for its plugin, for example ``{"topology": "v5e:1x1"}``.
    """
    yield Finding("program", "ok", _program())
    for finding in (*_requirements(spec), _availability(spec)):
        # Compiling for hardware elsewhere needs neither that hardware nor its driver.
        elsewhere = "topology" in arguments and finding.status == "problem"
        yield replace(finding, status="note") if elsewhere else finding
    yield from _factory(spec)
    yield _choices(spec)
    if spec.capabilities.training:
        yield _memory(spec, arguments)
    if spec.doctor is not None:
        for finding in _plugin_findings(spec, spec.doctor, arguments):
            yield replace(finding, fix=installable(finding.fix))
    if spec.untested_on:
        detail = (
            f"This version of msinet was not run on {spec.untested_on} before its release; its "
            "layers and steps were compared with the reference on a processor."
        )
        fix = f"On {spec.untested_on}, run: msinet-run devices --check"
        yield Finding("evidence", "note", detail, fix)
    if not spec.capabilities.training:
        detail = "It predicts only. To list the devices that train, run: msinet-run devices"
        yield Finding("training", "note", detail)


def _program() -> str:
    python = ".".join(map(str, sys.version_info[:3]))
    return f"msinet {__version__}, Python {python}, {platform.system()} {platform.machine()}."


def _requirements(spec: DeviceSpec) -> Iterator[Finding]:
    applicable, _ = parse_requirements(spec.requires)
    missing = missing_requirements(spec.requires)
    if not (applicable or missing):
        detail = "No packages are needed."
        if spec.requires:
            detail = "The packages it needs do not support this machine."
        yield Finding("packages", "note" if spec.requires else "ok", detail)
        return
    versions = {item.name: distribution_version(item.name) for item in applicable}
    found = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    detail = " ".join([*([f"{found}."] if found else []), *missing])
    yield Finding("packages", "problem" if missing else "ok", detail)


def _availability(spec: DeviceSpec) -> Finding:
    probe = run_probe(spec)
    hardware = "; ".join(item.describe() for item in probe.hardware)
    detail = " ".join(filter(None, [f"{hardware}." if hardware else "", probe.reason]))
    if probe.ready:
        return Finding("availability", "ok", detail or "Available.", probe.fix)
    detail = detail or "The probe says that it is not available, and gives no reason."
    return Finding("availability", "problem", detail, probe.fix)


def _factory(spec: DeviceSpec) -> Iterator[Finding]:
    """Yield a finding if the module that opens the device does not exist."""
    module = spec.factory.partition(":")[0]
    try:
        found = importlib.util.find_spec(module) is not None or module in sys.modules
    except (ImportError, ValueError):
        found = module in sys.modules
    if not found:
        detail = f"The module '{module}' of its factory '{spec.factory}' does not exist."
        yield Finding("factory", "problem", detail, "Correct the plugin's DeviceSpec.")


def _choices(spec: DeviceSpec) -> Finding:
    lines = [f"Precisions: {', '.join(spec.capabilities.precisions)}."]
    lines += [option.describe() for option in spec.options]
    return Finding("choices", "ok", "\n".join(lines))


def _memory(spec: DeviceSpec, arguments: Mapping[str, str]) -> Finding:
    graph = msinet_graph()
    size = IMAGE_SIZE.check(arguments.get("image-size", DEFAULT_IMAGE_SIZE))
    precision, _ = automatic_precision(spec, arguments.get("precision", "auto"), "train")
    memory = device_memory(spec)
    one = estimate_memory(graph, size, precision)
    figures = {
        "fixed_bytes": one.fixed,
        "bytes_per_image": one.per_image,
        "device_bytes": memory,
        "largest_batch": memory and one.largest_batch(memory),
    }
    text = "\n".join(memory_sentences(one, size, precision, memory))
    return Finding("memory", "ok", text, data=figures)


def device_memory(spec: DeviceSpec) -> int | None:
    """Return the bytes of memory that a device computes in; None if unknown.

    Args:
        spec: The device; if it is not available here, the memory is unknown.
    """
    found = [item.memory for item in run_probe(spec).hardware if item.memory]
    return min(found, default=None)


def _plugin_findings(
    spec: DeviceSpec, target: str, arguments: Mapping[str, str]
) -> Iterator[Finding]:
    module, _, name = target.partition(":")
    try:
        function: Examine = getattr(importlib.import_module(module), name)
        yield from function(spec, arguments)
    except Exception as error:
        fix = "" if isinstance(error, MsinetError) else "Report it to the plugin's author."
        yield Finding(f"examination of {spec.name}", "problem", describe_error(error), fix)
