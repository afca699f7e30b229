"""Nothing that a user can type or meet is without a page, and the pages are those of today."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import click
import numpy as np
import pytest

from msinet_core import errors
from msinet_core.checkpoint import Checkpoint, save_checkpoint
from msinet_core.cli import COMMANDS, cli
from msinet_core.network.msinet import msinet_graph
from msinet_core.registry import hookspecs
from msinet_core.training.initial_weights import random_state

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"
COMMANDS_PAGE = REFERENCE / "commands.md"
OURS = ("msinet_core", "plugins")


def load_generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def every_command(command: click.Command, name: str) -> list[tuple[str, click.Command]]:
    found = [(name, command)]
    if isinstance(command, click.Group):
        context = click.Context(command)
        names = COMMANDS if command is cli else command.list_commands(context)
        for child in names:
            inner = command.get_command(context, child)
            assert inner is not None
            found += every_command(inner, f"{name} {child}")
    return found


EVERY_COMMAND = dict(every_command(cli, "msinet-run"))


def test_the_commands_page_is_what_the_commands_say() -> None:
    written = COMMANDS_PAGE.read_text(encoding="utf-8")
    assert written == load_generator().commands_page(), "run: python docs/generate.py"


@pytest.mark.parametrize("name", EVERY_COMMAND)
def test_every_command_and_option_has_a_place_on_it(name: str) -> None:
    page = COMMANDS_PAGE.read_text(encoding="utf-8")
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
    sources = [path for folder in OURS for path in (ROOT / folder).rglob("*.py")]
    read = re.compile(r"\b(MSINET_[A-Z_]+)\b")
    names = {name for path in sources for name in read.findall(path.read_text(encoding="utf-8"))}
    assert {"MSINET_DEVICE", "MSINET_PLUGINS"} <= names
    documented = set(re.findall(r"^\| `(MSINET_[A-Z_]+)`", page, re.MULTILINE))
    assert documented == names


def test_every_page_but_the_index_is_linked_from_it_or_from_another() -> None:
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    for page in pages - {"index.md"}:
        folder = page.partition("/")[0]
        named = page.removesuffix(".md") in index or f"{folder}/*" in index
        decision = folder == "decisions" and Path(page).name in (
            (DOCS / "decisions" / "README.md").read_text(encoding="utf-8")
        )
        assert named or decision, page


def test_the_example_on_the_api_page_runs(tmp_path: Path) -> None:
    page = (REFERENCE / "api.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert code
    graph = msinet_graph(0.02)
    path = tmp_path / "best.msinet.h5"
    save_checkpoint(path, Checkpoint(graph, random_state(graph, 1), None, {}))
    program = (
        code[1]
        .replace('"runs/a/checkpoints/best.msinet.h5"', repr(str(path)))
        .replace('spec("cpu")', 'spec("reference")')
    )
    names: dict[str, object] = {"images": np.zeros((1, 16, 24, 3), np.float32)}
    exec(program, names)
    assert np.shape(names["maps"]) == (1, 16, 24, 1)


def test_the_documentation_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("sphinx")
    pytest.importorskip("myst_parser")
    pytest.importorskip("furo")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", DOCS, tmp_path]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    assert (tmp_path / "reference" / "api.html").stat().st_size > 50_000
