"""The generated files are those of today's code."""

from __future__ import annotations

import importlib.util
import inspect
import json
import re
from pathlib import Path
from types import ModuleType

import pytest

import msinet_core

ROOT = Path(__file__).parents[2]


def load_generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATOR = load_generator()


@pytest.mark.parametrize("path", GENERATOR.FILES, ids=lambda path: path.name)
def test_a_generated_file_is_up_to_date(path: Path) -> None:
    current = path.read_text(encoding="utf-8") == GENERATOR.FILES[path]()
    assert current, "run: python docs/generate.py"


def test_the_check_reports_a_file_that_is_out_of_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.md"
    page.write_text("old")
    monkeypatch.setattr(GENERATOR, "FILES", {page: lambda: "new"})
    assert GENERATOR.main(check=True) == 1
    assert page.read_text() == "old"
    assert GENERATOR.main(check=False) == 0
    assert page.read_text() == "new"
    assert GENERATOR.main(check=True) == 0


def test_the_api_page_has_every_public_name_once() -> None:
    page = (ROOT / "docs" / "reference" / "api.md").read_text(encoding="utf-8")
    named = re.findall(r"^#### (\S+)$", page, re.MULTILINE)
    assert len(set(named)) == len(named)
    documented = {name.partition(".")[0] for name in named}
    assert documented >= set(msinet_core.__all__) - {"__version__"}


def test_the_api_page_has_signatures_and_arguments() -> None:
    page = (ROOT / "docs" / "reference" / "api.md").read_text(encoding="utf-8")
    train = page.partition("#### train\n")[2].partition("#### ")[0]
    for name, parameter in inspect.signature(msinet_core.train).parameters.items():
        assert f"\n    {name}: {parameter.annotation}" in train
        assert f"* `{name}`: " in train


def test_a_hardware_report_becomes_a_row(tmp_path: Path) -> None:
    assert "|" not in GENERATOR.hardware_page(tmp_path)
    folder = tmp_path / "Mac mini M4"
    folder.mkdir()
    findings = [
        {"title": "program", "status": "ok", "detail": "msinet 1, Python 3.12, Darwin arm64."},
        {"title": "availability", "status": "ok", "detail": "Apple M4."},
        {"title": "fusion test", "status": "problem", "detail": "Too large."},
    ]
    files = {
        "doctor-metal-float32.json": {"device": "metal", "findings": findings},
        "kit-metal-float32.json": {"passed": True, "rows": []},
        "kit-metal-float16.json": {"passed": False, "rows": [{"status": "failed"}]},
        "devices-metal.json": {"devices": [{"name": "metal", "status": "verified"}]},
    }
    for name, document in files.items():
        (folder / name).write_text(json.dumps(document))
    for name in ("bench-metal.json", "doctor-metal-float16.json"):
        (folder / name).write_text("")  # it failed
    row = GENERATOR.hardware_page(tmp_path).splitlines()[-1]
    cells = [cell.strip() for cell in row.split("|")[1:-1]]
    assert cells[:2] == ["Mac mini M4", "`metal`"]
    assert cells[3:] == [
        *("Apple M4.", "verified"),
        "failed (float16), fusion test (float32)",
        "float16 1 failed, float32 passed",
        *("", ""),
    ]
