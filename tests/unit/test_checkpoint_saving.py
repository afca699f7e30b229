"""Saving loses nothing: not on a full disk, and not when the process is killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from msinet_core.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from msinet_core.errors import MsinetError
from msinet_core.network.msinet import msinet_graph
from msinet_core.training.initial_weights import random_state

GRAPH = msinet_graph(0.02)


def save(path: Path, seed: int) -> None:
    save_checkpoint(path, Checkpoint(GRAPH, random_state(GRAPH, seed), metadata={"step": seed}))


def test_saving_again_replaces_the_file_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "latest.msinet.h5"
    save(path, 1)
    save(path, 2)
    assert load_checkpoint(path).metadata["step"] == 2
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.999])
def test_a_write_that_fails_midway_leaves_the_old_file(tmp_path: Path, share: float) -> None:
    resource = pytest.importorskip("resource", reason="this system has no limit on file sizes")
    path = tmp_path / "latest.msinet.h5"
    save(path, 1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(share * path.stat().st_size), before[1]))
    try:
        with pytest.raises(MsinetError, match=str(path)):
            save(path, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == [path]
    assert load_checkpoint(path).metadata["step"] == 1
    save(path, 3)
    assert load_checkpoint(path).metadata["step"] == 3


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MsinetError, match=r"x\.msinet\.h5"):
        save(tmp_path / "file" / "x.msinet.h5", 1)


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounting a small disk needs root"
)
def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1536k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this system lets nobody mount a small disk")
    try:
        path = disk / "latest.msinet.h5"
        save(path, 1)
        room = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        size = path.stat().st_size
        for left in (0, 4096, size // 2, size - 4096):  # full at the start, midway, at the end
            filler = disk / "filler"
            filler.write_bytes(bytes(room - left))
            with pytest.raises(MsinetError, match="No space left on device"):
                save(path, 2)
            filler.unlink()
            assert load_checkpoint(path).metadata["step"] == 1
            assert list(disk.iterdir()) == [path]
        save(path, 2)
        assert load_checkpoint(path).metadata["step"] == 2
    finally:
        subprocess.run(["umount", str(disk)], check=True)


SAVE_FOREVER = """
import sys
from pathlib import Path
from msinet_core.checkpoint import Checkpoint, save_checkpoint
from msinet_core.training.initial_weights import random_state
from msinet_core.network.msinet import msinet_graph

graph = msinet_graph(0.02)
states = [random_state(graph, step) for step in range(4)]
step = 0
while True:
    step += 1
    save_checkpoint(
        Path(sys.argv[1]), Checkpoint(graph, states[step % 4], metadata={"step": step})
    )
    print(step, flush=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no kill -9")
def test_a_kill_at_any_moment_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "latest.msinet.h5"
    draw = random.Random(0)
    for _ in range(6):
        process = subprocess.Popen(
            [sys.executable, "-c", SAVE_FOREVER, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        for _ in range(3):
            process.stdout.readline()
        time.sleep(draw.random() * 0.05)
        process.kill()
        reported = [3, *(int(line) for line in process.stdout.read().split())]
        process.wait()
        found = load_checkpoint(path)
        step = found.metadata["step"]
        assert step in (reported[-1], reported[-1] + 1)  # the old file or the new one
        expected = random_state(GRAPH, step % 4).weights
        for name, tensor in found.state.weights.items():
            np.testing.assert_array_equal(tensor, expected[name])
    save(path, 9)
    assert list(tmp_path.iterdir()) == [path]  # what the kills left behind is gone
