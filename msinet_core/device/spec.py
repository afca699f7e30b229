"""The light side of a device: what it is, what it can do, and whether it is here."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from msinet_core.device.processes import check_distribution
from msinet_core.errors import (
    DeviceUnavailableError,
    MsinetError,
    UsageError,
    bullet_list,
    did_you_mean,
)
from msinet_core.network.layout import CANONICAL_DATA_FORMAT, CANONICAL_KERNEL_LAYOUT, DataFormat

if TYPE_CHECKING:
    from msinet_core.device.device import Device

API_VERSION = 1
"""The version of the contract between the core and its plugins."""

PRECISIONS = ("float32", "bfloat16", "float16")

_opened: ContextVar[DeviceSpec | None] = ContextVar("opened", default=None)


class Availability(Enum):
    """How far it is known that a device can be used."""

    NOT_HERE = "not here"
    INSTALLED = "installed"
    VERIFIED = "verified"


@dataclass(frozen=True)
class Hardware:
    """One piece of hardware that a probe found.

    Args:
        name: As its maker calls it.
        cores: The number of cores of the kind that the framework uses; None if unknown.
        memory: Bytes that it can use; None if unknown.
    """

    name: str
    cores: int | None = None
    memory: int | None = None


@dataclass(frozen=True)
class Probe:
    """What a cheap look at the machine tells about a device.

    Args:
        availability: `NOT_HERE`, or `INSTALLED` when nothing speaks against opening the device.
        reason: Why it is not here, or a remark about how it would run; a sentence.
        fix: The exact command, or the place to go, that would make it available. Words that are
            no command are a sentence: they begin with a capital or end with a full stop.
        framework_version: Of the installed framework; None if it is not installed.
        hardware: What the device would compute on.
    """

    availability: Availability
    reason: str = ""
    fix: str = ""
    framework_version: str | None = None
    hardware: tuple[Hardware, ...] = ()

    @property
    def ready(self) -> bool:
        """Whether the device can be opened, as far as the probe can tell."""
        return self.availability is not Availability.NOT_HERE

    @property
    def fix_sentence(self) -> str:
        """The fix as the end of a message: "Run: ..." if it is a command."""
        command = re.fullmatch(r"(?:[a-z][\w+-]*(?:\.\d+)?|[./~][\w./+-]*)(?: .+)?", self.fix)
        return f"Run: {self.fix}" if command and not self.fix.endswith(".") else self.fix


@dataclass(frozen=True)
class Capabilities:
    """What a device can do when it is here.

    Args:
        training: Whether it trains, or predicts only.
        precisions: Those of ``PRECISIONS`` that it computes in; the first is what "auto" means.
        distribution: How else than on one device it trains: "mirrored", "multiworker". If there is
            any, the factory takes a keyword ``distribute`` and finds out what "auto" means.
        cluster_variable: The environment variable that tells its framework about the other
            processes; needed for "multiworker".
        dilated_gradient: Whether it trains through dilated convolutions, which MSI-Net has.
        dynamic_shapes: Whether one compiled model takes batches of any size.
        deterministic: Whether the same input and state give the same bits again.
    """

    training: bool = True
    precisions: tuple[str, ...] = ("float32",)
    distribution: tuple[str, ...] = ()
    cluster_variable: str = ""
    dilated_gradient: bool = True
    dynamic_shapes: bool = True
    deterministic: bool = True

    @property
    def float32(self) -> bool:
        """Whether it computes in float32."""
        return "float32" in self.precisions

    @property
    def bfloat16(self) -> bool:
        """Whether it computes in bfloat16."""
        return "bfloat16" in self.precisions

    @property
    def float16(self) -> bool:
        """Whether it computes in float16."""
        return "float16" in self.precisions

    @property
    def distributed(self) -> bool:
        """Whether it trains on more than one device, or in more than one process."""
        return bool(self.distribution)


@dataclass(frozen=True)
class DeviceOption:
    """Something that users choose about one device, with ``--device-option NAME=VALUE``.

    Args:
        name: Lower-case letters, digits, ``-`` and ``_``.
        summary: One line for people.
        default: The value that is used when nothing is said; one of `choices`.
        choices: The values that can be said.
    """

    name: str
    summary: str
    default: str
    choices: tuple[str, ...]

    def describe(self) -> str:
        """Say in one line how it is given, its default and what it means."""
        given = f"--device-option {self.name}={'|'.join(self.choices)}"
        return f"{given} (default {self.default}): {self.summary}"


@dataclass(frozen=True)
class DeviceSpec:
    """Describe a device without importing its framework.

    Args:
        name: What is typed after ``--device``: lower-case letters, digits, ``-`` and ``_``.
        summary: One line for people.
        framework: The framework's name, for example ``"TensorFlow"``.
        factory: Where the `Device` class is: ``"package.module:Class"``.
        probe: Looks at the machine; quick, imports no framework, never raises.
        api_version: The contract that the plugin was written for, as a number: `API_VERSION` would
            be that of whatever msinet is installed.
        data_format: The order of image axes that the device computes in.
        kernel_layout: The order of kernel axes that the device computes with.
        requires: The distributions it needs, as requirement strings (PEP 508).
        aliases: Other names for it.
        priority: Automatic selection takes the ready device with the highest.
        capabilities: What it can do.
        options: What users can choose about it.
        doctor: Where the function is that examines the device for ``msinet-run doctor``, in the
            form ``"package.module:function"``; it takes the spec and a mapping of arguments and
            yields findings (`msinet_core.registry.doctor.Finding`).
        checkpoint_format: The format that users of its framework expect, which ``convert --to
            DEVICE`` writes.
        doctor_arguments: The arguments that it understands beside ``precision`` and the device's
            options: ``"topology"``, ``"batch-size"``, ``"image-size"``.
    """

    name: str
    summary: str
    framework: str
    factory: str
    probe: Callable[[], Probe]
    api_version: int
    data_format: DataFormat = CANONICAL_DATA_FORMAT
    kernel_layout: str = CANONICAL_KERNEL_LAYOUT
    requires: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    priority: int = 0
    capabilities: Capabilities = field(default_factory=Capabilities)
    options: tuple[DeviceOption, ...] = ()
    checkpoint_format: str = "msinet"
    doctor: str | None = None
    doctor_arguments: tuple[str, ...] = ()

    def check_precision(self, precision: str) -> str:
        """Return the precision to compute in, resolving "auto".

        Args:
            precision: One of ``PRECISIONS``, or ``"auto"``.

        Raises:
            UsageError: The device does not compute in it.
        """
        offered = self.capabilities.precisions
        if precision == "auto":
            return offered[0]
        if precision not in offered:
            raise UsageError(
                f"Device '{self.name}' does not compute in {precision}. "
                f"Use --precision {' or '.join(offered)}."
            )
        return precision

    def check_options(self, given: Mapping[str, str]) -> Mapping[str, str]:
        """Return the value of each option, with defaults for those that are not given.

        Args:
            given: What the user said, by the option's name.

        Raises:
            UsageError: The device has no such option, or the option no such value.
        """
        known = {option.name: option for option in self.options}
        for name, value in given.items():
            if name not in known:
                told = [option.describe() for option in self.options]
                has = f"It has:\n{bullet_list(told)}" if told else "It has none; leave it out."
                raise UsageError(
                    f"Device '{self.name}' has no option '{name}'.{did_you_mean(name, known)} {has}"
                )
            choices = known[name].choices
            if value not in choices:
                raise UsageError(
                    f"Option '{name}' of device '{self.name}' cannot be '{value}'."
                    f"{did_you_mean(value, choices)} Use {' or '.join(choices)}. "
                    f"It means: {known[name].summary}"
                )
        return {name: given.get(name, option.default) for name, option in known.items()}

    def unavailable_message(self, probe: Probe) -> str:
        """Say that the device is not available, why, and what to do.

        Args:
            probe: What its probe returned.
        """
        text = f"Device '{self.name}' is not available: {probe.reason} {probe.fix_sentence}"
        return text.strip()

    def open(
        self,
        precision: str = "auto",
        options: Mapping[str, str] | None = None,
        distribute: str = "none",
    ) -> Device:
        """Import the device's framework and return the device, ready to compile networks.

        Args:
            precision: One of ``PRECISIONS``, or ``"auto"``.
            options: Values for some of `options`, by name; defaults for the others.
            distribute: How to train, one of ``msinet_core.device.processes.DISTRIBUTIONS``.

        Raises:
            DeviceUnavailableError: Its framework or its hardware fails.
            UsageError: It lacks the precision, an option or the distribution.
        """
        _opened.set(self)
        precision = self.check_precision(precision)
        chosen = self.check_options(options or {})
        offered = self.capabilities.distribution
        distribute = check_distribution(self.name, offered, distribute)
        keywords = {"distribute": distribute} if offered else {}
        module_name, _, class_name = self.factory.partition(":")
        try:
            factory: Callable[..., Device] = getattr(
                importlib.import_module(module_name), class_name
            )
            return factory(self, precision, chosen, **keywords)
        except MsinetError:
            raise
        except Exception as error:
            raise DeviceUnavailableError(
                f"Device '{self.name}' did not open: {type(error).__name__}: {error}. "
                f"Run: msinet-run devices, to see what it needs; MSINET_DEBUG=1 shows where it "
                f"failed."
            ) from error


def opened_spec() -> DeviceSpec | None:
    """Return the device that was opened last, so that an unexpected error can name it."""
    return _opened.get()
