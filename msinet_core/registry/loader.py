"""Find the installed plugins and load them all."""

from __future__ import annotations

import os
from importlib import metadata

from msinet_core.registry.hookspecs import ENTRY_POINT_GROUP
from msinet_core.registry.plugin import (
    OWN_DISTRIBUTION,
    PLUGINS_VARIABLE,
    LoadedPlugin,
    Plugin,
    load_plugin,
)

DISABLE_VARIABLE = "MSINET_DISABLE_PLUGINS"
"""Plugins not to load, by module, entry point or distribution, separated by commas."""


def find_plugins() -> list[Plugin]:
    """List the installed plugins and those that the environment names; import none."""
    found = []
    owners: dict[int, tuple[str, str]] = {}  # reading them parses the whole metadata
    for entry_point in metadata.entry_points(group=ENTRY_POINT_GROUP):
        owner = entry_point.dist
        if owner is not None and id(owner) not in owners:
            owners[id(owner)] = owner.name, owner.version
        found.append(
            Plugin(entry_point.name, entry_point.value, *owners.get(id(owner), (None, None)))
        )
    found += [Plugin(module, module) for module in _names(PLUGINS_VARIABLE)]
    return sorted(found, key=lambda plugin: (plugin.module, plugin.distribution or ""))


def load_plugins(*, in_process: bool = False) -> list[LoadedPlugin]:
    """Load every plugin and collect its devices; a broken one is described, never raised.

    Args:
        in_process: Whether to import third-party plugins into this process too, instead of a
            process for each.
    """
    disabled = _names(DISABLE_VARIABLE)
    found = find_plugins()
    first = {plugin.module: plugin for plugin in reversed(found) if not plugin.is_named(disabled)}
    third_party = [
        plugin
        for plugin in first.values()
        if plugin.distribution != OWN_DISTRIBUTION and not in_process
    ]
    isolated: dict[Plugin, LoadedPlugin] = {}
    if third_party:
        from msinet_core.registry.isolation import load_isolated

        isolated = {loaded.plugin: loaded for loaded in load_isolated(third_party)}

    def load(plugin: Plugin) -> LoadedPlugin:
        if plugin.is_named(disabled):
            return LoadedPlugin(plugin, disabled=True)
        if first[plugin.module] is not plugin:
            return LoadedPlugin(plugin, problem=f"Already loaded as {first[plugin.module]}")
        return isolated.get(plugin) or load_plugin(plugin)

    return [load(plugin) for plugin in found]


def _names(variable: str) -> list[str]:
    """Return the names in an environment variable, separated by commas."""
    return [name.strip() for name in os.environ.get(variable, "").split(",") if name.strip()]
