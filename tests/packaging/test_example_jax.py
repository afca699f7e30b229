"""The example of a third-party plugin: light without JAX, short, and right."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import msinet_core

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "msinet-device-jax"
SOURCE = EXAMPLE / "src"
PACKAGE = SOURCE / "msinet_device_jax"


def run(code: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": str(SOURCE),
        "MSINET_PLUGINS": "msinet_device_jax",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_its_light_modules_import_without_jax() -> None:
    done = run(
        "import sys; sys.modules['jax'] = sys.modules['jaxlib'] = None\n"
        "from msinet_core.registry.probe_runner import run_probe\n"
        "from msinet_core.registry.registry import load_registry\n"
        "spec = load_registry().spec('jax'); print(spec.framework, run_probe(spec).availability)"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("JAX Availability.")


def test_the_device_is_short() -> None:
    files = ("__init__.py", "device.py", "layers.py", "model.py", "placement.py")
    lines = sum(len((PACKAGE / name).read_text().splitlines()) for name in files)
    assert lines < 450


@pytest.mark.parametrize(
    "folder",
    [
        EXAMPLE,
        *sorted(path for path in (ROOT / "plugins").iterdir() if path.is_dir()),
    ],
    ids=lambda folder: folder.name,
)
def test_plugins_import_msinet_only_through_the_front_door(folder: Path) -> None:
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "msinet_core":
                assert {alias.name for alias in node.names} <= set(msinet_core.__all__), path
            elif isinstance(node, ast.ImportFrom):
                assert not (node.module or "").startswith("msinet_core."), path
            elif isinstance(node, ast.Import):
                assert not any(alias.name.startswith("msinet_core.") for alias in node.names), path


def test_it_computes_what_the_reference_computes() -> None:
    pytest.importorskip("jax")
    done = run(
        "from msinet_core.conformance.runner import run\n"
        "from msinet_core.conformance.scenarios import select\n"
        "from msinet_device_jax import SPEC\n"
        "rows = ('forward/pool-strides-1-same', 'forward/convolution-dilation-12',\n"
        "        'forward/resize-like-half-pixel', 'gradient/resize-2-asymmetric',\n"
        "        'gradient/normalization', 'adam/continued', 'state/moments-come-back')\n"
        "report = run(SPEC, options={'platform': 'cpu'}, scenarios=select(rows))\n"
        "assert len(report.rows) == len(rows)\n"
        "print([row.reason for row in report.failed])"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("[]"), done.stdout
