"""What can be done about a plugin that is broken, or that is installed and not found."""

from __future__ import annotations

from importlib import metadata

from msinet_core.discovery import DISABLE_VARIABLE, PLUGINS_VARIABLE, LoadedPlugin
from msinet_core.hookspecs import ENTRY_POINT_GROUP
from msinet_core.installing import editable_folder

NAME_PREFIX = "msinet-device-"
"""How the distributions of plugins are called, if they follow the scaffold."""

TRACEBACK_COMMAND = "msinet-run plugins list --traceback"


def plugin_cure(loaded: LoadedPlugin) -> str:
    """Say what its user can do about a broken plugin; its author reads the traceback.

    Args:
        loaded: What became of the plugin; nothing is said of one that works.
    """
    if not loaded.problem:
        return ""
    plugin = loaded.plugin
    if plugin.distribution is None:
        cures = [f"take it out of {PLUGINS_VARIABLE}"]
    else:
        cures = [f"leave it out with {DISABLE_VARIABLE}={plugin.name}"]
    if plugin.distribution and not loaded.mismatched:  # the problem itself says which to install
        folder = editable_folder(plugin.distribution)
        mend = f"mend it in {folder}" if folder else f"pip install --upgrade {plugin.distribution}"
        cures.insert(0, mend)
    return f"{', or '.join(cures)}. Its author needs: {TRACEBACK_COMMAND}"


def where_devices_come_from() -> str:
    """Say how a package brings devices, and name packages that seem to want to and do not."""
    told = (
        f"Devices come from installed packages with an entry point in the group "
        f"{ENTRY_POINT_GROUP}; after a change in pyproject.toml, install the package again."
    )
    return " ".join([told, *silent_distributions()])


def silent_distributions() -> list[str]:
    """Name the installed distributions that are called like plugins and bring none."""
    found = set()
    for distribution in metadata.distributions():
        name = str(distribution.metadata["Name"] or "").lower().replace("_", "-")
        groups = {entry_point.group for entry_point in distribution.entry_points}
        if not name.startswith(NAME_PREFIX) or ENTRY_POINT_GROUP in groups:
            continue
        near = sorted(group for group in groups if group.startswith("msinet"))
        instead = f"; it has one in {', '.join(near)}" if near else ""
        found.add(f"{name} {distribution.version} is installed and has none{instead}.")
    return sorted(found)
