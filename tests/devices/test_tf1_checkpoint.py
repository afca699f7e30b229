"""TensorFlow's own checkpoints are read bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from msinet_core import inspect
from msinet_core.checkpoint import read_weights
from msinet_core.errors import CheckpointError
from msinet_core.network.msinet import msinet_graph
from msinet_core.training.initial_weights import random_state

tf = pytest.importorskip("tensorflow")

GRAPH = msinet_graph(0.05)


def save(prefix: Path, tensors: dict[str, np.ndarray], slices: str = "") -> None:
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=list(tensors),
        shape_and_slices=[slices] * len(tensors),
        tensors=[tf.constant(tensor) for tensor in tensors.values()],
    )


def test_variables_of_a_training_session(tmp_path: Path) -> None:
    weights = random_state(GRAPH, 3).weights
    prefix = tmp_path / "model_salicon_cpu.ckpt"
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        variables = [v1.get_variable(name, initializer=value) for name, value in weights.items()]
        step = v1.train.get_or_create_global_step()
        loss = tf.add_n([tf.reduce_sum(variable**2) for variable in variables])
        train = v1.train.AdamOptimizer(1e-5).minimize(loss, step)
        session.run(v1.global_variables_initializer())
        session.run(train)
        expected = dict(zip(weights, session.run(variables), strict=True))
        v1.train.Saver().save(session, str(prefix))
    found = read_weights(prefix, GRAPH).state.weights
    assert found.keys() == weights.keys()
    for name, tensor in found.items():
        assert tensor.tobytes() == expected[name].tobytes()
    assert inspect(prefix).optimizer_step == 1
    assert inspect(prefix).unused == []


def test_several_data_files(tmp_path: Path) -> None:
    weights = dict(random_state(GRAPH, 4).weights)
    names = list(weights)
    parts = [tmp_path / f"part{number}" for number in range(3)]
    for number, part in enumerate(parts):
        save(part, {name: weights[name] for name in names[number::3]})
    prefix = tmp_path / "model.ckpt"
    tf.raw_ops.MergeV2Checkpoints(
        checkpoint_prefixes=[str(part) for part in parts], destination_prefix=str(prefix)
    )
    assert len(list(tmp_path.glob("model.ckpt.data-*-of-00003"))) == 3
    found = read_weights(prefix, GRAPH).state.weights
    for name, tensor in found.items():
        assert tensor.tobytes() == weights[name].tobytes()
    (tmp_path / "model.ckpt.data-00001-of-00003").unlink()
    with pytest.raises(CheckpointError, match=r"model\.ckpt\.data-00001-of-00003"):
        read_weights(prefix, GRAPH)


def test_an_index_of_several_blocks(tmp_path: Path) -> None:
    tensors = {
        f"{'long_name_' * 40}{number:04d}": np.float32([number, -number]) for number in range(3000)
    }
    prefix = tmp_path / "many.ckpt"
    save(prefix, tensors)
    rows = inspect(prefix).tensors
    assert {row.checksum for row in rows} == {"ok"}
    assert {row.name: row.max for row in rows} == {
        name: float(tensor[0]) for name, tensor in tensors.items()
    }


def test_a_large_tensor_has_its_checksum_verified(tmp_path: Path) -> None:
    tensor = np.random.default_rng(0).standard_normal((3, 3, 129, 257)).astype(np.float32)
    prefix = tmp_path / "large.ckpt"
    save(prefix, {"x/kernel": tensor})
    assert inspect(prefix).tensors[0].checksum == "ok"
    data = next(tmp_path.glob("large.ckpt.data-*"))
    content = bytearray(data.read_bytes())
    content[777_777] ^= 16
    data.write_bytes(content)
    assert inspect(prefix).tensors[0].checksum == "damaged"


def test_partitioned_variables_are_refused_by_name(tmp_path: Path) -> None:
    weights = dict(random_state(GRAPH, 0).weights)
    kernel = weights.pop("decoder/conv1/kernel")
    axes = " ".join(str(axis) for axis in kernel.shape)
    save(tmp_path / "whole", weights)
    save(tmp_path / "slice", {"decoder/conv1/kernel": kernel[:1]}, f"{axes} 0,1:-:-:-")
    prefix = tmp_path / "model.ckpt"
    tf.raw_ops.MergeV2Checkpoints(
        checkpoint_prefixes=[str(tmp_path / part) for part in ("whole", "slice")],
        destination_prefix=str(prefix),
    )
    with pytest.raises(CheckpointError, match="weights/decoder/conv1/kernel"):
        read_weights(prefix, GRAPH)


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16", "int32"])
def test_weights_of_another_type_are_refused_by_name(tmp_path: Path, dtype: str) -> None:
    weights = dict(random_state(GRAPH, 0).weights)
    bias = weights.pop("decoder/conv1/bias")
    weights["decoder/conv1/bias"] = tf.cast(bias, dtype).numpy()
    prefix = tmp_path / "model.ckpt"
    save(prefix, weights)
    with pytest.raises(CheckpointError, match=f"decoder/conv1/bias: .*{dtype}"):
        read_weights(prefix, GRAPH)


def test_a_checkpoint_of_tensorflow_2_objects_is_refused(tmp_path: Path) -> None:
    module = tf.Module()
    module.kernel = tf.Variable([1.0])
    prefix = tf.train.Checkpoint(model=module).write(str(tmp_path / "objects"))
    with pytest.raises(CheckpointError, match="TensorFlow 2 objects"):
        read_weights(Path(prefix), GRAPH)
