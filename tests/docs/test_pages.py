"""Everything that users can type or meet has a page."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from msinet_core import errors
from msinet_core.cli import COMMANDS, cli
from msinet_core.registry import hookspecs

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"
SOURCES = ("msinet_core", "plugins")


def every_command(command: click.Command, name: str) -> list[tuple[str, click.Command]]:
    found = [(name, command)]
    if isinstance(command, click.Group):
        context = click.Context(command, **cli.context_settings)
        for child in COMMANDS if command is cli else command.list_commands(context):
            inner = command.get_command(context, child)
            assert inner is not None
            found += every_command(inner, f"{name} {child}")
    return found


EVERY_COMMAND = dict(every_command(cli, "msinet-run"))


@pytest.mark.parametrize("name", EVERY_COMMAND)
def test_every_command_and_option_is_on_the_commands_page(name: str) -> None:
    page = (REFERENCE / "commands.md").read_text(encoding="utf-8")
    section = re.search(rf"^#+ {re.escape(name)}$(.*?)(?=^#|\Z)", page, re.DOTALL | re.MULTILINE)
    assert section, name
    for parameter in EVERY_COMMAND[name].params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            for option in (*parameter.opts, *parameter.secondary_opts):
                assert option in section[1]


def test_every_hook_has_a_section() -> None:
    page = (REFERENCE / "hooks.md").read_text(encoding="utf-8")
    hooks = [name for name in vars(hookspecs) if name.startswith("msinet_")]
    assert len(hooks) == 2
    for hook in hooks:
        assert f"## `{hook}`" in page


def test_every_error_and_exit_code_has_a_row() -> None:
    page = (REFERENCE / "exit-codes.md").read_text(encoding="utf-8")
    kinds = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type)
        and issubclass(kind, errors.MsinetError)
        and kind is not errors.MsinetError
    ]
    assert kinds
    for kind in kinds:
        assert f"| `{kind.__name__}` | {kind.exit_code} |" in page
        assert re.search(rf"^\| {kind.exit_code} \|", page, re.MULTILINE)


def test_every_environment_variable_has_a_row() -> None:
    page = (REFERENCE / "environment.md").read_text(encoding="utf-8")
    sources = [path for folder in SOURCES for path in (ROOT / folder).rglob("*.py")]
    read = re.compile(r"\b(MSINET_[A-Z_]+)\b")
    names = {name for path in sources for name in read.findall(path.read_text(encoding="utf-8"))}
    assert {"MSINET_DEVICE", "MSINET_PLUGINS"} <= names
    documented = set(re.findall(r"^\| `(MSINET_[A-Z_]+)`", page, re.MULTILINE))
    assert documented == names


def test_every_decision_has_a_question_and_a_decision_in_forty_lines() -> None:
    records = sorted((DOCS / "decisions").glob("0*.md"))
    assert records
    for record in records:
        text = record.read_text(encoding="utf-8")
        assert "**Question.**" in text and "**Decision.**" in text, record
        assert len(text.splitlines()) <= 40, record


def test_the_documentation_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("sphinx")
    pytest.importorskip("myst_parser")
    pytest.importorskip("furo")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going"]
    built = subprocess.run([*command, DOCS, tmp_path], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    assert (tmp_path / "reference" / "api.html").stat().st_size > 50_000
