"""Find plugins and load each one so that whatever is wrong with it stays with it."""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
import re
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import metadata

import pluggy

from msinet_core.device import API_VERSION, PRECISIONS, DeviceSpec
from msinet_core.device.processes import DISTRIBUTIONS
from msinet_core.errors import PluginError
from msinet_core.network.layout import CANONICAL_DATA_FORMAT, CANONICAL_KERNEL_LAYOUT, is_axis_order
from msinet_core.registry import hookspecs
from msinet_core.system.version import __version__

PLUGINS_VARIABLE = "MSINET_PLUGINS"
"""Modules to load as plugins beside the installed ones, separated by commas."""

DISABLE_VARIABLE = "MSINET_DISABLE_PLUGINS"
"""Plugins not to load, by module, entry point or distribution, separated by commas."""

HOOK_PREFIX = "msinet_"
RESERVED_NAMES = ("auto",)


@dataclass(frozen=True)
class Plugin:
    """A plugin as it was found, before anything of it is imported.

    Args:
        name: Of its entry point, or its module for one named by ``MSINET_PLUGINS``.
        module: What is imported, in the form ``package.module`` or ``package.module:attribute``.
        distribution: The installed distribution that brought it; None for ``MSINET_PLUGINS``.
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
        """Tell whether one of `names` means this plugin.

        Args:
            names: Modules, entry points or distributions.
        """
        own = {self.name, self.module, self.module.partition(":")[0], self.distribution}
        return bool(own & set(names))


@dataclass
class LoadedPlugin:
    """What became of a plugin.

    Args:
        plugin: As it was found.
        specs: The devices it registered; none if it is broken.
        problem: Why it cannot be used, a sentence; empty if it can.
        trace: The traceback behind the problem, if there is one.
        mismatched: Whether the problem is that it and this msinet are of different times.
        disabled: Whether the environment switched it off.
        seconds: How long it took to load.
    """

    plugin: Plugin
    specs: list[DeviceSpec] = field(default_factory=list)
    problem: str = ""
    trace: str = ""
    mismatched: bool = False
    disabled: bool = False
    seconds: float = 0.0


def find_plugins(environment: Mapping[str, str] | None = None) -> list[Plugin]:
    """List the installed plugins and those that the environment names; import nothing.

    Args:
        environment: Environment variables; None for the process's own.
    """
    environment = os.environ if environment is None else environment
    found = [
        Plugin(
            entry_point.name,
            entry_point.value,
            entry_point.dist.name if entry_point.dist else None,
            entry_point.dist.version if entry_point.dist else None,
        )
        for entry_point in metadata.entry_points(group=hookspecs.ENTRY_POINT_GROUP)
    ]
    found += [Plugin(module, module) for module in _names(environment, PLUGINS_VARIABLE)]
    return sorted(found, key=lambda plugin: (plugin.module, plugin.distribution or ""))


def load_plugins(
    environment: Mapping[str, str] | None = None,
) -> tuple[list[LoadedPlugin], pluggy.PluginManager]:
    """Import every plugin and collect its devices; a broken one is described, never raised.

    Args:
        environment: Environment variables; None for the process's own.

    Returns:
        What became of each plugin, and the manager that holds the good ones for further hooks.
    """
    environment = os.environ if environment is None else environment
    disabled = _names(environment, DISABLE_VARIABLE)
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    loaded: list[LoadedPlugin] = []
    for plugin in find_plugins(environment):
        twins = [other.plugin for other in loaded if other.plugin.module == plugin.module]
        if plugin.is_named(disabled):
            loaded.append(LoadedPlugin(plugin, disabled=True))
        elif twins:
            loaded.append(LoadedPlugin(plugin, problem=f"Already loaded as {twins[0]}."))
        else:
            loaded.append(_load(plugin, manager))
    return loaded, manager


def _names(environment: Mapping[str, str], variable: str) -> list[str]:
    return [name.strip() for name in environment.get(variable, "").split(",") if name.strip()]


def _load(plugin: Plugin, manager: pluggy.PluginManager) -> LoadedPlugin:
    result = LoadedPlugin(plugin)
    start = time.perf_counter()
    try:
        implementation = _import(plugin.module)
        _check_hook_names(implementation, manager)
        manager.register(implementation, plugin.module)
        _collect(implementation, manager, result.specs)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a plugin that calls sys.exit() must not end the program either
        result.specs.clear()
        manager.unregister(name=plugin.module) if manager.has_plugin(plugin.module) else None
        result.problem = _problem(error)
        result.mismatched = isinstance(error, _OtherVersionError) or bool(_age(error))
        result.trace = "".join(traceback.format_exception(error))
    result.seconds = time.perf_counter() - start
    return result


class _OtherVersionError(PluginError):
    """Report a device that is written for another version of the contract."""


def _problem(error: BaseException) -> str:
    """Say in a line what is wrong with a plugin."""
    if isinstance(error, PluginError):
        return str(error)
    text = " ".join(str(error).split()) or "no more is said"
    return f"{type(error).__name__}: {text}{_age(error)}{_arguments(error)}"


def _arguments(error: BaseException) -> str:
    """Say what a hook's arguments are called, where an error is about them."""
    if not isinstance(error, pluggy.PluginValidationError):
        return ""
    for name in hook_names():
        if name in str(error):
            (argument,) = inspect.signature(getattr(hookspecs, name)).parameters
            return f". Call the argument of {name} '{argument}'"
    return ""


def hook_names() -> list[str]:
    """List the hooks that a plugin can implement."""
    return [name for name in vars(hookspecs) if name.startswith(HOOK_PREFIX)]


def _age(error: BaseException) -> str:
    """Say that a plugin may be of another time, where its error looks so; it then has no spec."""
    imports = isinstance(error, ImportError) and (error.name or "").startswith("msinet_core")
    describes = isinstance(error, TypeError) and "DeviceSpec.__init__" in str(error)
    if not imports and not describes:
        return ""
    return (
        f". It seems to be written for another msinet: this one is {__version__}, with api_version "
        f"{API_VERSION}; install versions of the two that belong together"
    )


def _import(target: str) -> object:
    module, _, attribute = target.partition(":")
    implementation: object = importlib.import_module(module)
    for name in filter(None, attribute.split(".")):
        implementation = getattr(implementation, name)
    return implementation


def _check_hook_names(implementation: object, manager: pluggy.PluginManager) -> None:
    hooks = hook_names()
    implemented = 0
    for name in dir(implementation):
        marked = manager.parse_hookimpl_opts(implementation, name) is not None
        if marked and name not in hooks:
            close = difflib.get_close_matches(name, hooks, n=1, cutoff=0.0)
            raise PluginError(
                f"It implements '{name}', which is no hook. Did you mean '{close[0]}'?"
            )
        if name in hooks and not marked:
            raise PluginError(
                f"Its '{name}' is not marked. Decorate it with @msinet_core.hookimpl."
            )
        implemented += marked
    if not implemented:
        raise PluginError(f"It implements no hook. A plugin defines {' or '.join(hooks)}.")


def _collect(
    implementation: object, manager: pluggy.PluginManager, specs: list[DeviceSpec]
) -> None:
    def register(spec: DeviceSpec) -> None:
        problems = spec_problems(spec)
        if problems:
            versioned = isinstance(spec, DeviceSpec) and spec.api_version != API_VERSION
            raise (_OtherVersionError if versioned else PluginError)(
                f"It registers {_describe(spec)}, which cannot be: " + "; ".join(problems)
            )
        if spec.name in {other.name for other in specs}:
            raise PluginError(f"It registers the device '{spec.name}' twice.")
        specs.append(spec)

    call_hook(manager, implementation, "msinet_register_devices", register=register)


def call_hook(
    manager: pluggy.PluginManager, plugin: object, name: str, **arguments: object
) -> None:
    """Call one plugin's implementation of a hook, if it has one, and nobody else's.

    Args:
        manager: Where the plugin is registered.
        plugin: The plugin's module or object.
        name: The hook's name.
        arguments: The hook's arguments.
    """
    others = [other for other in manager.get_plugins() if other is not plugin]
    hook: Callable[..., object] = manager.subset_hook_caller(name, others)
    hook(**arguments)


def _describe(spec: object) -> str:
    return f"the device '{spec.name}'" if isinstance(spec, DeviceSpec) else f"{spec!r}"


def spec_problems(spec: object) -> list[str]:
    """List what is wrong with a device's description; nothing when it can be registered.

    Args:
        spec: What a plugin passed to `register`.
    """
    if not isinstance(spec, DeviceSpec):
        return ["it is not a msinet_core.device.DeviceSpec"]
    if spec.api_version != API_VERSION:
        older = isinstance(spec.api_version, int) and spec.api_version < API_VERSION
        return [
            f"it is written for api_version {spec.api_version!r} and msinet {__version__} has "
            f"{API_VERSION}; install a newer {'plugin' if older else 'msinet'}, or versions of the "
            f"two that belong together"
        ]
    problems = [
        f"name {name!r} must be lower-case letters, digits, '-' and '_', begin with a letter, and "
        f"not be 'auto'"
        for name in (spec.name, *spec.aliases)
        if not (isinstance(name, str) and re.fullmatch(r"[a-z][a-z0-9_-]*", name))
        or name in RESERVED_NAMES
    ]
    checks = {
        f"factory {spec.factory!r} must look like 'package.module:Class'": bool(
            re.fullmatch(r"[\w.]+:\w+", str(spec.factory))
        ),
        f"doctor {spec.doctor!r} must look like 'package.module:function', or be None": (
            spec.doctor is None or bool(re.fullmatch(r"[\w.]+:\w+", str(spec.doctor)))
        ),
        f"probe {spec.probe!r} must be callable": callable(spec.probe),
        f"data_format {spec.data_format!r} must be NHWC or NCHW": spec.data_format
        in (CANONICAL_DATA_FORMAT, "NCHW"),
        f"kernel_layout {spec.kernel_layout!r} must order the letters HWIO": is_axis_order(
            str(spec.kernel_layout), CANONICAL_KERNEL_LAYOUT
        ),
        f"priority {spec.priority!r} must be a whole number": isinstance(spec.priority, int),
    }
    problems += [problem for problem, holds in checks.items() if not holds]
    problems += [
        f"option {option.name!r} must offer its default {option.default!r} among its choices"
        for option in spec.options
        if option.default not in option.choices
    ]
    precisions = spec.capabilities.precisions
    if not precisions or not set(precisions) <= set(PRECISIONS):
        problems.append(f"precisions {precisions!r} must be some of {', '.join(PRECISIONS)}")
    unknown = set(spec.capabilities.distribution) - set(DISTRIBUTIONS[2:])
    if unknown:
        problems.append(f"distribution {sorted(unknown)!r} must be some of mirrored, multiworker")
    return problems
