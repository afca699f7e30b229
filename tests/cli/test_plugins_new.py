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
        "from msinet_core.registry import load_registry\n"
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
    rows = python(folder, "-m", "msinet_core.conformance", "npu", "--quick", "--json")
    light = [row for row in json.loads(rows.stdout)["rows"] if row["id"].startswith("light/")]
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


def fill_in(package: Path, block: str) -> None:
    """Put a block of the tutorial into the file that its first line names."""
    head, _, code = block.partition("\n")
    path = package / head.removeprefix("# ").strip()
    text = path.read_text()
    for node in ast.parse(code).body:
        source = ast.get_source_segment(code, node)
        if isinstance(node, ast.FunctionDef):
            lines = text.splitlines()
            old = next(
                other
                for other in ast.parse(text).body
                if isinstance(other, ast.FunctionDef) and other.name == node.name
            )
            lines[old.lineno - 1 : old.end_lineno] = [source]
            text = "\n".join(lines) + "\n"
        else:
            text = text.replace("from .unwritten", f"{source}\nfrom .unwritten", 1)
    path.write_text(text)


def test_the_tutorial_fills_in_everything_and_the_result_is_right(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    folder = write_plugin(tmp_path / "new", "npu", "NCHW", "OIHW", "torch")
    package = folder / "src" / "msinet_device_npu"
    for block in re.findall(r"```python\n(.*?)```", TUTORIAL.read_text(), re.DOTALL):
        fill_in(package, block)
    assert "raise not_written" not in "".join(path.read_text() for path in package.glob("*.py"))
    skipped = "('network/full-size', 'train/twenty-losses')"
    assert check(folder, f"one.id not in {skipped} and 'network' not in one.id") == []
