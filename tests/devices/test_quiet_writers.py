"""Writing another framework's file says what msinet says, and nothing of the framework's own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from msinet_core.checkpoint import Checkpoint, save_checkpoint
from msinet_core.network.msinet import msinet_graph
from msinet_core.training.initial_weights import random_state


def test_a_keras_model_is_written_without_chatter(tmp_path: Path) -> None:
    pytest.importorskip("keras")
    graph = msinet_graph(0.02)
    save_checkpoint(tmp_path / "a.msinet.h5", Checkpoint(graph, random_state(graph, 0)))
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from msinet_core.cli import main; main()",
            "convert",
            "a.msinet.h5",
            "b.keras",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "b.keras: Keras 3 model" in done.stdout
