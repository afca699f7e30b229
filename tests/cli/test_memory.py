"""The commands that compute keep freed memory; the others, and Python, leave it to glibc."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from msinet_core.checkpoint import Checkpoint, save_checkpoint
from msinet_core.network.msinet import msinet_graph
from msinet_core.training.initial_weights import random_state

if TYPE_CHECKING:
    from tests.conftest import Run


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    calls: list[None] = []
    monkeypatch.setattr(
        "msinet_core.system.allocator.keep_freed_memory", lambda: calls.append(None)
    )
    return calls


@pytest.mark.parametrize(
    ("command", "times"),
    [
        ("train --data tiny --init random --width 0.02 --image-size 32x40 --dry-run", 1),
        ("predict tiny/stimuli/val --weights w.msinet.h5", 1),
        ("evaluate --data tiny --weights w.msinet.h5", 1),
        ("convert w.msinet.h5 w.safetensors --to torch", 0),
    ],
)
def test_commands_that_compute_keep_freed_memory(
    run: Run, tmp_path: Path, tiny_data: Path, kept: list[None], command: str, times: int
) -> None:
    graph = msinet_graph(0.02)
    save_checkpoint(tmp_path / "w.msinet.h5", Checkpoint(graph, random_state(graph, 0)))
    device = ["--device", "reference"] if times else []
    result = run(*device, *command.split())
    assert result.exit_code == 0, result.output
    assert len(kept) == times
