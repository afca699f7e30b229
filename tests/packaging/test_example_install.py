"""A plugin package installs next to msinet and is found through its entry point."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from msinet_core.scaffold.example import write_example
from msinet_core.scaffold.writer import write_plugin

EXAMPLE = Path(__file__).parents[2] / "examples" / "msinet-device-jax"


def install(folder: Path, target: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(target)]
    if importlib.util.find_spec("hatchling"):
        command.append("--no-build-isolation")
    done = subprocess.run([*command, str(folder)], capture_output=True, text=True, check=False)
    if "hatchling" in done.stderr and "No matching distribution" in done.stderr:
        pytest.skip("building needs hatchling, and no package index can be reached")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["npu", "jax", "my-jax"])
def test_it_is_listed_once_it_is_installed(tmp_path: Path, name: str) -> None:
    write = write_example if name == "my-jax" else write_plugin
    folder = EXAMPLE if name == "jax" else write(tmp_path / "new", name)
    install(folder, tmp_path / "target")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "target")}
    code = "from msinet_core.cli import main; main()"
    listed = subprocess.run(
        [sys.executable, "-c", code, "plugins", "list", "--json"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    rows = {row["distribution"]: row for row in json.loads(listed.stdout)["plugins"]}
    row = rows[f"msinet-device-{name}"]
    assert (row["status"], row["devices"]) == ("loaded", [name])
