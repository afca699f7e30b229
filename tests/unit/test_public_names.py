"""The public names are exactly the documented ones: docs/reference/stability.md promises it."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "api.md"
SECTION = re.compile(r"automodule:: (\S+)\n\s+:members: (.+)")
DOCUMENTED = {module: names.split(", ") for module, names in SECTION.findall(PAGE.read_text())}


def defined(module: str) -> set[str]:
    """Give the names without an underscore that a module defines, or that a package exports."""
    loaded = importlib.import_module(module)
    tree = ast.parse(inspect.getsource(loaded))
    names: set[str] = set()
    lazy = [
        inner
        for node in tree.body
        if isinstance(node, ast.If)
        for inner in node.body
        if isinstance(inner, ast.ImportFrom)
    ]
    for node in [*tree.body, *lazy]:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
        elif isinstance(node, ast.ImportFrom) and hasattr(loaded, "__path__"):
            names |= {alias.asname or alias.name for alias in node.names}
    return {name for name in names if not name.startswith("_") and name != "annotations"}


def test_the_page_names_modules() -> None:
    assert {
        "msinet_core.device",
        "msinet_core.registry.hookspecs",
        "msinet_core.network.ops",
    } <= set(DOCUMENTED)


@pytest.mark.parametrize("module", DOCUMENTED)
def test_the_public_names_are_the_documented_ones(module: str) -> None:
    promised = importlib.import_module(module).__all__
    assert sorted(promised) == sorted(DOCUMENTED[module])
    assert set(promised) == defined(module)


@pytest.mark.parametrize("module", DOCUMENTED)
def test_every_public_class_and_function_says_what_it_does(module: str) -> None:
    loaded = importlib.import_module(module)
    silent = [
        name
        for name in loaded.__all__
        if inspect.isclass(getattr(loaded, name)) or inspect.isfunction(getattr(loaded, name))
        if not inspect.getdoc(getattr(loaded, name))
    ]
    assert silent == []


PLUGINS = sorted(path.name for path in (PAGE.parents[2] / "plugins").iterdir() if path.is_dir())


@pytest.mark.parametrize("plugin", PLUGINS)
def test_a_built_in_plugin_uses_the_public_door_only(plugin: str) -> None:
    used = set()
    for path in (PAGE.parents[2] / "plugins" / plugin).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "msinet_core":
                used |= {(f"msinet_core.{alias.name}", "") for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("msinet_core"):
                used |= {(node.module or "", alias.name) for alias in node.names}
    assert used
    hidden = {
        f"{module}.{name}"
        for module, name in used
        if module not in DOCUMENTED or (name and name not in DOCUMENTED[module])
    }
    assert hidden == set()
