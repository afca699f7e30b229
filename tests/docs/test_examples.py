"""The Python examples run, on the reference device and with a narrow network."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from msinet_core.checkpoint import Checkpoint, save_checkpoint
from msinet_core.network.msinet import msinet_graph
from msinet_core.training.initial_weights import random_state
from tests.conftest import write_split

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "docs/index.md", "docs/reference/api.md", "docs/how-to/use-from-python.md")


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the files that the examples name."""
    from PIL import Image

    for dataset in ("demo-data", "own"):
        write_split(tmp_path / dataset, "train", 5, seed=1)
        write_split(tmp_path / dataset, "val", 3, seed=2)
    graph = msinet_graph(0.02)
    checkpoint = Checkpoint(graph, random_state(graph, 1), None, {})
    for name in ("best.msinet.h5", "first/checkpoints/best.msinet.h5"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        save_checkpoint(tmp_path / name, checkpoint)
    photo = Image.fromarray(np.full((30, 40, 3), 99, np.uint8))
    for name in ("photo.jpg", "photos/a.jpg", "photos/b.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        photo.save(tmp_path / name)
    photo.save(tmp_path / "demo-data" / "stimuli" / "val" / "scene-0060.jpg")
    photo.convert("L").save(tmp_path / "demo-data" / "saliency" / "val" / "scene-0060.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MSINET_DEVICE", "reference")
    return tmp_path


@pytest.mark.parametrize("page", PAGES)
def test_the_examples_of_a_page_run(page: str, files: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text("utf-8"), re.M | re.S)
    program = "\n".join(blocks).replace("image_size=(120, 160), ", "")
    assert "msinet." in program
    # The full-size network would take minutes on the reference device.
    small = 'init="random", width=0.02, image_size=(32, 40)'
    exec(compile(program.replace('init="random"', small), page, "exec"), {})
