"""The hooks through which plugins register devices and commands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pluggy

if TYPE_CHECKING:
    import click

    from msinet_core.device import DeviceSpec

PROJECT = "msinet"
ENTRY_POINT_GROUP = "msinet.devices"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class Register(Protocol):
    """Register one device; an invalid description raises in the caller's frame."""

    def __call__(self, spec: DeviceSpec) -> None: ...


@hookspec
def msinet_register_devices(register: Register) -> None:
    """Call `register` once for each device of the plugin.

    Args:
        register: Takes a `DeviceSpec`; raises `PluginError` if it is invalid.
    """


@hookspec
def msinet_register_commands(cli: click.Group) -> None:
    """Add commands to ``msinet-run``.

    Args:
        cli: The group to call ``cli.add_command`` on.
    """
