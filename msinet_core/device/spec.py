"""A device's description: what it is, what it can do, and whether it is available."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from msinet_core.device.processes import check_distribution
from msinet_core.errors import (
    DeviceUnavailableError,
    MsinetError,
    UsageError,
    bullet_list,
    describe_error,
    did_you_mean,
)
from msinet_core.hardware import host
from msinet_core.hardware.hardware import Hardware
from msinet_core.network.layout import CANONICAL_DATA_FORMAT, CANONICAL_KERNEL_LAYOUT, DataFormat
from msinet_core.system.forks import check_not_forked, device_opened
from msinet_core.system.kinds import TABLE
from msinet_core.system.settings import check_argument

if TYPE_CHECKING:
    from msinet_core.device.device import Device

API_VERSION = 1
"""The version of the contract between the core and its plugins."""

PRECISIONS = ("float32", "bfloat16", "float16")

_opened: ContextVar[DeviceSpec | None] = ContextVar("opened", default=None)


class Availability(Enum):
    """Whether a device can be used, as far as is known."""

    NOT_HERE = "not here"
    INSTALLED = "installed"
    VERIFIED = "verified"


@dataclass(frozen=True)
class Probe:
    """The result of a quick look at the machine, without importing a framework.

    Args:
        availability: `NOT_HERE`, or `INSTALLED` if nothing is known to prevent opening the device.
        reason: Why it is not available, or a remark about how it would run; a sentence.
        fix: The exact command that would make it available; or a sentence, which begins with a
            capital letter or ends with a period.
        framework_version: The version of the installed framework; None if it is not installed.
        hardware: The hardware it would compute on.
    """

    availability: Availability
    reason: str = ""
    fix: str = ""
    framework_version: str | None = None
    hardware: tuple[Hardware, ...] = ()

    @classmethod
    def of_packages(
        cls,
        framework: str,
        requirements: Sequence[str],
        install: str,
        hardware: tuple[Hardware, ...] = (),
        remark: str = "",
    ) -> Probe:
        """Return the result for a device whose hardware is there and which needs packages.

        Args:
            framework: The distribution whose version is the framework's.
            requirements: Requirement strings (PEP 508).
            install: The command that installs them.
            hardware: The hardware it would compute on.
            remark: About how it would run; a sentence.
        """
        version = host.distribution_version(framework)
        missing = host.missing_requirements(requirements)
        if missing:
            return cls(Availability.NOT_HERE, " ".join(missing), install, version, hardware)
        return cls(Availability.INSTALLED, remark, "", version, hardware)

    @property
    def ready(self) -> bool:
        """Whether the device can be opened, as far as the probe can tell."""
        return self.availability is not Availability.NOT_HERE

    @property
    def fix_sentence(self) -> str:
        """The fix for the end of a message, as "Run: ..." if it is a command."""
        command = re.fullmatch(r"(?:[a-z][\w+-]*(?:\.\d+)?|[./~][\w./+-]*)(?: .+)?", self.fix)
        return f"Run: {self.fix}" if command and not self.fix.endswith(".") else self.fix


@dataclass(frozen=True)
class Capabilities:
    """What a device supports.

    Args:
        training: Whether it trains, or predicts only.
        precisions: The supported ones of ``PRECISIONS``; "auto" means the first.
        distribution: Supported kinds of distributed training: "mirrored", "multiworker". If there
            are any, the factory takes the keyword ``distribute`` and resolves "auto" itself; with
            "mirrored" also ``max_devices``, the number of devices that "auto" may use at most.
        cluster_variable: The environment variable through which its framework learns about the
            other processes; required for "multiworker".
        dilated_gradient: Whether it trains through dilated convolutions, which MSI-Net has.
        dynamic_shapes: Whether one compiled model accepts batches of any size.
        deterministic: Whether the same input and state always give the same bits.
    """

    training: bool = True
    precisions: tuple[str, ...] = ("float32",)
    distribution: tuple[str, ...] = ()
    cluster_variable: str = ""
    dilated_gradient: bool = True
    dynamic_shapes: bool = True
    deterministic: bool = True


@dataclass(frozen=True)
class DeviceOption:
    """An option of one device, given as ``--device-option NAME=VALUE``.

    Args:
        name: Lower-case letters, digits, ``-`` and ``_``.
        summary: What it does, on one line.
        default: The default value; one of `choices`.
        choices: The valid values.
    """

    name: str
    summary: str
    default: str = "off"
    choices: tuple[str, ...] = ("off", "on")

    def describe(self) -> str:
        """Return one line with its usage, default and summary."""
        given = f"--device-option {self.name}={'|'.join(self.choices)}"
        return f"{given} (default {self.default}): {self.summary}"


@dataclass(frozen=True)
class DeviceSpec:
    """Describe a device without importing its framework.

    Args:
        name: The value of ``--device``: lower-case letters, digits, ``-`` and ``_``.
        summary: One line for people.
        framework: The framework's name, for example ``"TensorFlow"``.
        factory: The `Device` class, as ``"package.module:Class"``.
        probe: Returns whether the device is available; quick, imports no framework, never raises.
        api_version: The version of the contract that the plugin was written for. Write the number:
            a constant imported from msinet would be that of the installed version.
        data_format: The order of image axes that the device computes in.
        kernel_layout: The order of kernel axes that the device computes with.
        requires: The distributions it needs, as requirement strings (PEP 508).
        aliases: Other names for it.
        priority: Automatic selection takes the available device with the highest priority, and
            none with a negative one.
        capabilities: What it supports.
        options: Its own options.
        doctor: The function that examines the device for ``msinet-run doctor``, as
            ``"package.module:function"``; it takes the spec and a mapping of arguments and yields
            `Finding` objects.
        checkpoint_format: The format that ``convert --to DEVICE`` writes, as users of its
            framework expect it.
        checkpoint_formats: File formats that come with it: the `Format` of each, as
            ``"package.module:NAME"``. The module is imported if the format may be needed, and
            imports the framework only to read or write.
        doctor_arguments: The arguments that `doctor` supports in addition to ``precision`` and the
            device's options: ``"topology"``, ``"batch-size"``, ``"image-size"``.
        untested_on: The hardware that it is for, if it was never run on it: ``"a Mac"``. `doctor`
            says so.
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
    checkpoint_formats: tuple[str, ...] = ()
    doctor: str | None = None
    doctor_arguments: tuple[str, ...] = ()
    untested_on: str = ""

    def check_precision(self, precision: str) -> str:
        """Return the precision to compute in, resolving "auto".

        Args:
            precision: One of ``PRECISIONS``, or ``"auto"``.

        Raises:
            UsageError: The device does not support it.
        """
        offered = self.capabilities.precisions
        if precision == "auto":
            return offered[0]
        if precision not in offered:
            raise UsageError(
                f"Device '{self.name}' does not support {precision}; "
                f"use --precision {' or '.join(offered)}"
            )
        return precision

    def check_options(self, given: Mapping[str, str]) -> Mapping[str, str]:
        """Return the value of every option, with defaults for those that are not given.

        Args:
            given: The user's values by option.

        Raises:
            UsageError: The device has no such option, or the value is invalid.
        """
        given = check_argument("device options", TABLE, given)
        known = {option.name: option for option in self.options}
        for name, value in given.items():
            if name not in known:
                lines = [option.describe() for option in self.options]
                options = f"Its options:\n{bullet_list(lines)}" if lines else "It has no options."
                raise UsageError(
                    f"Device '{self.name}' has no option '{name}'.{did_you_mean(name, known)} "
                    f"{options}"
                )
            choices = known[name].choices
            if value not in choices:
                raise UsageError(
                    f"Invalid value for option '{name}' of device '{self.name}': '{value}'."
                    f"{did_you_mean(value, choices)} Use {' or '.join(choices)} "
                    f"({known[name].summary})"
                )
        return {name: given.get(name, option.default) for name, option in known.items()}

    def options_in(self, arguments: Mapping[str, str]) -> Mapping[str, str]:
        """Return the value of every option, given what the device's `doctor` received.

        Args:
            arguments: Values of options, and other arguments, which are left out.

        Raises:
            UsageError: A value is invalid.
        """
        names = {option.name for option in self.options}
        return self.check_options({name: arguments[name] for name in names & arguments.keys()})

    def unavailable_message(self, probe: Probe) -> str:
        """Return a message that the device is not available, why, and what to do.

        Args:
            probe: The result of its probe.
        """
        text = f"Device '{self.name}' is not available: {probe.reason} {probe.fix_sentence}"
        return text.strip()

    def open(
        self,
        precision: str = "auto",
        options: Mapping[str, str] | None = None,
        distribute: str = "none",
        batch_size: int | None = None,
    ) -> Device:
        """Import the device's framework and open the device.

        Args:
            precision: One of ``PRECISIONS``, or ``"auto"``.
            options: Values for the device's options by name; the others have their defaults.
            distribute: How to distribute training: "none", "auto", or one of its capabilities.
            batch_size: The number of images in a batch; "auto" uses no more devices of a machine
                than that, because others would have none. None: as many as there are.

        Raises:
            DeviceUnavailableError: Its framework or its hardware fails.
            MsinetError: This process was forked after another device had been opened.
            UsageError: It does not support the precision, an option or the distribution.
        """
        check_not_forked()
        _opened.set(self)
        precision = self.check_precision(precision)
        chosen = self.check_options(options or {})
        offered = self.capabilities.distribution
        distribute = check_distribution(self.name, offered, distribute)
        keywords: dict[str, Any] = {"distribute": distribute} if offered else {}
        if distribute == "auto" and "mirrored" in offered and batch_size is not None:
            keywords["max_devices"] = batch_size
        module_name, _, class_name = self.factory.partition(":")
        try:
            factory: Callable[..., Device] = getattr(
                importlib.import_module(module_name), class_name
            )
            device = factory(self, precision, chosen, **keywords)
            device_opened()
            return device
        except MsinetError:
            raise
        except Exception as error:
            raise DeviceUnavailableError(
                f"Cannot open device '{self.name}': {describe_error(error)} msinet-run devices "
                f"shows what it needs, and MSINET_DEBUG=1 where it failed."
            ) from error


def opened_spec() -> DeviceSpec | None:
    """Return the device that was opened last, so that an unexpected error can name it."""
    return _opened.get()
