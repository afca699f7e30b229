"""Devices by name: which there are, which can be used here, and which one is meant."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import pluggy

from msinet_core.device import Device, DeviceSpec, Probe
from msinet_core.errors import (
    DEBUG_VARIABLE,
    DeviceUnavailableError,
    PluginError,
    UsageError,
    bullet_list,
    did_you_mean,
)
from msinet_core.registry.diagnosis import (
    TRACEBACK_COMMAND,
    distributions_without_entry_point,
    entry_point_hint,
)
from msinet_core.registry.loader import DISABLE_VARIABLE, LoadedPlugin, Plugin, load_plugins
from msinet_core.registry.probe_runner import call_probe

__all__ = [
    "AUTO",
    "DEVICE_VARIABLE",
    "Registration",
    "Registry",
    "conflict_message",
    "load_registry",
    "open_device",
    "run_probe",
]

DEVICE_VARIABLE = "MSINET_DEVICE"
"""The device to use when ``--device`` is not given."""

AUTO = "auto"


@dataclass(frozen=True)
class Registration:
    """A device and the plugin that brought it.

    Args:
        spec: The device's description.
        plugin: Where it came from.
    """

    spec: DeviceSpec
    plugin: Plugin


class Registry:
    """Every device that the plugins registered.

    Args:
        plugins: What became of each plugin.
        manager: Holds the good plugins, for further hooks.
    """

    def __init__(self, plugins: Sequence[LoadedPlugin], manager: pluggy.PluginManager) -> None:
        self.plugins = tuple(plugins)
        self.manager = manager

    @cached_property
    def registrations(self) -> tuple[Registration, ...]:
        """Every device, highest priority first, conflicting ones included."""
        found = [
            Registration(spec, loaded.plugin) for loaded in self.plugins for spec in loaded.specs
        ]
        return tuple(sorted(found, key=lambda item: (-item.spec.priority, item.spec.name)))

    @cached_property
    def _by_name(self) -> Mapping[str, list[Registration]]:
        names: dict[str, list[Registration]] = {}
        for registration in self.registrations:
            for name in (registration.spec.name, *registration.spec.aliases):
                names.setdefault(name, []).append(registration)
        return names

    @property
    def problems(self) -> tuple[LoadedPlugin, ...]:
        """The plugins that cannot be used."""
        return tuple(loaded for loaded in self.plugins if loaded.problem)

    @property
    def conflicts(self) -> Mapping[str, list[Registration]]:
        """Names that more than one device claims."""
        return {name: claims for name, claims in self._by_name.items() if len(claims) > 1}

    def spec(self, name: str) -> DeviceSpec:
        """Return the device of that name or alias.

        Args:
            name: What the user typed.

        Raises:
            UsageError: There is none; the message suggests the nearest.
            PluginError: Several plugins claim the name.
        """
        claims = self._by_name.get(name, [])
        if not claims:
            raise UsageError(self._unknown(name))
        if len(claims) > 1:
            raise PluginError(conflict_message(name, claims))
        return claims[0].spec

    def _unknown(self, name: str) -> str:
        known = sorted({registration.spec.name for registration in self.registrations})
        near = did_you_mean(name, self._by_name)
        message = f"There is no device '{name}'.{near} Devices: {', '.join(known) or 'none'}."
        if not near or distributions_without_entry_point():
            message += f" {entry_point_hint()}"
        if self.problems:
            broken = [f"{loaded.plugin}: {loaded.problem}" for loaded in self.problems]
            message += (
                f" These plugins could not be loaded ({TRACEBACK_COMMAND} shows where they "
                f"failed):\n{bullet_list(broken)}"
            )
        return message

    def select(
        self,
        name: str | None = None,
        *,
        training: bool = False,
        message: Callable[[str], None] = lambda text: None,
        environment: Mapping[str, str] | None = None,
    ) -> DeviceSpec:
        """Choose the device to compute on: by name, else by ``MSINET_DEVICE``, else by priority.

        A device that was asked for is never replaced by another. A device with a negative priority
        is never chosen automatically.

        Args:
            name: What follows ``--device``; None if it was not given.
            training: Whether it must train.
            message: Told one line when the choice was automatic.
            environment: Environment variables; None for the process's own.

        Raises:
            UsageError: The name is unknown, or the device does not train and should.
            PluginError: Several plugins claim the name.
            DeviceUnavailableError: The device asked for is not here, or none is.
        """
        environment = os.environ if environment is None else environment
        wanted = name or environment.get(DEVICE_VARIABLE) or AUTO
        if wanted == AUTO:
            return self._automatic(message, training)
        try:
            spec = self.spec(wanted)
        except UsageError as error:
            raise UsageError(f"{'' if name else DEVICE_VARIABLE + ': '}{error}") from error
        if training and not spec.capabilities.training:
            raise UsageError(self._predicts_only(spec))
        probe = run_probe(spec)
        if not probe.ready:
            raise DeviceUnavailableError(spec.unavailable_message(probe))
        return spec

    def _predicts_only(self, spec: DeviceSpec) -> str:
        specs = [one.spec for one in self.registrations if one.spec.capabilities.training]
        ready = [one.name for one in specs if run_probe(one).ready]
        told = "None that trains is ready here; msinet-run devices shows what each needs."
        if ready:
            told = f"Train with --device {' or '.join(ready)} and predict here with its checkpoint."
        return f"Device '{spec.name}' predicts only, it does not train. {told}"

    def _automatic(self, message: Callable[[str], None], training: bool) -> DeviceSpec:
        passed_over: list[str] = []
        for registration in self.registrations:
            spec = registration.spec
            if spec.priority < 0 or spec.name in self.conflicts:
                continue
            if training and not spec.capabilities.training:
                passed_over.append(f"{spec.name}: It predicts only, it does not train.")
                continue
            probe = run_probe(spec)
            if probe.ready:
                message(
                    f"Device '{spec.name}' ({spec.summary}): chosen as the first that is ready."
                )
                return spec
            passed_over.append(f"{spec.name}: {probe.reason} {probe.fix_sentence}".strip())
        passed_over += [conflict_message(*conflict) for conflict in self.conflicts.items()]
        asked = self._ready_when_asked_for(training)
        ready, told = "on this machine", ""
        if asked:
            ready = "that would be chosen without being named"
            told = f"\nReady when asked for: --device {' or '.join(asked)}."
        raise DeviceUnavailableError(
            f"No device is ready {ready}.\n"
            + bullet_list(passed_over or ["no plugin registered one"])
            + told
        )

    def _ready_when_asked_for(self, training: bool) -> list[str]:
        return [
            spec.name
            for spec in (registration.spec for registration in self.registrations)
            if spec.priority < 0 and spec.name not in self.conflicts
            if (spec.capabilities.training or not training) and run_probe(spec).ready
        ]

    def plugin_of(self, spec: DeviceSpec) -> Plugin:
        """Return the plugin that brought a device.

        Args:
            spec: One of this registry's.
        """
        return next(item.plugin for item in self.registrations if item.spec == spec)


def load_registry(environment: Mapping[str, str] | None = None) -> Registry:
    """Load the plugins and return their devices; broken plugins are in `Registry.problems`.

    Args:
        environment: Environment variables; None for the process's own.
    """
    return Registry(*load_plugins(environment))


def open_device(
    name: str | None = None,
    precision: str = "auto",
    options: Mapping[str, str] | None = None,
    message: Callable[[str], None] = lambda text: None,
) -> Device:
    """Choose a device, import its framework and open it.

    Args:
        name: A device's name; None or "auto": ``MSINET_DEVICE``, else the best that is ready.
        precision: ``"auto"``, ``"float32"``, ``"bfloat16"`` or ``"float16"``.
        options: Values for the device's own options, by name.
        message: Called with one line if the choice was automatic.

    Raises:
        DeviceUnavailableError: The device is not available, or does not open.
        UsageError: There is no such device, or it lacks the precision or an option.
    """
    return load_registry().select(name, message=message).open(precision, options)


def run_probe(spec: DeviceSpec) -> Probe:
    """Ask a device's probe, and make an answer of its failure if it breaks its promise.

    With ``MSINET_DEBUG`` the traceback of a probe that fails goes to stderr.

    Args:
        spec: The device.
    """
    answer = call_probe(spec)
    if answer.trace and os.environ.get(DEBUG_VARIABLE):
        print(f"The probe of device '{spec.name}':\n{answer.trace}", file=sys.stderr)
    return answer.probe


def conflict_message(name: str, claims: Sequence[Registration]) -> str:
    """Say who claims a device's name, and how to choose one.

    Args:
        name: The name.
        claims: The devices that claim it.
    """
    return (
        f"Device '{name}' comes from more than one plugin: "
        + " and ".join(str(claim.plugin) for claim in claims)
        + ". Uninstall one of them; if one is yours, give its device another name. "
        + f"{DISABLE_VARIABLE}={claims[-1].plugin.module} leaves one out."
    )
