"""``plugins new``: the package is well-formed, registers, and computes once it is filled in."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import msinet_core
from msinet_core import MsinetError, UsageError
from msinet_core.conformance.scenarios import ALL_SCENARIOS
from msinet_core.scaffold.example import write_example
from msinet_core.scaffold.writer import write_plugin

if TYPE_CHECKING:
    from tests.conftest import Run

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial" / "first-plugin.md"
LONGEST = "a" * 30


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python with the plugin in `folder` and the installed ones."""
    package = next((folder / "src").iterdir())
    environment = {
        **os.environ,
        "PYTHONPATH": str(folder / "src"),
        "MSINET_PLUGINS": package.name,
        "OMP_NUM_THREADS": "1",  # threads that compete for the cores slow each other down
    }
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def check(folder: Path, code: str) -> list[list[str]]:
    """Check the device `npu` with the scenarios for which `code`, about `one`, is true."""
    done = python(
        folder,
        "-c",
        "import json\nfrom msinet_core.conformance.runner import run\n"
        "from msinet_core.conformance.scenarios import SCENARIOS\n"
        "from msinet_core.registry.registry import load_registry\n"
        f"chosen = [one for one in SCENARIOS if {code}]\n"
        "rows = run(load_registry().spec('npu'), scenarios=chosen).rows\n"
        "print(json.dumps([[row.id, row.reason] for row in rows if row.passed is False]))",
    )
    assert done.returncode == 0, done.stderr
    failed: list[list[str]] = json.loads(done.stdout.splitlines()[-1])
    return failed


@pytest.mark.parametrize("name", ["x", "my-npu_2", LONGEST])
@pytest.mark.parametrize("axes", [("NHWC", "HWIO"), ("NCHW", "OIHW"), ("NHWC", "OHWI")])
def test_the_package_passes_ruff(tmp_path: Path, name: str, axes: tuple[str, str]) -> None:
    if shutil.which("ruff", path=str(Path(sys.executable).parent)) is None:
        pytest.skip("ruff is not installed")
    folder = write_plugin(tmp_path / "new", name, *axes, framework="torch>=2.6")
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--no-cache", str(folder)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout


def test_the_command_writes_a_package_that_registers_and_passes_the_light_rows(
    run, tmp_path: Path
) -> None:
    done = run("plugins", "new", "npu", "--data-format", "NCHW", "--kernel-layout", "OIHW")
    assert done.exit_code == 0, done.output
    folder = tmp_path / "msinet-device-npu"
    assert "plugins check npu" in done.output
    command = ("-m", "msinet_core")
    listed = python(folder, *command, "devices", "--json")
    entry = next(e for e in json.loads(listed.stdout)["devices"] if e["name"] == "npu")
    assert (entry["data_format"], entry["kernel_layout"]) == ("NCHW", "OIHW")
    assert entry["status"] == "installed"
    check = ("plugins", "check", "npu", "--rows", "description/*", "--json")
    rows = json.loads(python(folder, *command, *check).stdout)["rows"]
    assert rows
    assert all(row["passed"] for row in rows)


@pytest.mark.parametrize("data_format", ["NHWC", "NCHW"])
def test_it_imports_msinet_only_through_the_front_door(tmp_path: Path, data_format: str) -> None:
    folder = write_plugin(tmp_path / "new", "npu", data_format)
    assert msinet_imports(folder) <= set(msinet_core.__all__)


def msinet_imports(folder: Path) -> set[str]:
    """Return the names imported from msinet_core, or other modules of it with their path."""
    found: set[str] = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "msinet_core":
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found |= {node.module} if str(node.module).startswith("msinet_") else set()
            elif isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names if alias.name.startswith("msinet_")}
    return found


def test_a_function_to_fill_in_is_named_with_its_file(tmp_path: Path) -> None:
    folder = write_plugin(tmp_path / "new", "npu")
    [[_, reason]] = check(folder, "one.id == 'forward/concat'")
    assert reason.startswith("tensors.py, line ")
    assert "to_device: NotImplementedError" in reason


def test_without_its_framework_the_probe_gives_the_fix(tmp_path: Path) -> None:
    folder = write_plugin(tmp_path / "new", "npu", framework="a-framework-of-nobody>=2")
    done = python(folder, "-c", "import msinet_device_npu as p; print(p.SPEC.probe())")
    assert 'pip install "a-framework-of-nobody>=2"' in done.stdout


def test_an_unavailable_device_does_not_open_and_its_tests_are_skipped(tmp_path: Path) -> None:
    folder = write_plugin(tmp_path / "new", "npu", framework="a-framework-of-nobody>=2")
    opened = python(folder, "-c", "import msinet_device_npu as p; p.SPEC.open()")
    assert "DeviceUnavailableError" in opened.stderr
    assert 'Run: pip install "a-framework-of-nobody>=2"' in opened.stderr
    tests = python(folder, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder))
    assert tests.returncode == 0, tests.stdout
    assert " skipped" in tests.stdout and "a-framework-of-nobody" in tests.stdout


def test_its_ci_fails_without_a_source_of_msinet(tmp_path: Path) -> None:
    text = (write_plugin(tmp_path / "new", "npu") / ".github/workflows/ci.yml").read_text()
    assert "MSINET: ${{ vars.MSINET }}" in text
    [line] = re.findall(r"run: (pip install .*MSINET.*)", text)
    assert text.index(line) < text.index("pip install -e")
    bash = shutil.which("bash")
    if bash is None or os.name != "posix":
        pytest.skip("needs bash")
    done = subprocess.run(
        [bash, "-c", line.replace("pip install", "echo")],
        env={"MSINET": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "MSINET" in done.stderr


def test_its_readme_names_rows_that_exist(tmp_path: Path) -> None:
    text = (write_plugin(tmp_path / "new", "npu") / "README.md").read_text()
    named = [row.removesuffix("...") for row in re.findall(r"`([a-z]+/[a-z-]*(?:\.\.\.)?)`", text)]
    assert len(named) >= 15
    for row in named:
        assert any(scenario.id.startswith(row) for scenario in ALL_SCENARIOS), row


@pytest.mark.parametrize(
    ("name", "framework", "named"),
    [
        ("NPU", "numpy", "NPU"),
        ("auto", "numpy", "auto"),
        ("npu-", "numpy", "npu-"),
        (LONGEST + "a", "numpy", "30"),
        ("npu\n", "numpy", r"npu\n"),
        ("npu", "not a name", "not a name"),
        ("npu", "torch; python_version < '3'", "python_version"),
    ],
)
def test_invalid_arguments_are_refused(
    tmp_path: Path, name: str, framework: str, named: str
) -> None:
    with pytest.raises(UsageError) as caught:
        write_plugin(tmp_path / "new", name, framework=framework)
    assert named in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_the_name_of_an_existing_device_is_refused(run, tmp_path: Path) -> None:
    done = run("plugins", "new", "reference")
    assert done.exit_code == 2
    assert "'reference'" in done.output
    assert not (tmp_path / "msinet-device-reference").exists()


def test_an_existing_folder_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    with pytest.raises(UsageError, match="--into"):
        write_plugin(tmp_path / "new", "npu")
    assert not list((tmp_path / "new").iterdir())


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MsinetError, match="another folder"):
        write_plugin(tmp_path / "file" / "new", "npu")


def definitions(text: str) -> dict[str, slice]:
    """Return the lines of each constant, function and method of a module."""
    found: dict[str, slice] = {}
    body = ast.parse(text).body
    methods = [each for node in body if isinstance(node, ast.ClassDef) for each in node.body]
    for node in (*body, *methods):
        targets: list[ast.expr] = []
        if isinstance(node, ast.FunctionDef):
            targets = [ast.Name(node.name)]
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for target in targets:
            if isinstance(target, ast.Name):
                found[target.id] = slice(node.lineno - 1, node.end_lineno)
    return found


def fill_in(package: Path, block: str) -> None:
    """Apply a code block of the tutorial to the file that its first line names."""
    head, _, code = block.partition("\n")
    path = package / head.removeprefix("# ").strip()
    code = re.sub("^    def ", "class Layers:\n    def ", code, count=1, flags=re.MULTILINE)
    text = path.read_text()
    for name, lines in definitions(code).items():
        target = text.splitlines()
        target[definitions(text)[name]] = code.splitlines()[lines]
        text = "\n".join(target) + "\n"
    imports = "\n".join(re.findall(r"^(?:import|from) .*", code, re.MULTILINE))
    future = "from __future__ import annotations\n"
    path.write_text(text.replace(future, f"{future}\n{imports}\n", 1))


def follow_the_tutorial(folder: Path) -> Path:
    """Write the tutorial's plugin as `npu` and return its package."""
    write_plugin(folder, "npu", "NCHW", "OIHW", "torch")
    package = folder / "src" / "msinet_device_npu"
    for block in re.findall(r"```python\n(.*?)```", TUTORIAL.read_text(), re.DOTALL):
        fill_in(package, block)
    return package


def test_the_tutorial_fills_in_everything_and_the_rows_pass(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    package = follow_the_tutorial(tmp_path / "new")
    code = [path.read_text() for path in package.glob("*.py")]
    assert not any("raise NotImplementedError(" in text for text in code)
    skipped = "('network/full-size', 'train/twenty-losses')"
    assert check(package.parents[1], f"one.id not in {skipped} and 'network' not in one.id") == []


META = """
import numpy as np, torch
from msinet_core import KLDivergence, msinet_graph
from msinet_core.training.initial_weights import random_state
from msinet_device_npu import layers, tensors
graph = msinet_graph(0.02)
weights = {name: tensors.to_device(array) for name, array in random_state(graph, 1).weights.items()}
weights = {
    name: weight.permute(3, 2, 0, 1) if weight.dim() == 4 else weight
    for name, weight in weights.items()
}
images, maps = (tensors.to_device(np.zeros((2, c, 48, 64), np.float32)) for c in (3, 1))
builders = layers.NpuLayers().builders()
def losses(weights):
    predicted = graph.apply(builders, images, weights)
    return builders[KLDivergence](KLDivergence(), [maps, predicted], {})
loss, gradients = tensors.value_and_gradients(losses, weights)
assert gradients.keys() == weights.keys()
print(loss.device, {gradient.device.type for gradient in gradients.values()})
"""
"""PyTorch's `meta` has shapes but no values; like a GPU, it refuses tensors of other devices."""


def test_the_tutorial_computes_on_its_constants_device(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    package = follow_the_tutorial(tmp_path / "new")
    fill_in(package, '# tensors.py\nDEVICE = "meta"')
    done = python(package.parents[1], "-c", META)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "meta {'meta'}\n"


def test_an_example_under_another_name_computes_and_names_itself(tmp_path: Path) -> None:
    pytest.importorskip("jax")
    folder = write_example(tmp_path / "new", "my-chip")
    for path in folder.rglob("*.*"):
        if path.is_file():
            assert not re.search(r"msinet.device.jax|--device jax|check jax", path.read_text())
    done = python(
        folder, "-m", "msinet_core", "plugins", "check", "my-chip", "--rows", "*/subtract-mean"
    )
    assert "'my-chip' (float32) agrees" in done.stdout, done.stderr


def test_an_unknown_example_is_refused(run: Run) -> None:
    result = run("plugins", "new", "npu", "--example", "jaxx")
    assert result.exit_code == 2
    assert "'jaxx'" in result.stderr
