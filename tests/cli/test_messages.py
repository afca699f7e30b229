"""What commands print: the one place where wording is pinned, one snapshot file per command.

``messages/COMMAND.args`` lists command lines; ``messages/COMMAND.txt`` is what they print and how
they exit. A line that begins with ``@`` only prepares the folder for the next ones. After a change
of wording, update the snapshots and read the difference::

    pytest tests/cli/test_messages.py --update-snapshots
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from msinet_core import __version__
from msinet_core.checkpoint import Checkpoint, save_checkpoint
from msinet_core.network.graph import GraphBuilder
from msinet_core.network.msinet import msinet_graph
from msinet_core.network.ops import Conv2D
from msinet_core.network.state import OptimizerState, State
from msinet_core.training.initial_weights import random_state
from tests.conftest import Run

FOLDER = Path(__file__).parent / "messages"
CASES = sorted(FOLDER.glob("*.args"))


def printed(run: Run, line: str, folder: Path) -> str:
    """Run one command line and return what it prints, free of what differs between machines."""
    words = shlex.split(line)  # which may begin with MSINET_NAME=VALUE
    variables = dict(word.split("=", 1) for word in words if re.match(r"MSINET_\w+=", word))
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        result = run(*words[len(variables) :])
    text = result.output.replace(str(folder), "FOLDER").replace(__version__, "VERSION")
    text = re.sub(r"\d+\.\d+ s\b", "N s", text)
    text = re.sub(r" +\d+ ms\b", "  N ms", text)
    text = re.sub(r"\([\d,]+ bytes\)", "(N bytes)", text)
    text = re.sub(r"\d+\.\d+ images/s\b", "N images/s", text)
    text = re.sub(r" *-?\d\.\d{3} \[-?\d\.\d{3}, -?\d\.\d{3}\]", "  N [N, N]", text)
    # Other people's plugins may be installed, and they make columns wider.
    parts = [part.rstrip() for part in text.splitlines() if "msinet-device-jax " not in part]
    if "list" in words:
        parts = [re.sub(r"-{4,}", "---", re.sub(r"(?<=\S) {3,}", "  ", part)) for part in parts]
    text = "\n".join(parts)
    return f"$ msinet-run {line}\n{text}\n[exit code {result.exit_code}]\n"


def write_checkpoints(folder: Path) -> None:
    """Write the checkpoint of a narrow MSI-Net, and of a network of one layer."""
    net = GraphBuilder()
    net.add("conv", Conv2D(2), net.input)
    for name, graph in (("best", msinet_graph(0.01)), ("small", net.build())):
        weights = random_state(graph, 0).weights
        state = State(weights, OptimizerState.zeros(weights))
        metadata = {
            "created": "2026-01-02T03:04:05+00:00",
            "dataset": "osie",
            "device": "cpu",
            "image_size": [240, 320],
            "msinet": __version__,
        }
        checkpoint = Checkpoint(graph, state, {"history": []}, metadata)
        save_checkpoint(folder / f"{name}.msinet.h5", checkpoint)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_messages(
    case: Path,
    run: Run,
    tiny_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("MSINET_DISABLE_PLUGINS", "msinet-device-jax")
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_, **options: tmp_path / "cache")
    (tmp_path / "text.txt").write_text("not a checkpoint, not an image")
    write_checkpoints(tmp_path)
    lines = [line for line in case.read_text().splitlines() if line and not line.startswith("#")]
    texts = []
    for line in lines:
        if line.startswith("@"):
            assert run(*shlex.split(line[1:])).exit_code == 0
        else:
            texts.append(printed(run, line, tmp_path))
    text = "\n".join(texts)
    snapshot = case.with_suffix(".txt")
    if request.config.getoption("--update-snapshots"):
        snapshot.write_text(text)
    assert text == snapshot.read_text()
