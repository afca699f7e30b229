"""Imports run in the direction that the architecture page gives, and never in a circle."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = ROOT / "msinet_core"
PAGE = ROOT / "docs" / "explanation" / "architecture.md"
FREE = {"__init__", "__main__"}
"""The front door and ``python -m msinet_core``, which import from everywhere."""


def rows(page: str) -> list[list[str]]:
    """Return the folders and modules of each row of the page's table, the highest row first."""
    firsts = re.findall(r"^\| (`.*?) \|", page, re.MULTILINE)
    return [re.findall(r"`(\w+)`", first) for first in firsts]


def imports(path: Path, types: bool) -> Iterator[str]:
    """Yield the modules of the core that a module imports, in functions too.

    Args:
        path: The module.
        types: Whether to include the imports for type checkers only.
    """
    todo: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" and not types:
            continue
        todo += ast.iter_child_nodes(node)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("msinet_core"):
            for name in node.names:
                inner = f"{node.module}.{name.name}"
                yield inner if inner in MODULES else node.module or ""
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name.startswith("msinet_core"))


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in CORE.rglob("*.py")}
LEVELS = {name: level for level, row in enumerate(rows(PAGE.read_text("utf-8"))) for name in row}


def test_the_page_has_every_folder_and_module() -> None:
    folders = {path.parent.name for path in CORE.glob("*/__init__.py")}
    modules = {path.stem for path in CORE.glob("*.py")} - FREE
    assert set(LEVELS) >= folders | modules


@pytest.mark.parametrize("module", [name for name in MODULES if name.count(".")])
def test_a_module_imports_from_lower_rows_only(module: str) -> None:
    own = module.split(".")[1]
    if own in FREE:
        return
    upwards = [
        imported
        for imported in imports(MODULES[module], types=True)
        if imported.count(".")
        if (other := imported.split(".")[1]) != own and LEVELS[other] <= LEVELS[own]
    ]
    assert upwards == []


def test_no_module_imports_itself_through_others() -> None:
    graph = {
        # A spec, a device and a model name each other's types.
        name: set(imports(path, types=not name.startswith("msinet_core.device."))) - {name}
        for name, path in MODULES.items()
    }
    tuple(TopologicalSorter(graph).static_order())  # raises CycleError
