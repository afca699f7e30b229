"""The example of a third party's plugin: light without JAX, through the public door, short."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "examples" / "msinet-device-jax" / "src"
PACKAGE = SOURCE / "msinet_device_jax"
DOOR = {
    "device",
    "doctor",
    "errors",
    "graph",
    "hookspecs",
    "layers",
    "layout",
    "loss",
    "network",
    "ops",
    "optimizer",
    "probing",
    "registry",
    "state",
    "workers",
}
"""The modules of msinet_core that plugins may use, and the network, for ahead-of-time compiling."""


def run(code: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "MSINET_PLUGINS": "msinet_device_jax"}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_its_light_modules_import_without_jax() -> None:
    done = run(
        "import sys; sys.modules['jax'] = sys.modules['jaxlib'] = None\n"
        "from msinet_core.registry.registry import load_registry, run_probe\n"
        "spec = load_registry().spec('jax'); print(spec.framework, run_probe(spec).availability)"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("JAX Availability.")


def test_the_device_is_short() -> None:
    files = ("__init__.py", "device.py", "layers.py", "model.py")
    lines = sum(len((PACKAGE / name).read_text().splitlines()) for name in files)
    assert lines < 350


def test_it_goes_through_the_public_door_only() -> None:
    used = set()
    for path in PACKAGE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                used |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module == "msinet_core":
                used |= {f"msinet_core.{alias.name}" for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                used.add(node.module or "")
    core = {name.partition(".")[2] for name in used if name.split(".")[0] == "msinet_core"}
    assert core <= DOOR
    assert not any(name.startswith(("msinet_cpu", "msinet_tensorflow")) for name in used)


def test_it_computes_what_the_reference_computes() -> None:
    pytest.importorskip("jax")
    done = run(
        "from msinet_core.conformance import SCENARIOS, prove\n"
        "from msinet_device_jax import SPEC\n"
        "rows = ('forward/pool-strides-1-same', 'forward/convolution-dilation-12',\n"
        "        'forward/resize-like-half-pixel', 'gradient/resize-2-asymmetric',\n"
        "        'gradient/normalization', 'adam/continued', 'state/moments-come-back')\n"
        "device = SPEC.open('float32', {'platform': 'cpu'})\n"
        "report = prove(device, scenarios=[one for one in SCENARIOS if one.id in rows])\n"
        "assert len(report.rows) == len(rows)\n"
        "print([row.reason for row in report.failed])"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("[]"), done.stdout
