"""The front door: what ``import msinet_core`` offers, and that plugins need nothing else."""

from __future__ import annotations

import compileall
import inspect
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import msinet_core

ROOT = Path(__file__).parents[2]
PRIVATE = re.compile(r"^\s*(?:from|import) (msinet_core\.[\w.]+)", re.MULTILINE)
IMPORTED = re.compile(r"^\s*from msinet_core import (\([^)]*\)|.+)", re.MULTILINE)
SOURCES = {
    **{
        folder.name: sorted(folder.rglob("*.py"))
        for folder in sorted((ROOT / "plugins").iterdir())
        if any(folder.glob("*.py"))
    },
    "scaffold": sorted((ROOT / "msinet_core" / "scaffold" / "templates").rglob("*.py.tmpl")),
    "msinet-device-jax": sorted((ROOT / "examples" / "msinet-device-jax").rglob("*.py")),
}


@pytest.mark.parametrize("name", msinet_core.__all__)
def test_a_public_name_imports_and_is_documented(name: str) -> None:
    value = getattr(msinet_core, name)
    if inspect.isclass(value) or inspect.isfunction(value) or inspect.ismodule(value):
        assert not (inspect.getdoc(value) or "(").startswith((f"{name}(", "("))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="imports each name in a forked process")
def test_each_name_can_be_the_first_one_and_needs_no_pytest() -> None:
    program = (
        "import os, sys, msinet_core\n"
        "sys.modules['pytest'] = None\n"
        "for name in msinet_core.__all__:\n"
        "    if (child := os.fork()) == 0:\n"
        "        getattr(msinet_core, name)\n"
        "        os._exit(0)\n"
        "    if os.waitpid(child, 0)[1]:\n"
        "        sys.exit(name)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        msinet_core.no_such_name  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(ImportError):
        from msinet_core import no_such_name  # type: ignore[attr-defined]  # noqa: F401


@pytest.mark.parametrize("first", ["msinet_core.hardware.host", "msinet_core.registry.registry"])
def test_a_private_module_imported_first_does_not_hide_a_public_name(first: str) -> None:
    program = (
        f"import {first}, msinet_core\n"
        "assert msinet_core.hardware.cpu_hardware and msinet_core.ops.Conv2D"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_package_is_imported_from_an_archive_and_without_its_sources(tmp_path: Path) -> None:
    copy = tmp_path / "sourceless" / "msinet_core"
    copy.mkdir(parents=True)
    for name in ("__init__.py", "__init__.pyi"):
        shutil.copy(ROOT / "msinet_core" / name, copy)
    archive = shutil.make_archive(str(tmp_path / "packed"), "zip", copy.parent)
    compileall.compile_dir(copy, quiet=1, legacy=True)
    (copy / "__init__.py").unlink()
    for path in (archive, str(copy.parent)):
        program = f"import sys; sys.path.insert(0, {path!r}); import msinet_core as m; " + (
            "print(m.__file__, 'load' in m.__all__)"
        )
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        )
        assert done.stdout.startswith(path) and done.stdout.endswith("True\n")


def test_the_import_loads_no_other_module() -> None:
    program = (
        "import sys; before = set(sys.modules); import msinet_core\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["msinet_core"]


@pytest.mark.parametrize("source", SOURCES)
def test_plugins_import_from_the_front_door_only(source: str) -> None:
    texts = {path: path.read_text(encoding="utf-8") for path in SOURCES[source]}
    offenders = [
        f"{path.relative_to(ROOT)}: {module}"
        for path, text in texts.items()
        for module in PRIVATE.findall(text)
    ]
    assert not offenders, "\n".join(offenders)
    names = {
        name
        for text in texts.values()
        for match in IMPORTED.findall(text)
        for name in re.findall(r"(\w+)(?: as \w+)?\s*(?:,|$|\))", re.sub(r"#.*", "", match))
    }
    assert names, "nothing of msinet_core is imported"
    assert names <= set(msinet_core.__all__)
