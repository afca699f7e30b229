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
HARDWARE = WORKFLOWS["hardware"]["jobs"]
DEVICE_JOBS = [name for name, job in HARDWARE.items() if "DEVICES" in job.get("env", {})]

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the scripts of CI need bash")


def commands(job: Mapping[str, Any]) -> Iterator[str]:
    """Yield the commands of a job, once for each combination of its matrix."""
    matrix = job.get("strategy", {}).get("matrix", {})
    for values in product(*matrix.values()):
        for step in job["steps"]:
            if "run" in step:
                command = step["run"]
                for name, value in zip(matrix, values, strict=True):
                    command = command.replace(f"${{{{ matrix.{name} }}}}", str(value))
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
    "HOST": "reference",
    "SMALL": "--width 0.02 --image-size 32x32",
    "BENCH": "--images 1 --rounds 1",
    "DEMO": "--train 2 --valid 1",
    "CHECK": "",  # which takes minutes
    "MSINET_DISABLE_PLUGINS": "cpu,metal,cuda,tpu,mlx,torch,openvino,onnxruntime,jax",
}


@pytest.fixture(scope="module")
def report(checkout: Path) -> Path:
    """Run the commands of the Mac's job, with its devices replaced by the reference."""
    environment = {**HARDWARE["mac"]["env"], **SMALL, "DEVICES": "reference"}
    for command in commands(HARDWARE["mac"]):
        if command.startswith(".ci/"):
            done = run(command, checkout, **environment)
            assert done.returncode == 0, done.stdout + done.stderr
    return checkout / "hardware-report"


def test_the_report_has_what_the_issue_template_asks_for(report: Path) -> None:
    devices = json.loads((report / "devices-reference.json").read_text("utf-8"))
    assert [item["name"] for item in devices["devices"]] == ["reference"]
    doctor = json.loads((report / "doctor-reference.json").read_text("utf-8"))
    assert doctor["device"] == "reference"
    results = json.loads((report / "bench-reference.json").read_text("utf-8"))["results"]
    assert results[0]["train"]["bare_images_per_s"] > 0
    with (report / "run" / "history.csv").open(encoding="utf-8") as file:
        assert len(file.readlines()) == 1 + 3  # on the host, on the device, on the host


def test_a_device_that_fails_is_reported_and_hides_no_other(checkout: Path, report: Path) -> None:
    shutil.rmtree(report, ignore_errors=True)
    environment = {**SMALL, "DEVICES": "no-such-device reference"}
    done = run(".ci/hardware doctor", checkout, **environment)
    assert done.returncode == 1
    failed = done.stdout.partition("\nFailed:\n")[2].splitlines()
    assert len(failed) == 1 and "no-such-device" in failed[0]
    assert (report / "doctor-reference.json").stat().st_size


@pytest.mark.parametrize("name", DEVICE_JOBS)
def test_jobs_for_devices_run_every_part_and_upload_the_report(name: str) -> None:
    job = HARDWARE[name]
    parts = [command for command in commands(job) if command.startswith(".ci/hardware")]
    assert parts == [f".ci/hardware {part}" for part in ("devices", "doctor", "train", "bench")]
    after_install = job["steps"][3:]
    assert all(step["if"] == "${{ !cancelled() }}" for step in after_install)
    assert not any("continue-on-error" in step for step in job["steps"])
    assert after_install[-1]["with"]["path"] == "hardware-report"
    names = {item.spec.name for item in load_registry({}).registrations} | {"jax"}
    devices = {item.partition("=")[0] for item in job["env"]["DEVICES"].split()}
    assert devices <= names


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
