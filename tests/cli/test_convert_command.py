"""``msinet-run convert``: names of formats and devices, what is said, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from msinet_core.checkpoint import Checkpoint, save_checkpoint
from msinet_core.checkpoint.catalog import find_format
from msinet_core.network.msinet import msinet_graph
from msinet_core.network.state import OptimizerState, State
from msinet_core.training.initial_weights import random_state

if TYPE_CHECKING:
    from tests.conftest import Run

GRAPH = msinet_graph(0.02)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    state = random_state(GRAPH, 1)
    path = tmp_path / "run.msinet.h5"
    save_checkpoint(
        path,
        Checkpoint(GRAPH, State(state.weights, OptimizerState.zeros(state.weights)), {"epoch": 1}),
    )
    return path


def test_it_says_what_it_did_and_what_stayed_behind(run: Run, source: Path) -> None:
    result = run("convert", source, "out.weights.h5", "--verify")
    assert result.exit_code == 0, result.output
    assert "out.weights.h5: Keras 3 weights (*.weights.h5), 46 tensors" in result.stdout
    assert "46 of 46 tensors are equal bit for bit" in result.stdout
    assert "largest difference of the maps 0 (reference device, 64x64 pixels)" in result.stdout
    assert "Not in out.weights.h5: Adam's memory after 0 steps." in result.stderr
    assert "Not in out.weights.h5: the training run's position" in result.stderr


@pytest.mark.parametrize(
    ("target", "options", "name"),
    [
        ("a.msinet.h5", [], "msinet"),
        ("a.ckpt", [], "tf1"),
        ("prefix", ["--to", "tf1"], "tf1"),
        ("a.weights.h5", ["--to", "keras2"], "keras2"),
        ("a.h5", [], "keras2"),
        ("a.weights.h5", ["--to", "cuda"], "keras"),
        ("a.msinet.h5", ["--to", "reference"], "msinet"),
        ("a.pb", [], "frozen"),
        ("folder", ["--to", "savedmodel"], "savedmodel"),
        ("a.safetensors", ["--to", "torch"], "torch"),
        ("a.safetensors", ["--to", "mlx"], "mlx"),
    ],
)
def test_formats_by_name_and_by_device(
    run: Run, source: Path, target: str, options: list[str], name: str
) -> None:
    result = run("convert", source, target, *options)
    assert result.exit_code == 0, result.output
    assert find_format(Path(target)).name == name


@pytest.mark.parametrize(
    ("target", "options", "expected"),
    [
        ("a.safetensors", [], "Add --to torch or --to mlx."),
        ("a.xyz", [], "does not end as a file of any known format does"),
        ("a.xyz", ["--to", "mlx"], "Use one of: *.safetensors"),
        ("a.h5", ["--to", "onnx"], "There is no format 'onnx'. Formats: msinet,"),
        ("run.msinet.h5", ["--force"], "is both source and destination"),
        ("there.h5", [], "is there already. Add --force"),
        ("a.h5", ["--from-layout", "mlx"], "--from-layout is for safetensors"),
    ],
)
def test_wrong_usage_exits_2(
    run: Run, source: Path, target: str, options: list[str], expected: str
) -> None:
    Path("there.h5").write_bytes(b"precious")
    result = run("convert", source, target, *options)
    assert result.exit_code == 2, result.output
    assert expected in result.stderr
    assert Path("there.h5").read_bytes() == b"precious"
    assert run("convert", source, "there.h5", "--force").exit_code == 0


def test_a_mistyped_ending_or_format_is_suggested(run: Run, source: Path) -> None:
    result = run("convert", source, "a.kears")
    assert result.exit_code == 2
    assert "Did you mean '.keras'?" in result.stderr
    assert result.stderr.count("*.safetensors") == 1
    result = run("convert", source, "a.h5", "--to", "kears")
    assert result.exit_code == 2
    assert "There is no format 'kears'. Did you mean 'keras'?" in result.stderr


def test_a_file_that_does_not_fit_leaves_nothing(run: Run, source: Path) -> None:
    assert run("convert", source, "a.ckpt").exit_code == 0
    result = run("convert", "a.ckpt", "b.msinet.h5")
    assert result.exit_code == 1
    assert "45 of 46 weights have other shapes" in result.stderr
    assert result.stderr.count("should be") == 3
    assert "42 more" in result.stderr
    assert "--network CHECKPOINT" in result.stderr
    assert not Path("b.msinet.h5").exists()
    assert run("convert", "a.ckpt", "b.msinet.h5", "--network", source).exit_code == 0


def write_without_layout(run: Run, source: Path, layout: str) -> None:
    run("convert", source, "a.safetensors", "--to", layout)
    text = Path("a.safetensors").read_bytes()
    for key, other in ((b"kernel_layout", b"kernel_nobody"), (b"msinet_format", b"msinet_nobody")):
        text = text.replace(key, other, 1)
    Path("a.safetensors").write_bytes(text)


@pytest.mark.parametrize(("true", "said"), [("torch", "mlx"), ("mlx", "torch")])
def test_the_other_layout_is_suggested_where_it_fits(
    run: Run, source: Path, true: str, said: str
) -> None:
    write_without_layout(run, source, true)
    options = ["--network", source, "--from-layout"]
    result = run("convert", "a.safetensors", "b.msinet.h5", *options, said)
    assert result.exit_code == 1
    assert f"Use --from-layout {true}" in result.stderr
    assert run("convert", "a.safetensors", "b.msinet.h5", *options, true).exit_code == 0


def test_no_layout_is_suggested_where_none_fits(run: Run, source: Path) -> None:
    write_without_layout(run, source, "torch")
    result = run("convert", "a.safetensors", "b.msinet.h5", "--from-layout", "mlx")
    assert result.exit_code == 1
    assert "does not fit the network" in result.stderr
    assert "Use --from-layout" not in result.stderr


def test_what_does_not_tell_its_layout_can_be_inspected(run: Run, source: Path) -> None:
    write_without_layout(run, source, "torch")
    result = run("inspect", "a.safetensors")
    assert result.exit_code == 0, result.output
    assert "--from-layout torch" in result.stdout
    document = json.loads(run("inspect", "a.safetensors", "--json").stdout)
    shapes = {tensor["name"]: tensor["shape"] for tensor in document["tensors"]}
    filters = GRAPH.channels["conv1/conv1_1"]
    assert shapes["conv1.conv1_1.weight"] == [filters, 3, 3, 3]
    assert document["published"] is False
    assert document["damage"] == []


def test_the_layout_must_be_said_where_the_file_does_not(run: Run, source: Path) -> None:
    write_without_layout(run, source, "mlx")
    result = run("convert", "a.safetensors", "b.msinet.h5", "--network", source)
    assert result.exit_code == 1
    assert "Shapes do not tell, so nothing is guessed" in result.stderr
    options = ["--network", source, "--from-layout", "mlx"]
    result = run("convert", "a.safetensors", "b.msinet.h5", *options)
    assert result.exit_code == 0, result.output
    with find_format(Path("b.msinet.h5")).open(Path("b.msinet.h5")) as archive:
        found = archive.read_state(GRAPH).weights
    expected = random_state(GRAPH, 1).weights
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


def test_an_error_names_a_command_that_works_for_a_checkout(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from msinet_core.checkpoint import convert
    from msinet_core.errors import CheckpointError
    from msinet_core.system import install_hints

    def fail(*arguments: object, **options: object) -> None:
        raise CheckpointError('It needs TensorFlow. Run: pip install "msinet[cpu]"')

    monkeypatch.setattr(install_hints, "_origin", lambda: {"url": "file:///code", "dir_info": {}})
    monkeypatch.setattr(convert, "convert", fail)
    result = run("convert", "a.msinet.h5", "b.keras")
    assert result.exit_code == 1
    assert 'Run: pip install "/code[cpu]"' in result.stderr
