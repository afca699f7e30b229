"""One plugin: import it, call its hooks, and check the devices that it registers."""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
import time
import traceback
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pluggy

from msinet_core.device import API_VERSION, PRECISIONS, DeviceSpec
from msinet_core.device.processes import DISTRIBUTIONS
from msinet_core.errors import PluginError, error_text
from msinet_core.network.layout import CANONICAL_KERNEL_LAYOUT, is_axis_order
from msinet_core.registry import hookspecs
from msinet_core.registry.typed_json import field_problems
from msinet_core.system.version import __version__

if TYPE_CHECKING:
    import click

PLUGINS_VARIABLE = "MSINET_PLUGINS"
"""Modules to load as plugins in addition to the installed ones, separated by commas."""

OWN_DISTRIBUTION = "msinet"
"""The distribution of the built-in plugins."""

HOOKS = ("msinet_register_devices", "msinet_register_commands")


@dataclass(frozen=True)
class Plugin:
    """A plugin that was found and not imported yet.

    Args:
        name: The name of its entry point; its module if ``MSINET_PLUGINS`` names it.
        module: What to import: ``package.module`` or ``package.module:attribute``.
        distribution: The installed distribution it belongs to; None for ``MSINET_PLUGINS``.
        version: That distribution's version.
    """

    name: str
    module: str
    distribution: str | None = None
    version: str | None = None

    def __str__(self) -> str:
        if self.distribution is None:
            return f"plugin '{self.module}' (from {PLUGINS_VARIABLE})"
        return f"plugin '{self.module}' ({self.distribution} {self.version})"

    def is_named(self, names: Iterable[str]) -> bool:
        """Return whether any of `names` means this plugin.

        Args:
            names: Modules, entry points or distributions.
        """
        own = {self.name, self.module, self.module.partition(":")[0], self.distribution}
        return bool(own & set(names))


@dataclass
class LoadedPlugin:
    """The result of loading a plugin.

    Args:
        plugin: The plugin.
        specs: The devices it registered; none if it is broken.
        problem: Why it cannot be used, in one sentence; empty if it can.
        trace: The traceback behind the problem, if any.
        mismatched: Whether it was written for another version of msinet.
        disabled: Whether the environment disables it.
        seconds: How long loading took.
        adds_commands: Whether it implements ``msinet_register_commands``.
    """

    plugin: Plugin
    specs: list[DeviceSpec] = field(default_factory=list)
    problem: str = ""
    trace: str = ""
    mismatched: bool = False
    disabled: bool = False
    seconds: float = 0.0
    adds_commands: bool = False


def load_plugin(plugin: Plugin) -> LoadedPlugin:
    """Import one plugin into this process and collect its devices.

    Args:
        plugin: The plugin.
    """
    result = LoadedPlugin(plugin)
    start = time.perf_counter()
    try:
        hooks = _hooks(plugin)
        result.adds_commands = bool(hooks.msinet_register_commands.get_hookimpls())
        specs: list[DeviceSpec] = []
        hooks.msinet_register_devices(register=lambda spec: _register(spec, specs))
        result.specs = specs
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # including SystemExit
        result.problem = _problem(error)
        result.mismatched = isinstance(error, _OtherVersionError) or bool(_version_hint(error))
        result.trace = "".join(traceback.format_exception(error))
    result.seconds = time.perf_counter() - start
    return result


def add_commands(plugin: Plugin, cli: click.Group) -> None:
    """Let a plugin add its commands.

    Args:
        plugin: The plugin; importing it may raise anything.
        cli: The group to add them to.
    """
    _hooks(plugin).msinet_register_commands(cli=cli)


def _hooks(plugin: Plugin) -> pluggy.HookRelay:
    """Import a plugin and return the hooks to call it by."""
    module, _, attribute = plugin.module.partition(":")
    implementation: object = importlib.import_module(module)
    for name in filter(None, attribute.split(".")):
        implementation = getattr(implementation, name)
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    _check_hook_names(implementation, manager)
    manager.register(implementation)
    return manager.hook


def _check_hook_names(implementation: object, manager: pluggy.PluginManager) -> None:
    implemented = 0
    for name in dir(implementation):
        marked = manager.parse_hookimpl_opts(implementation, name) is not None
        if marked and name not in HOOKS:
            (close,) = difflib.get_close_matches(name, HOOKS, n=1, cutoff=0.0)
            raise PluginError(f"Unknown hook '{name}'. Did you mean '{close}'?")
        if name in HOOKS and not marked:
            raise PluginError(f"'{name}' is not marked; decorate it with @msinet_core.hookimpl")
        implemented += marked
    if not implemented:
        raise PluginError(f"It implements no hook; a plugin defines {' or '.join(HOOKS)}")


def _register(spec: DeviceSpec, specs: list[DeviceSpec]) -> None:
    problems = spec_problems(spec)
    if problems:
        other = isinstance(spec, DeviceSpec) and spec.api_version != API_VERSION
        device = f"'{spec.name}'" if isinstance(spec, DeviceSpec) else repr(spec)
        kind = _OtherVersionError if other else PluginError
        raise kind(f"Invalid device {device}: {'; '.join(problems)}")
    if any(spec.name == known.name for known in specs):
        raise PluginError(f"Device '{spec.name}' is registered twice")
    specs.append(spec)


class _OtherVersionError(PluginError):
    """Report a device that was written for another version of the contract."""


def _problem(error: BaseException) -> str:
    """Say in one line what is wrong with a plugin."""
    text = " ".join(error_text(error).split())
    if isinstance(error, PluginError):
        return text
    text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    if isinstance(error, pluggy.PluginValidationError):
        for name in HOOKS:
            if name in text:
                (argument,) = inspect.signature(getattr(hookspecs, name)).parameters
                text += f". {name} takes one argument, named '{argument}'"
    return text + _version_hint(error)


def _version_hint(error: BaseException) -> str:
    """Explain an error that looks as if the plugin was written for another version of msinet."""
    imports = isinstance(error, ImportError) and (error.name or "").startswith("msinet_core")
    describes = isinstance(error, TypeError) and "DeviceSpec.__init__" in error_text(error)
    if not imports and not describes:
        return ""
    return (
        f". The plugin seems to be written for another version of msinet; this is {__version__} "
        f"with api_version {API_VERSION}. Install versions that match"
    )


def spec_problems(spec: object) -> list[str]:
    """List what is wrong with a device's description; empty if it can be registered.

    Args:
        spec: What a plugin passed to `register`.
    """
    if not isinstance(spec, DeviceSpec):
        return ["it is not a msinet_core.DeviceSpec"]
    problems = field_problems(spec)
    if problems:
        return problems
    if spec.api_version != API_VERSION:
        return [
            f"it is written for api_version {spec.api_version}, and msinet {__version__} has "
            f"{API_VERSION}; install a newer "
            f"{'plugin' if spec.api_version < API_VERSION else 'msinet'}, or versions that match"
        ]
    problems = [
        f"name {name!r} must consist of lower-case letters, digits, '-' and '_', begin with a "
        f"letter, and not be 'auto'"
        for name in (spec.name, *spec.aliases)
        if not re.fullmatch(r"[a-z][a-z0-9_-]*", name) or name == "auto"
    ]
    locations = [("factory", spec.factory, "Class"), ("doctor", spec.doctor, "function")]
    locations += [("checkpoint format", item, "NAME") for item in spec.checkpoint_formats]
    problems += [
        f"{what} {location!r} must look like 'package.module:{name}'"
        for what, location, name in locations
        if location is not None and not re.fullmatch(r"[\w.]+:\w+", location)
    ]
    if not is_axis_order(spec.kernel_layout, CANONICAL_KERNEL_LAYOUT):
        problems.append(f"kernel_layout {spec.kernel_layout!r} must be an order of the axes HWIO")
    if len({spec.name, *spec.aliases}) <= len(spec.aliases):
        problems.append(f"aliases {spec.aliases} must differ from the name and from each other")
    options = [option.name for option in spec.options]
    problems += [
        f"option {name!r} must consist of lower-case letters, digits, '-' and '_'"
        for name in options
        if not re.fullmatch(r"[a-z0-9_-]+", name)
    ]
    if len(set(options)) < len(options):
        problems.append(f"options {options} must differ from each other")
    problems += [
        f"option {option.name!r} must have its default {option.default!r} among its choices"
        for option in spec.options
        if option.default not in option.choices
    ]
    for name, known in (("precisions", PRECISIONS), ("distribution", DISTRIBUTIONS[2:])):
        given = getattr(spec.capabilities, name)
        if not set(given) <= set(known) or (name == "precisions" and not given):
            problems.append(f"{name} {given} must be some of {', '.join(known)}")
    if "multiworker" in spec.capabilities.distribution and not spec.capabilities.cluster_variable:
        problems.append("distribution 'multiworker' requires a cluster_variable")
    return problems
