"""`--help` and `devices` start fast: nothing heavy is imported, whatever is installed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from msinet_core.cli import COMMANDS

PLUGINS = sorted(
    path.parent.name for path in (Path(__file__).parents[2] / "plugins").glob("*/__init__.py")
)
FRAMEWORKS = ("tensorflow", "keras", "torch", "jax", "mlx", "openvino", "onnx", "onnxruntime")
HEAVY = (*FRAMEWORKS, "numpy", "scipy", "PIL", "matplotlib", "h5py", "safetensors", "pooch")

PROGRAM = """
import json, sys
from msinet_core.cli import cli
cli.main({arguments!r}, standalone_mode=False)
print("\\nLOADED " + json.dumps([name for name in {heavy!r} if name in sys.modules]))
"""


def loaded_after(arguments: list[str]) -> list[str]:
    program = PROGRAM.format(arguments=arguments, heavy=HEAVY)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    answer: list[str] = json.loads(done.stdout.rpartition("LOADED ")[2])
    return answer


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["devices"], ["devices", "--json"], ["plugins", "list"]],
    ids=" ".join,
)
def test_no_framework_and_no_numpy_is_imported(arguments: list[str]) -> None:
    assert loaded_after(arguments) == []


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_imports_nothing_heavy(command: str) -> None:
    assert loaded_after([command, "--help"]) == []


@pytest.mark.parametrize("module", ["msinet_core.reference", *PLUGINS])
def test_the_light_module_of_a_plugin_is_light(module: str) -> None:
    program = (
        f"import {module}, json, sys; print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == []
