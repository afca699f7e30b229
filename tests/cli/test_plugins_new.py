"""``plugins new``: what it writes is well-formed, registers, and says what is missing."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from msinet_core.errors import MsinetError, UsageError
from msinet_core.scaffold import write_plugin

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial" / "first-plugin.md"
LONGEST = "a" * 30


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python with the plugin of `folder` beside the installed ones."""
    package = next((folder / "src").iterdir())
    environment = {
        **os.environ,
        "PYTHONPATH": str(folder / "src"),
        "MSINET_PLUGINS": package.name,
    }
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def check(folder: Path, code: str) -> list[list[str]]:
    """Prove the device `npu` with the scenarios of SCENARIOS that `code` says of `one`."""
    done = python(
        folder,
        "-c",
        "import json\nfrom msinet_core.conformance import SCENARIOS, prove\n"
        "from msinet_core.registry.registry import load_registry\n"
        "device = load_registry().spec('npu').open()\n"
        f"chosen = [one for one in SCENARIOS if {code}]\n"
        "rows = prove(device, scenarios=chosen).rows\n"
        "print(json.dumps([[row.id, row.reason] for row in rows if row.passed is False]))",
    )
    assert done.returncode == 0, done.stderr
    failed: list[list[str]] = json.loads(done.stdout.splitlines()[-1])
    return failed


@pytest.mark.parametrize("name", ["x", "my-npu_2", LONGEST])
@pytest.mark.parametrize("axes", [("NHWC", "HWIO"), ("NCHW", "OIHW"), ("NHWC", "OHWI")])
def test_what_it_writes_needs_no_linting(tmp_path: Path, name: str, axes: tuple[str, str]) -> None:
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
    listed = python(folder, "-c", "from msinet_core.cli import main; main()", "devices", "--json")
    entry = next(e for e in json.loads(listed.stdout)["devices"] if e["name"] == "npu")
    assert (entry["data_format"], entry["kernel_layout"]) == ("NCHW", "OIHW")
    assert entry["status"] == "installed"
    rows = python(
        folder, "-m", "msinet_core", "plugins", "check", "npu", "--rows", "description/*", "--json"
    )
    light = [row for row in json.loads(rows.stdout)["rows"] if row["id"].startswith("description/")]
    assert light
    assert all(row["passed"] for row in light)


def test_an_unfilled_function_names_itself_and_its_file(tmp_path: Path) -> None:
    folder = write_plugin(tmp_path / "new", "npu")
    [[_, reason]] = check(folder, "one.id == 'forward/concat'")
    assert "to_device() is not written yet" in reason
    assert str(Path("msinet_device_npu") / "tensors.py") in reason


def test_without_its_framework_the_device_says_how_to_get_it(tmp_path: Path) -> None:
    folder = write_plugin(tmp_path / "new", "npu", framework="a-framework-of-nobody>=2")
    done = python(folder, "-c", "import msinet_device_npu as p; print(p.SPEC.probe())")
    assert "a-framework-of-nobody is not installed" in done.stdout
    assert 'pip install "a-framework-of-nobody>=2"' in done.stdout


def test_a_device_that_is_not_here_does_not_open_and_its_tests_are_skipped(tmp_path: Path) -> None:
    folder = write_plugin(tmp_path / "new", "npu", framework="a-framework-of-nobody>=2")
    opened = python(folder, "-c", "import msinet_device_npu as p; p.SPEC.open()")
    assert "DeviceUnavailableError: Device 'npu' is not available: a-framework" in opened.stderr
    assert 'Run: pip install "a-framework-of-nobody>=2"' in opened.stderr
    tests = python(folder, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder))
    assert tests.returncode == 0, tests.stdout
    assert "the device is not here: a-framework-of-nobody is not installed" in tests.stdout


def test_its_ci_says_where_msinet_has_to_come_from(tmp_path: Path) -> None:
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
    assert "MSINET: is empty" in done.stderr


@pytest.mark.parametrize(
    ("name", "framework", "reason"),
    [
        ("NPU", "numpy", "lower-case"),
        ("auto", "numpy", "not be 'auto'"),
        ("npu-", "numpy", "end with a letter"),
        (LONGEST + "a", "numpy", "at most 30"),
        ("npu\n", "numpy", "end with a letter"),
        ("npu", "not a name", "nothing that pip installs"),
        ("npu", "torch; python_version < '3'", "nothing that pip installs"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, name: str, framework: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        write_plugin(tmp_path / "new", name, framework=framework)
    assert not list(tmp_path.iterdir())


def test_a_name_that_a_device_has_is_refused(run, tmp_path: Path) -> None:
    done = run("plugins", "new", "reference")
    assert done.exit_code == 2
    assert "There is a device 'reference' already" in done.output
    assert not (tmp_path / "msinet-device-reference").exists()


def test_nothing_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    with pytest.raises(UsageError, match="exists already"):
        write_plugin(tmp_path / "new", "npu")
    assert not list((tmp_path / "new").iterdir())


def test_a_disk_that_refuses_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MsinetError, match="Could not write"):
        write_plugin(tmp_path / "file" / "new", "npu")


def names(node: ast.stmt) -> set[str]:
    """Give what a statement at module level defines."""
    if isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return {target.id for target in targets if isinstance(target, ast.Name)}
    return {node.name} if isinstance(node, ast.FunctionDef) else set()


def fill_in(package: Path, block: str) -> None:
    """Put a block of the tutorial into the file that its first line names."""
    head, _, code = block.partition("\n")
    path = package / head.removeprefix("# ").strip()
    text = path.read_text()
    for node in ast.parse(code).body:
        source = ast.get_source_segment(code, node)
        if names(node):
            lines = text.splitlines()
            [old] = [other for other in ast.parse(text).body if names(other) == names(node)]
            lines[old.lineno - 1 : old.end_lineno] = [source]
            text = "\n".join(lines) + "\n"
        else:
            text = text.replace("from .unwritten", f"{source}\nfrom .unwritten", 1)
    path.write_text(text)


def follow_the_tutorial(folder: Path) -> Path:
    """Write the tutorial's plugin as `npu`, and give its package."""
    write_plugin(folder, "npu", "NCHW", "OIHW", "torch")
    package = folder / "src" / "msinet_device_npu"
    for block in re.findall(r"```python\n(.*?)```", TUTORIAL.read_text(), re.DOTALL):
        fill_in(package, block)
    return package


def test_the_tutorial_fills_in_everything_and_the_result_is_right(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    package = follow_the_tutorial(tmp_path / "new")
    assert "raise not_written" not in "".join(path.read_text() for path in package.glob("*.py"))
    skipped = "('network/full-size', 'train/twenty-losses')"
    assert check(package.parents[1], f"one.id not in {skipped} and 'network' not in one.id") == []


META = """
import numpy as np, torch
from msinet_core.network.graph import GraphBuilder
from msinet_core.training.initial_weights import random_state
from msinet_core.network.loss import KLDivergence
from msinet_core.network.msinet import msinet_graph
from msinet_device_npu import layers, tensors
graph = msinet_graph(0.02)
weights = {name: tensors.to_device(array) for name, array in random_state(graph, 1).weights.items()}
weights = {
    name: weight.permute(3, 2, 0, 1) if weight.dim() == 4 else weight
    for name, weight in weights.items()
}
images, maps = (tensors.to_device(np.zeros((2, c, 48, 64), np.float32)) for c in (3, 1))
def losses(weights):
    predicted = graph.apply(layers.LAYER_BUILDERS, images, weights)
    return layers.kl_divergence(KLDivergence(), [maps, predicted], {})
loss, gradients = tensors.value_and_gradients(losses, weights)
assert gradients.keys() == weights.keys()
print(loss.device, {gradient.device.type for gradient in gradients.values()})
"""
"""PyTorch's `meta` has shapes and no values; as a GPU does, it refuses tensors from elsewhere."""


def test_the_tutorial_computes_where_its_constant_says(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    package = follow_the_tutorial(tmp_path / "new")
    fill_in(package, '# tensors.py\nPLACE = "meta"')
    done = python(package.parents[1], "-c", META)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "meta {'meta'}\n"
