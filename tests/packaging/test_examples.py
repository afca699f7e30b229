"""The scripts of the examples, run with local folders and stand-ins for the cloud."""

from __future__ import annotations

import csv
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
VERTEX = ROOT / "examples" / "vertex-ai"
JOBS = ("t4", "a100", "v5e")


def run(*command: str | Path, path: Path | None = None, **environment: str) -> tuple[int, str]:
    """Run a command with the ``msinet-run`` of this Python, or of the folder `path`."""
    folders = [str(path or Path(sys.executable).parent), os.environ["PATH"]]
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment, "PATH": os.pathsep.join(folders)},
    )
    return done.returncode, done.stdout + done.stderr


def fake(folder: Path, name: str, script: str) -> Path:
    """Write an executable shell script and return its folder."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/usr/bin/env bash\n{script}", encoding="utf-8")
    (folder / name).chmod(0o755)
    return folder


def scores(path: Path) -> list[float]:
    with path.open(newline="", encoding="utf-8") as stream:
        return [float(row["loss"]) for row in csv.DictReader(stream)]


posix = pytest.mark.skipif(os.name != "posix", reason="needs bash")


@posix
@pytest.mark.parametrize("script", sorted((ROOT / "examples").rglob("*.sh")), ids=lambda p: p.name)
def test_every_script_parses_and_is_executable(script: Path) -> None:
    assert run("bash", "-n", script) == (0, "")
    assert script.stat().st_mode & stat.S_IXUSR


@posix
@pytest.mark.slow
def test_fine_tuning_improves_the_loss(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    script = ROOT / "examples" / "fine-tune" / "run.sh"
    work = tmp_path / "work"
    code, output = run(script, "--work", work, MSINET_DEVICE="cpu")
    assert code == 0, output
    before, after = scores(work / "before.csv"), scores(work / "after.csv")
    assert len(before) == len(after) == 10
    assert sum(after) < 0.9 * sum(before)


@posix
def test_fine_tuning_needs_both_data_and_weights(tmp_path: Path) -> None:
    code, output = run(ROOT / "examples" / "fine-tune" / "run.sh", "--data", tmp_path)
    assert code == 2
    assert "--init" in output


def job(name: str) -> dict[str, Any]:
    yaml = pytest.importorskip("yaml")
    content: dict[str, Any] = yaml.safe_load((VERTEX / f"{name}.yaml").read_text(encoding="utf-8"))
    return content


@pytest.mark.parametrize("name", JOBS)
def test_a_job_requests_a_machine_that_vertex_ai_offers(name: str) -> None:
    """Source: its documentation of compute resources, and the messages of gcloud 528."""
    (pool,) = job(name)["workerPoolSpecs"]
    machine = pool["machineSpec"]
    assert machine in (
        {
            "machineType": "n1-standard-8",
            "acceleratorType": "NVIDIA_TESLA_T4",
            "acceleratorCount": 1,
        },
        {
            "machineType": "a2-highgpu-1g",
            "acceleratorType": "NVIDIA_TESLA_A100",
            "acceleratorCount": 1,
        },
        {"machineType": "ct5lp-hightpu-1t", "tpuTopology": "1x1"},
    )
    assert pool["replicaCount"] == 1
    assert pool["diskSpec"]["bootDiskSizeGb"] >= 100


def test_a_run_can_move_from_job_to_job() -> None:
    free = ("--device=", "--precision=")
    containers = [job(name)["workerPoolSpecs"][0]["containerSpec"] for name in JOBS]
    fixed = {tuple(arg for arg in each["args"] if not arg.startswith(free)) for each in containers}
    assert len(fixed) == 1


def test_the_image_is_built_from_files_of_the_checkout() -> None:
    text = (VERTEX / "Dockerfile").read_text(encoding="utf-8")
    assert re.search(r'pip install .*"\.\[\$\{EXTRA\}\]"', text)
    named = set(re.findall(r"EXTRA=(\w+)", text))
    guide = (ROOT / "docs" / "how-to" / "vertex-ai.md").read_text(encoding="utf-8")
    assert {"cuda", "tpu"} <= named | set(re.findall(r"for extra in ([\w ]+);", guide)[0].split())
    sources = [line.split()[1:-1] for line in text.splitlines() if line.startswith("COPY")]
    assert all((ROOT / source).exists() for line in sources for source in line)
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    for package in packages["hatch"]["build"]["targets"]["wheel"]["packages"]:
        assert any(package.split("/")[0] in line for line in sources)


@posix
@pytest.mark.parametrize("name", JOBS)
def test_submitting_fills_in_the_job(name: str, tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml")
    echo = 'printf "%s\\n" "$@"; echo ---; for text; do cat "${text#--config=}" 2>&-; done; true\n'
    path = fake(tmp_path / "bin", "gcloud", echo)
    _, output = run(
        VERTEX / "submit.sh", name, "data/own.tar", "first",
        path=path, PROJECT="acme", REGION="us-central1", BUCKET="acme-eyes",
    )  # fmt: skip
    arguments, _, config = output.partition("---\n")
    assert arguments.split()[:3] == ["ai", "custom-jobs", "create"]
    assert {"--project=acme", "--region=us-central1"} <= set(arguments.split())
    container = yaml.safe_load(config)["workerPoolSpecs"][0]["containerSpec"]
    assert container["imageUri"].startswith("us-central1-docker.pkg.dev/acme/msinet/")
    assert container["args"][:2] == ["/gcs/acme-eyes/data/own.tar", "/gcs/acme-eyes/runs/first"]


def narrow(data: Path, folder: Path, *more: str) -> list[str | Path]:
    """Return the container's command, for a network that trains in a second."""
    small = ("--device=reference", "--init=random", "--width=0.05", "--image-size=48x64")
    return ["bash", VERTEX / "entry.sh", data, folder, *small, *more]


@posix
def test_the_container_trains_into_the_bucket_and_resumes_from_it(tmp_path: Path) -> None:
    own, archive, bucket = tmp_path / "own", tmp_path / "own.tar", tmp_path / "bucket" / "first"
    small = ("--train", "4", "--valid", "2", "--image-size", "48x64")
    assert run("msinet-run", "data", "demo", own, *small)[0] == 0
    assert run("tar", "-C", own, "-cf", archive, ".")[0] == 0
    disk = str(tmp_path / "disk")
    code, output = run(*narrow(archive, bucket, "--epochs=1"), MSINET_DISK=disk)
    assert code == 0, output
    code, output = run(*narrow(archive, bucket, "--epochs=2"), MSINET_DISK=disk)
    assert code == 0, output
    with (bucket / "history.csv").open(newline="", encoding="utf-8") as stream:
        assert [row["epoch"] for row in csv.DictReader(stream)] == ["1", "2"]
    copied = {file.relative_to(bucket).as_posix() for file in bucket.rglob("*") if file.is_file()}
    whole = {"config.toml", "history.csv", "steps.csv", "curve.png", "log.txt"}
    assert copied == whole | {f"checkpoints/{name}.msinet.h5" for name in ("best", "latest")}


TRAINER = """
if [[ $1 != train ]]; then exit; fi
while [[ $1 != --run ]]; do shift; done
trap 'echo saved > "$2/checkpoints/latest.msinet.h5"; exit 130' TERM
mkdir -p "$2/checkpoints"
echo first > "$2/checkpoints/latest.msinet.h5"
echo weights > "$2/checkpoints/best.msinet.h5"
echo settings > "$2/config.toml"
while true; do sleep 0.1; done
"""
"""Stands in for training that runs until it is stopped."""


def appears(path: Path, seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.05)
    return path.exists()


def start(tmp_path: Path, copies: str = "") -> tuple[subprocess.Popen[str], Path]:
    """Start the container's script with the stand-in, and with `copies` instead of ``cp``."""
    path = fake(tmp_path / "bin", "msinet-run", TRAINER)
    if copies:
        fake(path, "cp", copies)
    (tmp_path / "own").mkdir()
    bucket = tmp_path / "bucket"
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(path), os.environ["PATH"]]),
        "MSINET_DISK": str(tmp_path / "disk"),
        "MSINET_COPY_SECONDS": "1",
    }
    command = ["bash", str(VERTEX / "entry.sh"), str(tmp_path / "own"), str(bucket)]
    process = subprocess.Popen(command, env=environment, text=True, stderr=subprocess.PIPE)
    return process, bucket / "checkpoints" / "latest.msinet.h5"


@posix
def test_a_container_that_is_stopped_saves_first(tmp_path: Path) -> None:
    process, latest = start(tmp_path)
    assert appears(latest)
    assert latest.read_text(encoding="utf-8") == "first\n"
    process.send_signal(signal.SIGTERM)
    _, output = process.communicate(timeout=120)
    assert process.returncode == 130, output
    assert latest.read_text(encoding="utf-8") == "saved\n"


@posix
def test_an_interrupted_copy_leaves_the_bucket_unchanged_and_is_repeated(tmp_path: Path) -> None:
    real = shutil.which("cp")
    # The copy of the last file breaks off once, on the second round.
    copies = f"""
if [[ $1 == *config.toml && -f {tmp_path}/again && ! -f {tmp_path}/broken ]]; then
    echo half > "$2"; touch {tmp_path}/broken; exit 1
fi
exec {real} "$@"
"""
    process, latest = start(tmp_path, copies)
    config = tmp_path / "bucket" / "config.toml"
    assert appears(latest)
    (tmp_path / "again").touch()
    (tmp_path / "disk" / "run" / "config.toml").write_text("changed\n", encoding="utf-8")
    (tmp_path / "disk" / "run" / "checkpoints" / "latest.msinet.h5").write_text("second\n")
    assert appears(tmp_path / "broken")
    assert config.read_text(encoding="utf-8") == "settings\n"
    assert latest.read_text(encoding="utf-8") == "first\n"
    process.send_signal(signal.SIGTERM)
    _, output = process.communicate(timeout=120)
    assert str(tmp_path / "bucket") in output
    assert config.read_text(encoding="utf-8") == "changed\n"
    assert latest.read_text(encoding="utf-8") == "saved\n"
