"""ONNX models: what they compute, by two other programs, and what reading them gives back."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from msinet_core import (
    Checkpoint,
    CheckpointError,
    Graph,
    GraphBuilder,
    OnnxSettings,
    State,
    UsageError,
    convert,
    inspect,
    msinet_graph,
    onnx_model,
    ops,
    verify_conversion,
)
from msinet_core.checkpoint import read_weights, save_checkpoint
from msinet_core.reference import SPEC as REFERENCE
from msinet_core.training.initial_weights import random_state

onnx = pytest.importorskip("onnx")

SIZE = (16, 24)
GRAPH = msinet_graph(1 / 16)
CHECKPOINT = Checkpoint(GRAPH, random_state(GRAPH, 0), metadata={"dataset": "salicon"})
IMAGES = np.random.default_rng(0).integers(0, 256, (2, *SIZE, 3)).astype(np.uint8)

Run = Callable[[Any, np.ndarray], np.ndarray]


def evaluator(model: Any, images: np.ndarray) -> np.ndarray:
    """Compute with the reference evaluator of the package onnx, which is NumPy."""
    from onnx.reference import ReferenceEvaluator

    (maps,) = ReferenceEvaluator(model).run(None, {model.graph.input[0].name: images})
    return maps


def onnxruntime(model: Any, images: np.ndarray) -> np.ndarray:
    runtime = pytest.importorskip("onnxruntime")
    providers = ["CPUExecutionProvider"]
    session = runtime.InferenceSession(model.SerializeToString(), providers=providers)
    (maps,) = session.run(None, {model.graph.input[0].name: images})
    return maps


def reference(checkpoint: Checkpoint, images: np.ndarray) -> np.ndarray:
    model = REFERENCE.open().compile(checkpoint.graph, checkpoint.state)
    return np.asarray(model.predict(images.astype(np.float32)))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "narrow.msinet.h5"
    save_checkpoint(path, CHECKPOINT)
    return path


# --- what it computes ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "axes", "dtype"),
    list(itertools.product([None, SIZE], ["NHWC", "NCHW"], ["float32", "uint8"])),
    ids=str,
)
def test_every_kind_of_input_gives_the_same_map(size: Any, axes: Any, dtype: str) -> None:
    model = onnx_model(CHECKPOINT, OnnxSettings("float32", size, axes, dtype))
    order = [0, 1, 2, 3] if axes == "NHWC" else [0, 3, 1, 2]
    maps = onnxruntime(model, np.ascontiguousarray(IMAGES.astype(dtype).transpose(order)))
    back = maps.transpose(np.argsort(order))
    np.testing.assert_allclose(back, reference(CHECKPOINT, IMAGES), rtol=0, atol=1e-4)


@pytest.mark.parametrize("coordinates", ["asymmetric", "half_pixel"])
@pytest.mark.parametrize("size", [None, SIZE], ids=str)
def test_the_reference_evaluator_agrees(coordinates: Any, size: Any) -> None:
    graph = msinet_graph(1 / 16, coordinates)
    checkpoint = Checkpoint(graph, CHECKPOINT.state)
    maps = evaluator(
        onnx_model(checkpoint, OnnxSettings(image_size=size)), IMAGES.astype(np.float32)
    )
    np.testing.assert_allclose(maps, reference(checkpoint, IMAGES), rtol=0, atol=1e-4)


def small_graph(*middle: ops.Op) -> Graph:
    """Chain ops after a convolution, and enlarge the result to the size of the image."""
    net = GraphBuilder(3)
    name = net.add("first", ops.Conv2D(4, activation="linear"), net.input)
    for number, op in enumerate(middle):
        name = net.add(f"op{number}", op, name)
    net.add("large", ops.ResizeLike("half_pixel"), name, net.input)
    return net.build()


@pytest.mark.parametrize("run", [evaluator, onnxruntime])
@pytest.mark.parametrize("size", [None, (17, 23)], ids=str)
@pytest.mark.parametrize(
    "op",
    [
        ops.Conv2D(3, kernel_size=3, strides=2, use_bias=False),
        ops.Conv2D(3, kernel_size=4, padding="VALID"),
        ops.Conv2D(3, kernel_size=2, dilation=3),
        ops.MaxPool2D(pool_size=3, strides=2, padding="SAME"),
        ops.MaxPool2D(pool_size=2, strides=1, padding="SAME"),
        ops.Resize(3, "half_pixel"),
        ops.GlobalMean(),
    ],
    ids=repr,
)
def test_ops_that_msinet_does_not_use(op: ops.Op, size: Any, run: Run) -> None:
    if run is evaluator and getattr(op, "strides", 1) > 1 and onnx.__version__ < "1.17":
        pytest.skip("the evaluator of onnx 1.16 pads strided convolutions in another way")
    graph = small_graph(op)
    checkpoint = Checkpoint(graph, random_state(graph, 3))
    images = np.random.default_rng(1).uniform(0, 255, (2, 17, 23, 3)).astype(np.float32)
    maps = run(onnx_model(checkpoint, OnnxSettings(image_size=size)), images)
    np.testing.assert_allclose(maps, reference(checkpoint, images), rtol=1e-5, atol=1e-3)


# --- what it says --------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [None, SIZE], ids=str)
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_every_value_has_a_shape_and_the_batch_a_name(size: Any, precision: str) -> None:
    model = onnx_model(CHECKPOINT, OnnxSettings(precision, size))
    onnx.checker.check_model(model, full_check=True)
    assert [entry.domain for entry in model.opset_import] == [""]
    shapes = {
        value.name: [axis.dim_value or axis.dim_param for axis in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.value_info, *model.graph.output)
    }
    outputs = {name for node in model.graph.node for name in node.output}
    assert shapes.keys() == outputs | {"images"}
    channels = GRAPH.channels
    for node in GRAPH.nodes[1:]:
        batch, count, height, width = shapes[node.name]
        assert (batch, count) == ("batch", channels[node.name])
        if size is not None:
            assert (height, width) == GRAPH.sizes(size)[node.name]
    assert shapes["images"] == ["batch", *(size or ("height", "width")), 3]
    assert shapes["maps"] == ["batch", *(size or ("map_height", "map_width")), 1]


def test_the_file_names_the_network_and_its_origin(source: Path, tmp_path: Path) -> None:
    done = convert(source, tmp_path / "narrow.onnx")
    assert done.left_behind == ()
    found = inspect(tmp_path / "narrow.onnx")
    assert found.graph is not None and found.graph.fingerprint == GRAPH.fingerprint
    assert found.metadata["dataset"] == "salicon"
    assert {tensor.checksum for tensor in found.tensors} == {"ok"}
    model = onnx.load(tmp_path / "narrow.onnx")
    assert model.producer_name == "msinet"
    assert "conv1/conv1_1/kernel" in {tensor.name for tensor in model.graph.initializer}


def test_equal_checkpoints_make_equal_files(source: Path, tmp_path: Path) -> None:
    for name in ("a.onnx", "b.onnx"):
        convert(source, tmp_path / name)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


# --- float16 -------------------------------------------------------------------------------------


def test_float16_halves_the_file_and_is_read_back_as_written(source: Path, tmp_path: Path) -> None:
    whole, half = tmp_path / "whole.onnx", tmp_path / "half.onnx"
    convert(source, whole)
    done = convert(source, half, settings=OnnxSettings(precision="float16"))
    assert whole.stat().st_size - half.stat().st_size > 0.9 * 2 * GRAPH.parameter_count
    assert verify_conversion(done, half).different == ()
    found = read_weights(half).state.weights
    for name, tensor in CHECKPOINT.state.weights.items():
        np.testing.assert_array_equal(found[name], tensor.astype(np.float16))
    assert {tensor.dtype for tensor in inspect(half).tensors} == {"float16"}
    maps = evaluator(onnx.load(half), IMAGES.astype(np.float32))
    assert np.abs(maps - reference(CHECKPOINT, IMAGES)).max() < 0.02


def test_weights_too_large_for_float16_are_refused(source: Path, tmp_path: Path) -> None:
    weights = {**CHECKPOINT.state.weights}
    weights["conv1/conv1_1/bias"] = weights["conv1/conv1_1/bias"] + np.float32(7e4)
    save_checkpoint(tmp_path / "large.msinet.h5", Checkpoint(GRAPH, State(weights)))
    with pytest.raises(CheckpointError, match="conv1/conv1_1/bias"):
        convert(
            tmp_path / "large.msinet.h5",
            tmp_path / "large.onnx",
            settings=OnnxSettings(precision="float16"),
        )
    assert not (tmp_path / "large.onnx").exists()


# --- what is refused -----------------------------------------------------------------------------


def test_settings_are_checked(source: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="40x64"):
        convert(source, tmp_path / "a.onnx", settings=OnnxSettings(image_size=(45, 64)))
    with pytest.raises(UsageError, match="--input-type"):
        convert(source, tmp_path / "a.pt", settings=OnnxSettings(input_type="uint8"))
    with pytest.raises(UsageError, match="input_format"):
        OnnxSettings(input_format="HWC")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def whole(source: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "whole.onnx"
    convert(source, path)
    return path.read_bytes()


@pytest.mark.parametrize("kept", [0, 10, 1000, -100], ids=str)
def test_a_truncated_file_is_refused(whole: bytes, tmp_path: Path, kept: int) -> None:
    (tmp_path / "a.onnx").write_bytes(whole[:kept])
    with pytest.raises(CheckpointError, match=r"a\.onnx"):
        read_weights(tmp_path / "a.onnx")


def test_a_changed_weight_is_found(whole: bytes, tmp_path: Path) -> None:
    model = onnx.load_from_string(whole)
    (bias,) = (t for t in model.graph.initializer if t.name == "decoder/conv4/bias")
    bias.raw_data = np.float32(0.5).tobytes()
    onnx.save(model, tmp_path / "a.onnx")
    with pytest.raises(CheckpointError, match="decoder/conv4/bias"):
        read_weights(tmp_path / "a.onnx")


def test_tensors_that_are_not_what_they_declare_are_refused(whole: bytes, tmp_path: Path) -> None:
    model = onnx.load_from_string(whole)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    tensors["conv1/conv1_1/kernel"].raw_data = b"1234"
    tensors["conv1/conv1_1/bias"].data_type = onnx.TensorProto.INT32
    onnx.external_data_helper.set_external_data(tensors["conv1/conv1_2/bias"], "/etc/passwd")
    (tmp_path / "a.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(CheckpointError) as caught:
        read_weights(tmp_path / "a.onnx")
    for name in ("conv1/conv1_1/kernel", "conv1/conv1_1/bias", "conv1/conv1_2/bias"):
        assert name in str(caught.value)


def test_a_model_of_another_program_is_refused(whole: bytes, tmp_path: Path) -> None:
    model = onnx.load_from_string(whole)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "a.onnx")
    with pytest.raises(CheckpointError, match="msinet"):
        read_weights(tmp_path / "a.onnx")
