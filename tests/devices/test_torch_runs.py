"""Whole runs on torch-cpu: resumed, moved from another device, and made by two processes.

Both processes run on this machine: neither several machines nor NCCL are tested.
"""

from __future__ import annotations

import csv
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import msinet_torch
from msinet_core import MsinetError, UsageError
from msinet_core.conformance.cases import narrow_network
from msinet_core.network.adam import Adam
from msinet_core.network.loss import KLDivergence

if TYPE_CHECKING:
    from tests.conftest import Run

pytest.importorskip("torch")

WAIT = 120.0
"""Seconds after which a process counts as hanging."""

NETWORK = [
    *("--init", "random", "--width", "0.04"),
    *("--image-size", "32x40", "--learning-rate", "1e-4", "--precision", "float32"),
]
VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "LOCAL_RANK")


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def losses(folder: Path) -> list[float]:
    with (folder / "steps.csv").open(newline="") as stream:
        return [float(row["loss"]) for row in csv.DictReader(stream)]


def train(run: Run, device: str, folder: str, *arguments: str | Path) -> list[float]:
    given = ("--device", device, "train", "--run", folder, *NETWORK, *arguments)
    result = run(*given)
    assert result.exit_code == 0, result.output
    return losses(Path(folder))


def test_a_run_moves_from_cpu_to_torch_cpu(run: Run, tiny_data: Path) -> None:
    pytest.importorskip("tensorflow")
    whole = train(run, "cpu", "whole", "--data", tiny_data, "--epochs", "2")
    train(run, "cpu", "moved", "--data", tiny_data, "--epochs", "1")
    resumed = run("--device", "torch-cpu", "train", "--resume", "--run", "moved", "--epochs", "2")
    assert resumed.exit_code == 0, resumed.output
    assert losses(Path("moved")) == pytest.approx(whole, rel=1e-3)


def test_a_resumed_run_has_the_losses_of_an_uninterrupted_one(run: Run, tiny_data: Path) -> None:
    whole = train(run, "torch-cpu", "whole", "--data", tiny_data, "--epochs", "2")
    train(run, "torch-cpu", "parted", "--data", tiny_data, "--epochs", "1")
    resumed = run("--device", "torch-cpu", "train", "--resume", "--run", "parted", "--epochs", "2")
    assert resumed.exit_code == 0, resumed.output
    assert losses(Path("parted")) == pytest.approx(whole, rel=1e-6)


# --- two processes -------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("localhost", 0))
        port: int = found.getsockname()[1]
        return port


@contextmanager
def processes(
    folder: Path, count: int, *arguments: str | Path
) -> Iterator[list[subprocess.Popen[str]]]:
    """Start processes as torchrun does; kill them at the end of the block."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("MSINET_")
    }
    together = {"WORLD_SIZE": str(count), "MASTER_ADDR": "localhost", "OMP_NUM_THREADS": "1"}
    port = {"MASTER_PORT": str(free_port())}
    command = [sys.executable, "-c", "from msinet_core.cli import main; main()"]
    started: list[subprocess.Popen[str]] = []
    try:
        for rank in range(count):
            own = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            started.append(
                subprocess.Popen(
                    [*command, *map(str, arguments)],
                    cwd=folder,
                    env={**environment, **together, **port, **own},
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
        yield started
    finally:
        for each in started:
            if each.poll() is None:
                each.kill()
            each.communicate()


def test_two_processes_train_as_one_does(run: Run, tiny_data: Path, tmp_path: Path) -> None:
    """Batches of 2, 2 and 1 image, accumulated by two: one process has no part of the last step."""
    settings = ("--data", tiny_data, "--epochs", "2", "--batch-size", "2", "--accumulate", "2")
    given = ("--device", "torch-cpu", "train", "--run", "two", *NETWORK, *settings)
    with processes(tmp_path, 2, *given) as started:
        output = [each.communicate(timeout=WAIT)[1] for each in started]
        assert [each.returncode for each in started] == [0, 0], output
    assert "WORLD_SIZE" in output[0]
    assert "Epoch 2/2" in output[0] and "Epoch 2/2" not in output[1]  # only the chief reports
    one = train(run, "torch-cpu", "one", *settings)
    assert losses(tmp_path / "two") == pytest.approx(one, rel=1e-5)
    assert (tmp_path / "two" / "checkpoints" / "latest.msinet.h5").exists()


def test_a_lost_process_ends_the_run_which_resumes_alone(
    run: Run, tiny_data: Path, tmp_path: Path
) -> None:
    settings = ("--data", tiny_data, "--batch-size", "2", "--epochs", "400")
    given = ("--device", "torch-cpu", "train", "--run", "lost", *NETWORK, *settings)
    with processes(tmp_path, 2, *given) as (chief, other):
        assert chief.stderr is not None
        for line in chief.stderr:
            if line.startswith("Epoch 2/"):
                break
        other.kill()
        output = chief.communicate(timeout=WAIT)[1]
        assert chief.returncode == 1
        assert "--resume" in output
    done = len(losses(tmp_path / "lost"))
    epochs = str(done // 3 + 2)
    result = run("--device", "torch-cpu", "train", "--resume", "--run", "lost", "--epochs", epochs)
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({}, "RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK=2"),
        ({"RANK": "first", "WORLD_SIZE": "2"}, "RANK=first"),
    ],
)
def test_an_invalid_group_is_refused(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], named: str
) -> None:
    address = {"MASTER_ADDR": "localhost", "MASTER_PORT": "1"} if given else {}
    for name, value in {**address, **given}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=named) as caught:
        msinet_torch.CPU.open(distribute="multiworker")
    assert "torchrun" in str(caught.value)


def test_a_world_size_of_one_is_not_distributed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert msinet_torch.CPU.open(distribute="auto").processes.count == 1


def test_a_single_process_never_loses_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    case = narrow_network()
    device = msinet_torch.CPU.open()
    model = device.compile(case.graph, case.state, loss=KLDivergence(), optimizer=Adam())

    def fail(*arguments: Any) -> None:
        raise RuntimeError("cannot open /home/speer/kernel.cu: connection to the disk is gone")

    monkeypatch.setattr(model, "_run_step", fail)
    with pytest.raises(RuntimeError, match="speer"):
        model.train_step([case.batch], 1e-4)


def test_only_network_errors_mean_a_lost_process() -> None:
    from msinet_torch.distribution import report_lost

    with pytest.raises(RuntimeError, match="shapes"), report_lost():
        raise RuntimeError("shapes do not fit")
    with pytest.raises(MsinetError), report_lost():
        raise RuntimeError("[gloo/pair.cc] Connection closed by peer")
