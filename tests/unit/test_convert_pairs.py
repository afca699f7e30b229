"""Every format to every other and back, bit for bit."""

from __future__ import annotations

import itertools
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from msinet_core import convert, inspect, verify_conversion
from msinet_core.checkpoint import Checkpoint, load_checkpoint, read_weights
from msinet_core.checkpoint.catalog import FORMATS
from msinet_core.checkpoint.native import save_checkpoint
from msinet_core.network.msinet import msinet_graph
from msinet_core.network.state import OptimizerState, State

GRAPH = msinet_graph(0.02)
FILES = {
    "msinet": "file.msinet.h5",
    "keras": "file.weights.h5",
    "keras2": "file_keras2.weights.h5",
    "tf1": "file.ckpt",
    "torch": "file_torch.safetensors",
    "torch file": "file.pt",
    "mlx": "file_mlx.safetensors",
    "onnx": "file.onnx",
    "frozen": "file.pb",
    "savedmodel": "folder",
}
"""A file of each format that needs no framework; the first word is the format's name."""


def format_of(name: str) -> str:
    return name.removesuffix(" file")


needs_onnx = pytest.mark.skipif(find_spec("onnx") is None, reason="onnx is not installed")
NAMES = [pytest.param(name, marks=needs_onnx if name == "onnx" else ()) for name in FILES]
PAIRS = [
    pytest.param(*pair, marks=needs_onnx if "onnx" in pair else ())
    for pair in itertools.combinations(FILES, 2)
]
"""The chain of a pair goes through both directions."""


def random_tensors(seed: int) -> dict[str, np.ndarray]:
    """Values of every kind that could be lost: subnormal, negative zero, infinite."""
    random = np.random.default_rng(seed)
    tensors = {
        parameter.name: random.standard_normal(parameter.shape).astype(np.float32)
        for parameter in GRAPH.parameters
    }
    tensors["conv1/conv1_1/kernel"].flat[:4] = [-0.0, 1e-45, np.inf, np.finfo(np.float32).max]
    return tensors


CHECKPOINT = Checkpoint(
    GRAPH,
    State(random_tensors(0), OptimizerState(123_456, random_tensors(1), random_tensors(2))),
    training={"epoch": 3},
    metadata={"device": "cuda", "dataset": "salicon"},
)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("original") / "original.msinet.h5"
    save_checkpoint(path, CHECKPOINT)
    return path


def assert_equal(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == np.float32
        assert found[name].shape == tensor.shape
        assert found[name].tobytes() == tensor.tobytes(), name


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_there_and_back_is_bit_exact(
    tmp_path: Path, original: Path, first: str, second: str
) -> None:
    steps = [
        (original, "msinet", tmp_path / f"a_{FILES[first]}", first),
        (tmp_path / f"a_{FILES[first]}", first, tmp_path / f"b_{FILES[second]}", second),
        (tmp_path / f"b_{FILES[second]}", second, tmp_path / f"c_{FILES[first]}", first),
        (tmp_path / f"c_{FILES[first]}", first, tmp_path / "end.msinet.h5", "msinet"),
    ]
    for source, _, target, name in steps:
        convert(source, target, format_of(name), network=original)
    end = load_checkpoint(steps[-1][2])
    assert_equal(dict(end.state.weights), dict(CHECKPOINT.state.weights))
    if {first, second} == {"msinet", "tf1"}:
        assert end.state.optimizer is not None
        assert end.state.optimizer.step == 123_456
        assert_equal(dict(end.state.optimizer.m), dict(CHECKPOINT.state.optimizer.m))
        assert_equal(dict(end.state.optimizer.v), dict(CHECKPOINT.state.optimizer.v))
    else:
        assert end.state.optimizer is None
    if "tf1" not in (first, second):
        assert end.metadata["dataset"] == "salicon"


@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_is_recognized_and_whole(tmp_path: Path, original: Path, name: str) -> None:
    target = tmp_path / FILES[name]
    convert(original, target, format_of(name))
    found = inspect(target)
    assert found.format == format_of(name)
    assert found.damage == []
    assert {row.checksum for row in found.tensors} == {"ok"}
    if name != "tf1":
        assert found.graph is not None
        assert found.graph.fingerprint == GRAPH.fingerprint
        assert found.metadata["device"] == "cuda"
    assert_equal(dict(read_weights(target, GRAPH).state.weights), dict(CHECKPOINT.state.weights))


def test_torch_and_mlx_files_differ_by_their_axes(tmp_path: Path, original: Path) -> None:
    for name, axes in (("torch", (3, 2, 0, 1)), ("mlx", (3, 0, 1, 2))):
        target = tmp_path / FILES[name]
        convert(original, target, name)
        kernel = CHECKPOINT.state.weights["aspp/conv1_2/kernel"].transpose(axes)
        assert np.ascontiguousarray(kernel).tobytes() in target.read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_what_a_format_cannot_hold_is_listed(tmp_path: Path, original: Path, name: str) -> None:
    done = convert(original, tmp_path / FILES[name], format_of(name))
    text = "\n".join(done.left_behind)
    assert ("123,456 steps" in text) == (name not in ("msinet", "tf1"))
    assert ("training run" in text) == (name != "msinet")
    assert ("created, dataset, device" in text) == (name == "tf1")
    assert ("--network" in text) == (name == "tf1")


def test_verification_finds_a_changed_tensor(tmp_path: Path) -> None:
    weights = {
        parameter.name: np.random.default_rng(5).uniform(-0.3, 0.3, parameter.shape)
        for parameter in GRAPH.parameters
    }
    weights = {name: value.astype(np.float32) for name, value in weights.items()}
    source, target = tmp_path / "a.msinet.h5", tmp_path / "b.safetensors"
    save_checkpoint(source, Checkpoint(GRAPH, State(weights)))
    done = convert(source, target, "torch")
    whole = verify_conversion(done, target)
    assert (whole.tensors, whole.different, whole.largest_difference) == (46, (), 0.0)
    other = {**weights, "conv1/conv1_1/kernel": weights["conv1/conv1_1/kernel"] + np.float32(0.5)}
    save_checkpoint(tmp_path / "other.msinet.h5", Checkpoint(GRAPH, State(other)))
    convert(tmp_path / "other.msinet.h5", target, "torch", force=True)
    changed = verify_conversion(done, target)
    assert changed.different == ("conv1/conv1_1/kernel",)
    assert changed.largest_difference > 1e-4


def test_every_format_is_in_the_docs() -> None:
    page = Path(__file__).parents[2] / "docs" / "how-to" / "convert-checkpoints.md"
    text = page.read_text(encoding="utf-8")
    for entry in FORMATS:
        if entry.write is not None:
            assert f"| `{entry.name}` |" in text
            assert all(f"`{suffix}`" in text for suffix in entry.suffixes)
