"""The command ``msinet-run``; each command is a module that is imported when it is needed."""

from __future__ import annotations

import errno
import importlib
import os
import sys
import traceback
import warnings
from typing import Any

import click

from msinet_core.cli.options import CommandGroup, device_option
from msinet_core.errors import (
    DEBUG_VARIABLE,
    InterruptedRunError,
    MsinetError,
    describe_error,
    os_reason,
)
from msinet_core.system.interrupt import InterruptFlag
from msinet_core.system.streams import discard_stdout, open_closed_streams
from msinet_core.system.version import __version__

COMMANDS = (
    "devices",
    "train",
    "predict",
    "evaluate",
    "compare",
    "runs",
    "inspect",
    "convert",
    "doctor",
    "bench",
    "data",
    "plugins",
)
"""The built-in commands; each is an attribute of the module of the same name."""


class MsinetGroup(CommandGroup):
    """A group that imports a command's module on demand and prints errors as sentences."""

    _plugins_loaded = False

    def list_commands(self, ctx: click.Context) -> list[str]:
        self._add_plugin_commands()
        return [*COMMANDS, *sorted(set(self.commands) - set(COMMANDS))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in COMMANDS:
            module = importlib.import_module(f"{__name__}.{cmd_name}")
            command: click.Command = getattr(module, cmd_name)
            return command
        self._add_plugin_commands()
        return super().get_command(ctx, cmd_name)

    def _add_plugin_commands(self) -> None:
        if self._plugins_loaded:
            return
        self._plugins_loaded = True
        from msinet_core.registry.loader import load_plugins
        from msinet_core.registry.plugin import add_commands

        for loaded in load_plugins():
            if loaded.problem or not loaded.adds_commands:
                continue
            try:
                add_commands(loaded.plugin, self)
            except Exception as error:
                text = describe_error(error)
                click.echo(f"{loaded.plugin} could not add its commands: {text}", err=True)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except KeyboardInterrupt:
            message, code = "Interrupted.", InterruptedRunError.exit_code
        except InterruptedRunError as error:
            message, code = str(error), error.exit_code
        except Exception as error:
            if os.environ.get(DEBUG_VARIABLE):
                click.echo("".join(traceback.format_exception(error)), err=True)
            message, code = _failure(error)
        click.echo(message, err=True)
        raise click.exceptions.Exit(code)


def _failure(error: Exception) -> tuple[str, int]:
    """Return the message for an error, and the exit code."""
    if isinstance(error, MsinetError):
        from msinet_core.system.install_hints import installable

        return f"Error: {installable(str(error))}", error.exit_code
    if isinstance(error, OSError) and (text := _environment_problem(error)):
        return f"Error: {text}", MsinetError.exit_code
    from msinet_core.device.spec import opened_spec

    if spec := opened_spec():
        from msinet_core.registry.diagnosis import failure_message
        from msinet_core.registry.registry import load_registry

        text = failure_message(error, spec, load_registry().plugin_of(spec))
        return f"Error: {text}", MsinetError.exit_code
    text = f"Unexpected error: {describe_error(error)} Please report it with the {DEBUG_VARIABLE}=1"
    return f"Error: {text} traceback.", MsinetError.exit_code


def _environment_problem(error: OSError) -> str:
    """Return what is wrong around the process, if that is the reason for an error."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"Could not write the output: {os_reason(error)}. Free some space."
    try:
        os.getcwd()  # noqa: PTH109
    except OSError:
        return "The current folder was deleted. Change to another one and run the command again."
    return ""


@click.group(cls=MsinetGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="msinet-run")
@device_option
def cli() -> None:
    """Train and run MSI-Net, a saliency network, on any device.

    \b
    msinet-run devices                              list the devices of this machine
    msinet-run --device cpu train --data demo       train; writes a folder in runs/
    msinet-run --device cpu predict photos/ --weights runs/.../checkpoints/best.msinet.h5

    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 device not available, 130 interrupted with the
    state saved.
    """  # noqa: D301  -- click reads \b as "do not wrap"


def main() -> None:
    """Run ``msinet-run``."""
    InterruptFlag.forces_exit = True
    # Pillow's warning about large images; a limit of our own decides.
    warnings.filterwarnings("ignore", r"Image size \(\d+ pixels\) exceeds limit")
    open_closed_streams()
    try:
        try:
            cli(prog_name="msinet-run")
        finally:
            sys.stdout.flush()
    except OSError as error:  # what was printed could not be written
        discard_stdout()
        if not isinstance(error, BrokenPipeError):  # as with "| head -1"
            click.echo(_failure(error)[0], err=True)
        sys.exit(MsinetError.exit_code)
