"""Write the pages that are made from the code: ``python docs/generate.py``.

A test compares them with what is committed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from msinet_core.cli import COMMANDS, cli

PAGE = Path(__file__).parent / "reference" / "commands.md"
WIDTH = 100

HEAD = """# Commands

What `msinet-run COMMAND --help` says, for every command. Written by `python docs/generate.py`;
change the commands instead.
"""


def commands_page() -> str:
    """Return the reference of all commands, in Markdown."""
    settings = cli.context_settings
    context = click.Context(cli, info_name="msinet-run", terminal_width=WIDTH, **settings)
    sections = [_section(cli, context, "##")]
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        sections += _command_sections(command, context, name, "##")
    return "\n".join([HEAD, *sections])


def _command_sections(
    command: click.Command, parent: click.Context, name: str, level: str
) -> Iterator[str]:
    context = click.Context(command, info_name=name, parent=parent, terminal_width=WIDTH)
    yield _section(command, context, level)
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            inner = command.get_command(context, child)
            assert inner is not None
            yield from _command_sections(inner, context, child, f"{level}#")


def _section(command: click.Command, context: click.Context, level: str) -> str:
    lines = (line.rstrip() for line in command.get_help(context).splitlines())
    return "\n".join([f"{level} {context.command_path}", "```text", *lines, "```", ""])


if __name__ == "__main__":
    PAGE.write_text(commands_page(), encoding="utf-8")
