"""The commands of the GitHub workflows, run here on the reference device."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from msinet_core.registry.registry import load_registry

yaml = pytest.importorskip("yaml")
ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".github" / "workflows"
WORKFLOWS = {path.stem: yaml.safe_load(path.read_text("utf-8")) for path in FOLDER.glob("*.yml")}
MACHINES = [
    job["with"]["machine"] for job in WORKFLOWS["hardware"]["jobs"].values() if "with" in job
]
CHECKS = WORKFLOWS["machine"]["jobs"]["check"]
PARTS = ("install", "devices", "doctor", "kit", "train", "bench")
SCRIPT = (ROOT / ".ci" / "hardware").read_text("utf-8")

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the scripts of CI need bash")


def commands(job: Mapping[str, Any], **inputs: str) -> Iterator[str]:
    """Yield the commands of a job, once for each combination of its matrix."""
    matrix = job.get("strategy", {}).get("matrix", {})
    for values in product(*matrix.values()):
        context = {f"matrix.{name}": value for name, value in zip(matrix, values, strict=True)}
        context |= {f"inputs.{name}": value for name, value in inputs.items()}
        for step in job["steps"]:
            if "run" in step:
                command = step["run"]
                for name, value in context.items():
                    command = command.replace(f"${{{{ {name} }}}}", str(value))
                assert "${{" not in command
                yield command


def run(command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", command],
        cwd=folder,
        env={**os.environ, "PATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copytree(ROOT / ".ci", folder / ".ci")
    return folder


SMALL = {
    "DEVICES": "reference",
    "HOST": "reference",
    "PRECISIONS": "float32",
    "ROWS": "--rows device/opens",
    "SMALL": "--width 0.02 --image-size 32x32",
    "BENCH": "--images 1 --rounds 1",
    "DEMO": "--train 2 --valid 1",
    "CHECK": "",  # which takes minutes
    "MSINET_DISABLE_PLUGINS": "cpu,metal,cuda,tpu,mlx,torch,openvino,onnxruntime,jax",
}


@pytest.fixture(scope="module")
def report(checkout: Path) -> Path:
    """Run the commands of the workflow on the reference device, without installing."""
    for command in commands(CHECKS, machine="mac"):
        if not command.endswith("install"):
            done = run(command, checkout, **SMALL)
            assert done.returncode == 0, done.stdout + done.stderr
    return checkout / "hardware-report"


@pytest.mark.slow
def test_the_report_has_what_the_issue_template_asks_for(report: Path) -> None:
    devices = json.loads((report / "devices-reference.json").read_text("utf-8"))
    assert [item["name"] for item in devices["devices"]] == ["reference"]
    doctor = json.loads((report / "doctor-reference-float32.json").read_text("utf-8"))
    assert doctor["device"] == "reference"
    assert json.loads((report / "kit-reference-float32.json").read_text("utf-8"))["passed"]
    results = json.loads((report / "bench-reference.json").read_text("utf-8"))["results"]
    assert results[0]["train"]["bare_images_per_s"] > 0
    with (report / "run" / "history.csv").open(encoding="utf-8") as file:
        assert len(file.readlines()) == 1 + 3  # on the host, on the device, on the host


def test_a_device_that_fails_is_reported_and_hides_no_other(checkout: Path) -> None:
    report = checkout / "hardware-report"
    shutil.rmtree(report, ignore_errors=True)
    done = run(
        ".ci/hardware here doctor", checkout, **{**SMALL, "DEVICES": "no-such-device reference"}
    )
    assert done.returncode == 1
    failed = done.stdout.partition("\nFailed:\n")[2].splitlines()
    assert len(failed) == 1 and "no-such-device" in failed[0]
    assert (report / "doctor-reference-float32.json").stat().st_size


def test_the_workflow_runs_every_part_and_uploads_the_report() -> None:
    assert list(commands(CHECKS, machine="mac")) == [f".ci/hardware mac {part}" for part in PARTS]
    after_install = CHECKS["steps"][3:]
    assert all(step["if"] == "${{ !cancelled() }}" for step in after_install)
    assert not any("continue-on-error" in step for step in CHECKS["steps"])
    assert after_install[-1]["with"]["path"] == "hardware-report"


def test_the_machines_have_known_devices_and_extras() -> None:
    names = {item.spec.name for item in load_registry().registrations} | {"jax"}
    devices = re.findall(r"([\w-]+)=venv-\w+", SCRIPT)
    assert len(devices) > len(MACHINES) and set(devices) <= names
    environments = set(re.findall(r"=(venv-\w+)", SCRIPT))
    assert environments == set(re.findall(r'"(venv-\w+) ', SCRIPT))
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    for extras in re.findall(r" \.\[([\w,]+)\]", SCRIPT):
        assert all(f"\n{extra} = [" in project for extra in extras.split(","))


def test_pages_and_templates_name_machines_and_parts_that_exist() -> None:
    pages = [*(ROOT / "docs").rglob("*.md"), *(ROOT / ".github").rglob("*.yml")]
    found = [
        words.split()
        for page in pages
        for words in re.findall(r"\.ci/hardware((?: [a-z][\w-]*)+)", page.read_text("utf-8"))
    ]
    assert {machine for machine, *_ in found} <= {*MACHINES, "here"}
    table = (ROOT / "docs" / "how-to" / "report-hardware.md").read_text("utf-8")
    for name in (*MACHINES, "here", *PARTS):
        assert f"\n| `{name}` | " in table
    assert {part for _, *parts in found for part in parts} <= {*PARTS}


def test_each_part_of_the_ci_script_has_a_job() -> None:
    parts = {command.split()[1] for command in commands(WORKFLOWS["ci"]["jobs"]["linux"])}
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    default = re.search(r'^parts="(.+)"$', script, re.MULTILINE)
    assert default and parts == set(default[1].split())


@pytest.mark.parametrize("script", sorted((ROOT / ".ci").glob("[!.]*")), ids=lambda path: path.name)
def test_shell_scripts_parse(script: Path) -> None:
    if script.suffix:
        pytest.skip("not a shell script")
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
    assert os.access(script, os.X_OK)
