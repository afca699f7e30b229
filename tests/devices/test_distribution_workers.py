"""Two processes train as one does; one is stopped or killed, and the run goes on.

Both run on this machine: nothing here shows how TensorFlow's network behaves between machines, or
NCCL between GPUs.
"""

from __future__ import annotations

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Run

pytest.importorskip("tensorflow")

EPOCHS = 8
WAIT = 120.0
"""Seconds after which something hangs."""

SETTINGS = (
    "--device cpu train --init random --width 0.04 --image-size 32x40 --learning-rate 1e-4 "
    f"--precision float32 --batch-size 3 --epochs {EPOCHS}"
).split()

RESUME = ["train", "--resume", "--run", "run"]


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("localhost", 0))
        return [each.getsockname()[1] for each in sockets]


def begin(folder: Path, arguments: list[str], **environment: str) -> subprocess.Popen[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MSINET_")}
    kept.pop("TF_CONFIG", None)
    return subprocess.Popen(
        [sys.executable, "-c", "from msinet_core.cli import main; main()", *arguments],
        cwd=folder,
        env={**kept, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def workers(folder: Path, *arguments: list[str]) -> Iterator[list[subprocess.Popen[str]]]:
    """A worker for each list of arguments; whatever happens, none outlives the block."""
    named = {"worker": [f"localhost:{port}" for port in free_ports(len(arguments))]}
    started: list[subprocess.Popen[str]] = []
    try:
        for index, given in enumerate(arguments):
            cluster = {"cluster": named, "task": {"type": "worker", "index": index}}
            started.append(begin(folder, given, TF_CONFIG=json.dumps(cluster)))
        yield started
    finally:
        for each in started:
            end(each)


def end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.kill()
    process.wait()
    assert process.stderr is not None
    process.stderr.close()


def rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def wait_for_epochs(folder: Path, count: int, processes: list[subprocess.Popen[str]]) -> None:
    """Return once that many epochs are saved, while the run goes on."""
    end = time.monotonic() + WAIT
    while len(rows(folder / "history.csv")) < count:
        ended = [each.communicate()[1] for each in processes if each.poll() is not None]
        assert not ended, ended
        assert time.monotonic() < end, "the processes hang"
        time.sleep(0.02)


@pytest.mark.slow
def test_two_processes_train_like_one_after_a_stop_and_a_kill(
    run: Run, tmp_path: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TF_CONFIG", raising=False)
    settings = [*SETTINGS, "--data", str(tiny_data)]
    folder = tmp_path / "run"

    with workers(tmp_path, *[[*settings, "--run", "run"]] * 2) as both:
        wait_for_epochs(folder, 2, both)
        both[1].send_signal(signal.SIGTERM)
        output = [each.communicate(timeout=WAIT)[1] for each in both]
        assert [each.returncode for each in both] == [130, 130], output
        assert all("TF_CONFIG" in text for text in output)
        assert "2 processes" in output[0] and "2 devices" in output[0]
        assert f"Epoch 1/{EPOCHS}:" in output[0]
        assert "Epoch" not in output[1]  # only the chief shows progress
    stopped = len(rows(folder / "steps.csv"))

    with workers(tmp_path, *[RESUME] * 2) as both:
        wait_for_epochs(folder, len(rows(folder / "history.csv")) + 2, both)
        both[1].kill()
        output = [each.communicate(timeout=WAIT)[1] for each in both]
        assert both[0].returncode == 1, output
        assert "--resume" in output[0]
    assert stopped < len(rows(folder / "steps.csv")) < 2 * EPOCHS

    with workers(tmp_path, *[RESUME] * 2) as both:
        output = [each.communicate(timeout=WAIT)[1] for each in both]
        assert [each.returncode for each in both] == [0, 0], output

    alone = run(*settings, "--run", "alone")
    assert alone.exit_code == 0, alone.output
    for name, column in (("steps", "loss"), ("history", "valid_loss"), ("history", "train_loss")):
        one, two = (
            [float(row[column]) for row in rows(tmp_path / path / f"{name}.csv")]
            for path in ("alone", "run")
        )
        assert len(one) == (2 * EPOCHS if name == "steps" else EPOCHS)
        assert two == pytest.approx(one, rel=1e-5)
    names = {path.name for path in folder.rglob("*") if path.is_file()}
    assert names == {path.name for path in (tmp_path / "alone").rglob("*") if path.is_file()}
