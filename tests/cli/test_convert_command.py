"""``msinet-run convert``: names of formats and devices, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import msinet_core
from msinet_core import Conversion, Verification, verify_conversion
from msinet_core.checkpoint import Checkpoint, save_checkpoint
from msinet_core.checkpoint.catalog import find_format
from msinet_core.errors import CheckpointError
from msinet_core.network.msinet import msinet_graph
from msinet_core.network.state import OptimizerState, State
from msinet_core.system.install_hints import installable
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


def test_results_go_to_stdout_and_what_stays_behind_to_stderr(run: Run, source: Path) -> None:
    result = run("convert", source, "out.weights.h5", "--verify")
    assert result.exit_code == 0, result.output
    assert "out.weights.h5: Keras 3 weights" in result.stdout
    assert "46 of 46" in result.stdout
    assert result.stderr.count("Not in out.weights.h5") == 2


def test_verification_fails_on_a_file_that_changed(
    run: Run, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damage(conversion: Conversion, target: Path) -> Verification:
        return replace(verify_conversion(conversion, target), different=("conv1/conv1_1/bias",))

    monkeypatch.setattr(msinet_core, "verify_conversion", damage)
    result = run("convert", source, "out.weights.h5", "--verify")
    assert result.exit_code == 1
    assert "conv1/conv1_1/bias" in result.stderr


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
        ("a.safetensors", [], "--to torch or --to mlx"),
        ("a.xyz", [], "*.weights.h5"),
        ("a.kears", [], "'.keras'"),
        ("a.xyz", ["--to", "mlx"], "*.safetensors"),
        ("a.h5", ["--to", "tflite"], "msinet, tf1, keras"),
        ("a.h5", ["--to", "onnx"], "*.onnx"),
        ("a.pt", ["--precision", "float16", "--image-size", "8x8"], "--precision and --image-size"),
        ("a.onnx", ["--image-size", "45x64"], "40x64"),
        ("a.onnx", ["--precision", "bfloat16"], "float16"),
        ("a.h5", ["--to", "kears"], "'keras'"),
        ("run.msinet.h5", ["--force"], "run.msinet.h5"),
        ("existing.h5", [], "--force"),
        ("a.h5", ["--from-layout", "mlx"], "--from-layout"),
        ("a.h5", ["--network", "nowhere.h5"], "nowhere.h5"),
        ("a.h5", ["--network", "published:salcon"], "'published:salicon'"),
        (".", ["--to", "tf1"], "'.' is a directory"),
        ("..", ["--to", "tf1"], "'..' is a directory"),
    ],
)
def test_wrong_usage_exits_2(
    run: Run, source: Path, target: str, options: list[str], expected: str
) -> None:
    Path("existing.h5").write_bytes(b"precious")
    result = run("convert", source, target, *options)
    assert result.exit_code == 2, result.output
    assert expected in result.stderr
    assert Path("existing.h5").read_bytes() == b"precious"


def test_force_replaces_an_existing_file(run: Run, source: Path) -> None:
    Path("existing.h5").write_bytes(b"precious")
    assert run("convert", source, "existing.h5", "--force").exit_code == 0
    assert Path("existing.h5").read_bytes() != b"precious"


@pytest.mark.parametrize("existing", [".index", ".data-00000-of-00001"])
@pytest.mark.parametrize("target", ["model.ckpt", "model.ckpt.index"])
def test_a_tensorflow_checkpoint_is_never_replaced(
    run: Run, source: Path, existing: str, target: str
) -> None:
    """Its two files cannot be replaced in one step: a kill in between would lose both versions."""
    assert run("convert", source, "model.ckpt").exit_code == 0
    other = {".index": ".data-00000-of-00001", ".data-00000-of-00001": ".index"}[existing]
    Path(f"model.ckpt{other}").unlink()
    before = Path(f"model.ckpt{existing}").read_bytes()
    result = run("convert", source, target, "--force")
    assert result.exit_code == 2
    assert "model.ckpt already exists" in result.stderr
    assert [path.name for path in Path().glob("model.ckpt*")] == [f"model.ckpt{existing}"]
    assert Path(f"model.ckpt{existing}").read_bytes() == before


def test_a_tensorflow_checkpoint_that_another_process_writes_meanwhile_is_kept(
    run: Run, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Path("model.ckpt.data-00000-of-00001")
    monkeypatch.setattr(
        "msinet_core.checkpoint.formats.tf1.write_table", lambda entries: pytest.fail("written")
    )
    monkeypatch.setattr(
        "msinet_core.checkpoint.formats.tf1.masked_crc32c",
        lambda tensor: (data.write_bytes(b"of the other process"), 0)[1],
    )
    result = run("convert", source, "model.ckpt")
    assert result.exit_code == 1
    assert data.read_bytes() == b"of the other process"
    assert not Path("model.ckpt.index").exists()


@pytest.mark.parametrize("target", ["model", "model/saved_model.pb"])
@pytest.mark.parametrize("origin", ["model", "model/saved_model.pb"])
def test_a_saved_model_is_not_its_own_destination(
    run: Run, source: Path, origin: str, target: str
) -> None:
    assert run("convert", source, "model", "--to", "savedmodel").exit_code == 0
    before = Path("model/saved_model.pb").read_bytes()
    result = run("convert", origin, target, "--to", "savedmodel", "--force")
    assert result.exit_code == 2
    assert "both source and destination" in result.stderr
    assert Path("model/saved_model.pb").read_bytes() == before


def test_a_file_is_not_the_folder_of_a_saved_model(run: Run, source: Path) -> None:
    Path("plain").write_bytes(b"precious")
    result = run("convert", source, "plain", "--to", "savedmodel", "--force")
    assert result.exit_code == 2
    assert "plain is a file" in result.stderr
    assert Path("plain").read_bytes() == b"precious"


def test_a_link_to_nothing_is_named_as_one(run: Run) -> None:
    Path("best.h5").symlink_to("gone.h5")
    result = run("convert", "best.h5", "a.msinet.h5")
    assert result.exit_code == 2
    assert "link to gone.h5" in result.stderr
    assert "Did you mean" not in result.stderr


def test_a_file_that_does_not_fit_leaves_nothing(run: Run, source: Path) -> None:
    assert run("convert", source, "a.ckpt").exit_code == 0
    result = run("convert", "a.ckpt", "b.msinet.h5")
    assert result.exit_code == 1
    assert "46 weights; 45 tensors differ" in result.stderr
    assert result.stderr.count("expected (") == 3
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


@pytest.mark.parametrize(("right", "wrong"), [("torch", "mlx"), ("mlx", "torch")])
def test_the_other_layout_is_suggested_if_it_fits(
    run: Run, source: Path, right: str, wrong: str
) -> None:
    write_without_layout(run, source, right)
    options = ["--network", source, "--from-layout"]
    result = run("convert", "a.safetensors", "b.msinet.h5", *options, wrong)
    assert result.exit_code == 1
    assert f"--from-layout {right}" in result.stderr
    assert run("convert", "a.safetensors", "b.msinet.h5", *options, right).exit_code == 0


def test_no_layout_is_suggested_if_none_fits(run: Run, source: Path) -> None:
    write_without_layout(run, source, "torch")
    options = ["--from-layout", "mlx", "--resize", "half_pixel"]
    result = run("convert", "a.safetensors", "b.msinet.h5", *options)
    assert result.exit_code == 1
    assert "46 weights; 45 tensors differ" in result.stderr
    assert "--network CHECKPOINT --from-layout mlx --resize half_pixel" in result.stderr
    assert "Use --from-layout" not in result.stderr


def test_a_file_of_unknown_layout_can_be_inspected(run: Run, source: Path) -> None:
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


def test_an_unknown_layout_is_never_guessed(run: Run, source: Path) -> None:
    write_without_layout(run, source, "mlx")
    result = run("convert", "a.safetensors", "b.msinet.h5", "--network", source)
    assert result.exit_code == 1
    assert "--from-layout" in result.stderr
    options = ["--network", source, "--from-layout", "mlx"]
    result = run("convert", "a.safetensors", "b.msinet.h5", *options)
    assert result.exit_code == 0, result.output
    found = find_format(Path("b.msinet.h5")).open(Path("b.msinet.h5")).read_state(GRAPH).weights
    expected = random_state(GRAPH, 1).weights
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


def test_an_error_names_a_command_that_works_for_this_installation(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = 'pip install "msinet[cpu]"'

    def fail(*arguments: object, **options: object) -> None:
        raise CheckpointError(f"It needs TensorFlow. Run: {command}")

    monkeypatch.setattr(msinet_core, "convert", fail)
    result = run("convert", "a.msinet.h5", "b.keras")
    assert result.exit_code == 1
    assert f"Run: {installable(command)}" in result.stderr
