"""Fixtures of several test folders: tiny datasets and a way to run commands."""

from __future__ import annotations

import os

if "PYTEST_XDIST_WORKER" in os.environ:
    # Each worker has a core; NumPy and frameworks read these when they are imported, here and in
    # children.
    for _variable in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ.setdefault(_variable, "1")

import gc
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import settings

# As `load_tensorflow` sets it, for tests that import TensorFlow before.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
# XLA compiles each network for a step or two, which is not worth optimizing. It ends the process if
# it does not know a flag; that of TensorFlow 2.16, the oldest supported, knows these.
os.environ.setdefault(
    "XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
)

# Nothing here is timed: a busy machine would fail examples of more than 0.2 s.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# In a job that a shell started with "&" or nohup, signals are ignored, here and in children.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

SLOW_ROW = 4.0
"""Of the kit's relative costs; what takes longer is left to ``-m slow``."""


@pytest.hookimpl(tryfirst=True)  # before pytest drops what -m leaves out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the kit's long rows: they take seconds where a framework compiles every shape."""
    from msinet_core.conformance.costs import cost

    for item in items:
        row = getattr(item, "callspec", None) and item.callspec.params.get("scenario")
        if row is not None and cost(row.id) >= SLOW_ROW:
            item.add_marker(pytest.mark.slow)


def pytest_collection_finish() -> None:
    """Spare the garbage collector the collected tests, or it takes a tenth of the time."""
    gc.collect()
    gc.freeze()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-snapshots", action="store_true", help="update tests/cli/messages/*.txt"
    )


@pytest.fixture(autouse=True)
def plain_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine where nothing was measured and "auto" means float32; its memory stays as it is."""
    monkeypatch.delenv("MSINET_DEVICE", raising=False)
    monkeypatch.setattr("msinet_core.system.allocator.keep_freed_memory", lambda: None)
    monkeypatch.setattr("msinet_core.hardware.host.computes_bfloat16", lambda: False)
    monkeypatch.setattr(
        "msinet_core.registry.measured.measurements_file", lambda: tmp_path / "bench.json"
    )


@pytest.fixture(autouse=True)
def restore_process() -> Iterator[None]:
    """Undo what wrong devices do to the process, which the next test would inherit."""
    handler, folder = signal.getsignal(signal.SIGINT), Path.cwd()
    random, errors = np.random.get_state(), np.geterr()
    yield
    signal.signal(signal.SIGINT, handler)
    os.chdir(folder)
    np.random.set_state(random)
    np.seterr(**errors)


class Run(Protocol):
    """Runs ``msinet-run`` in this process, in a temporary working folder."""

    def __call__(self, *arguments: str | Path) -> Result: ...


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    from msinet_core.cli import cli

    monkeypatch.chdir(tmp_path)
    for variable in ("MSINET_DEVICE", "MSINET_PLUGINS", "MSINET_DISABLE_PLUGINS", "MSINET_DEBUG"):
        monkeypatch.delenv(variable, raising=False)

    def run_command(*arguments: str | Path) -> Result:
        return CliRunner().invoke(
            cli, [str(argument) for argument in arguments], prog_name="msinet-run"
        )

    return run_command


def write_split(folder: Path, split: str, count: int, seed: int) -> None:
    """Write stimuli with one bright square each, and maps that are bright at the square."""
    from PIL import Image

    random = np.random.default_rng(seed)
    for number in range(count):
        row, column = random.integers(0, 24), random.integers(0, 32)
        stimulus = random.integers(0, 60, (32, 40, 3), dtype=np.uint8)
        stimulus[row : row + 8, column : column + 8] = 250
        saliency = np.zeros((32, 40), dtype=np.uint8)
        saliency[row : row + 8, column : column + 8] = 255
        for kind, pixels in (("stimuli", stimulus), ("saliency", saliency)):
            path = folder / kind / split / f"{split}{number:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)


@pytest.fixture
def tiny_data(tmp_path: Path) -> Path:
    """A dataset folder with 5 training and 3 validation images of 32x40 pixels."""
    folder = tmp_path / "tiny"
    write_split(folder, "train", 5, seed=1)
    write_split(folder, "val", 3, seed=2)
    return folder


@pytest.fixture
def looked_at(tiny_data: Path) -> Path:
    """The tiny dataset with three fixations in the bright square of each image."""
    from PIL import Image

    for path in (tiny_data / "saliency").glob("*/*.png"):
        rows, columns = np.nonzero(np.asarray(Image.open(path)))
        points = [f"{columns[index]},{rows[index]}" for index in (0, 20, 40)]
        target = tiny_data / "fixations" / path.parent.name / f"{path.stem}.csv"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("\n".join(["x,y", *points]))
    return tiny_data
