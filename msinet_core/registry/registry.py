"""Devices by name: which exist, which are available here, and which one to use."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from msinet_core.device import DeviceSpec
from msinet_core.errors import (
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
from msinet_core.registry.loader import DISABLE_VARIABLE, load_plugins
from msinet_core.registry.plugin import LoadedPlugin, Plugin
from msinet_core.registry.probe_runner import run_probe

if TYPE_CHECKING:
    from msinet_core.device import Device
    from msinet_core.registry.measured import Work

DEVICE_VARIABLE = "MSINET_DEVICE"
"""The device to use when ``--device`` is not given."""

AUTO = "auto"


@dataclass(frozen=True)
class Registration:
    """A device and the plugin that registered it.

    Args:
        spec: The device.
        plugin: The plugin.
    """

    spec: DeviceSpec
    plugin: Plugin


class Registry:
    """Every device that the plugins registered.

    Args:
        plugins: The result of loading each plugin.
    """

    def __init__(self, plugins: Sequence[LoadedPlugin]) -> None:
        self.plugins = tuple(plugins)

    @cached_property
    def registrations(self) -> tuple[Registration, ...]:
        """Every device, highest priority first, including those with conflicting names."""
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

    @cached_property
    def conflicts(self) -> Mapping[str, list[Registration]]:
        """The names that more than one device uses."""
        return {name: claims for name, claims in self._by_name.items() if len(claims) > 1}

    def spec(self, name: str) -> DeviceSpec:
        """Return the device of that name or alias.

        Args:
            name: A name or an alias.

        Raises:
            UsageError: No device has it; the message suggests the closest name.
            PluginError: Several plugins register it.
        """
        claims = self._by_name.get(name, [])
        if not claims:
            raise UsageError(self._unknown_device(name))
        if len(claims) > 1:
            raise PluginError(conflict_message(name, claims))
        return claims[0].spec

    def _unknown_device(self, name: str) -> str:
        known = sorted({registration.spec.name for registration in self.registrations})
        # "gpu" differs from "cpu" and "tpu" by one letter, and is neither.
        near = "" if name.lower() == "gpu" else did_you_mean(name, self._by_name)
        message = f"Unknown device '{name}'.{near} Devices: {', '.join(known) or 'none'}."
        without = distributions_without_entry_point()
        if without or not near:
            message += f" {entry_point_hint(without)}"
        for loaded in self.plugins:
            if loaded.disabled and name.startswith(loaded.plugin.name):
                message += f" {DISABLE_VARIABLE} disables {loaded.plugin}."
        if self.problems:
            broken = [f"{loaded.plugin}: {loaded.problem}" for loaded in self.problems]
            message += (
                f" These plugins could not be loaded (see {TRACEBACK_COMMAND}):\n"
                f"{bullet_list(broken)}"
            )
        return message

    def requested(self, name: str | None = None) -> DeviceSpec | None:
        """Return the device that the user named; None if it is to be chosen automatically.

        Args:
            name: The value of ``--device``; None for ``MSINET_DEVICE``.

        Raises:
            UsageError: The name is unknown.
            PluginError: Several plugins register the name.
        """
        asked = (os.environ.get(DEVICE_VARIABLE) or AUTO) if name is None else name
        if not isinstance(asked, str):
            raise UsageError(f"Invalid device: {asked!r}; must be a device's name.")
        try:
            return None if asked == AUTO else self.spec(asked)
        except UsageError as error:
            source = f"{DEVICE_VARIABLE}: " if name is None else ""
            raise UsageError(f"{source}{error}") from error

    def select(
        self,
        name: str | None = None,
        *,
        training: bool = False,
        precision: str = AUTO,
        message: Callable[[str], None] = lambda text: None,
    ) -> DeviceSpec:
        """Choose the device to compute on: by name, else by ``MSINET_DEVICE``, else by priority.

        A device that is named is never replaced by another. A device with a negative priority is
        never chosen automatically.

        Args:
            name: The value of ``--device``; None if it was not given.
            training: Whether the device has to support training.
            precision: The precision in which the fastest device counts; "auto": its fastest.
            message: Called with one line if the choice was automatic.

        Raises:
            UsageError: The name is unknown, or the device does not support training.
            PluginError: Several plugins register the name.
            DeviceUnavailableError: The device, or every device, is unavailable.
        """
        spec = self.requested(name)
        if spec is None:
            return self._automatic(message, training, precision)
        if training and not spec.capabilities.training:
            raise UsageError(self._no_training(spec))
        probe = run_probe(spec)
        if not probe.ready:
            raise DeviceUnavailableError(spec.unavailable_message(probe))
        return spec

    def _no_training(self, spec: DeviceSpec) -> str:
        ready = [
            item.spec.name
            for item in self.registrations
            if item.spec.capabilities.training and run_probe(item.spec).ready
        ]
        fix = "No available device supports training; msinet-run devices shows what each needs."
        if ready:
            fix = f"Train with --device {' or '.join(ready)}, and predict here with its checkpoint."
        return f"Device '{spec.name}' does not support training. {fix}"

    def _automatic(
        self, message: Callable[[str], None], training: bool, precision: str
    ) -> DeviceSpec:
        rejected: list[str] = []
        only_by_name: list[str] = []
        available: list[DeviceSpec] = []
        for registration in self.registrations:
            spec = registration.spec
            if spec.name in self.conflicts:
                continue  # reported after the loop
            if training and not spec.capabilities.training:
                if spec.priority >= 0:
                    rejected.append(f"{spec.name}: does not support training.")
                continue
            probe = run_probe(spec)
            if spec.priority < 0:
                only_by_name += [spec.name] if probe.ready else []
            elif probe.ready:
                available.append(spec)
            else:
                rejected.append(f"{spec.name}: {probe.reason} {probe.fix_sentence}".strip())
        conflicts = [conflict_message(*conflict) for conflict in self.conflicts.items()]
        if available:
            for conflict in conflicts:
                message(conflict)
            work: Work = "train" if training else "predict"
            return _fastest(available, work, precision, message)
        rejected += conflicts
        text = f"No device is available.\n{bullet_list(rejected or ['no device is registered'])}"
        if only_by_name:
            text += f"\nAvailable on request: --device {' or '.join(only_by_name)}"
        raise DeviceUnavailableError(text)

    def plugin_of(self, spec: DeviceSpec) -> Plugin:
        """Return the plugin that registered a device.

        Args:
            spec: A device of this registry.
        """
        return next(item.plugin for item in self.registrations if item.spec.name == spec.name)


def _fastest(
    available: Sequence[DeviceSpec], work: Work, precision: str, message: Callable[[str], None]
) -> DeviceSpec:
    """Return the device that was measured to be fastest, else that of the highest priority."""
    from msinet_core.registry.measured import fastest_device

    best = fastest_device(available, work, precision)
    spec = next((spec for spec in available if best and spec.name == best.device), available[0])
    why = "the available device with the highest priority"
    if best is not None:
        why = f"measured on {best.day} as the fastest on this machine"
    message(f"Using device '{spec.name}' ({spec.summary}), {why}.")
    return spec


def load_registry(*, in_process: bool = False) -> Registry:
    """Load the plugins and return their devices; broken plugins are in `Registry.problems`.

    Args:
        in_process: Whether to import third-party plugins into this process too, to examine their
            own objects; by default each is loaded and probed in a process of its own.
    """
    return Registry(load_plugins(in_process=in_process))


def open_device(
    name: str | None = None,
    precision: str = "auto",
    options: Mapping[str, str] | None = None,
    message: Callable[[str], None] = lambda text: None,
) -> Device:
    """Choose a device, import its framework and open it.

    Args:
        name: A device's name; None: ``MSINET_DEVICE``, else by priority; "auto": by priority.
        precision: ``"auto"``, ``"float32"``, ``"bfloat16"`` or ``"float16"``.
        options: Values for the device's own options, by name.
        message: Called with one line if the choice was automatic.

    Raises:
        DeviceUnavailableError: The device is unavailable, or cannot be opened.
        UsageError: The device, the precision or an option is unknown.
    """
    from msinet_core.registry.measured import automatic_precision

    spec = load_registry().select(name, precision=precision, message=message)
    precision, why = automatic_precision(spec, precision, "predict")
    if why:
        message(why)
    return spec.open(precision, options)


def conflict_message(name: str, claims: Sequence[Registration]) -> str:
    """Say which plugins use the same name, and how to resolve it.

    Args:
        name: The name.
        claims: The devices that use it.
    """
    return (
        f"Device '{name}' is registered by more than one plugin: "
        + " and ".join(str(claim.plugin) for claim in claims)
        + ". Uninstall one of them, rename the device if one of them is yours, or disable one with "
        + f"{DISABLE_VARIABLE}={claims[-1].plugin.module}."
    )
