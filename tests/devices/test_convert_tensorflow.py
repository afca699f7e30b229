"""TensorFlow and Keras read the files that msinet writes, and msinet reads theirs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from msinet_core import convert, inspect
from msinet_core.checkpoint import Checkpoint, read_weights
from msinet_core.checkpoint.native import save_checkpoint
from msinet_core.errors import CheckpointError
from msinet_core.network.msinet import msinet_graph
from msinet_core.network.state import OptimizerState, State
from msinet_core.reference import SPEC
from msinet_core.training.initial_weights import random_state

tf = pytest.importorskip("tensorflow")

GRAPH = msinet_graph(0.05)
WEIGHTS = {
    name: value if value.ndim == 4 else np.random.default_rng(7).normal(size=value.shape)
    for name, value in random_state(GRAPH, 3).weights.items()
}
WEIGHTS = {name: np.asarray(value, np.float32) for name, value in WEIGHTS.items()}
IMAGES = np.random.default_rng(1).uniform(0, 255, (2, 40, 56, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("original") / "original.msinet.h5"
    memory = OptimizerState(17, WEIGHTS, {name: value**2 for name, value in WEIGHTS.items()})
    save_checkpoint(path, Checkpoint(GRAPH, State(WEIGHTS, memory)))
    return path


@pytest.fixture(scope="module")
def expected() -> np.ndarray:
    return np.asarray(SPEC.open().compile(GRAPH, State(WEIGHTS)).predict(IMAGES))


def assert_weights(path: Path) -> None:
    found = read_weights(path, GRAPH).state.weights
    assert found.keys() == WEIGHTS.keys()
    for name, tensor in found.items():
        assert tensor.tobytes() == WEIGHTS[name].tobytes(), name


def test_tensorflow_reads_the_checkpoint_with_its_optimizer(tmp_path: Path, original: Path) -> None:
    convert(original, tmp_path / "model.ckpt")
    reader = tf.train.load_checkpoint(str(tmp_path / "model.ckpt"))
    shapes = reader.get_variable_to_shape_map()
    assert len(shapes) == 3 * 46 + 3
    for name, value in WEIGHTS.items():
        np.testing.assert_array_equal(reader.get_tensor(name), value)
        np.testing.assert_array_equal(reader.get_tensor(f"{name}/Adam"), value)
        np.testing.assert_array_equal(reader.get_tensor(f"{name}/Adam_1"), value**2)
    assert reader.get_tensor("global_step") == 17
    assert reader.get_tensor("beta1_power") == np.float32(0.9**18)


def test_a_saver_restores_it_and_training_goes_on(tmp_path: Path, original: Path) -> None:
    convert(original, tmp_path / "model.ckpt")
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        variables = [
            v1.get_variable(name, initializer=np.zeros_like(value))
            for name, value in WEIGHTS.items()
        ]
        step = v1.train.get_or_create_global_step()
        loss = tf.add_n([tf.reduce_sum(variable**2) for variable in variables])
        train = v1.train.AdamOptimizer(1e-5).minimize(loss, step)
        v1.train.Saver().restore(session, str(tmp_path / "model.ckpt"))
        session.run(train)
        assert session.run(step) == 18


def test_tensorflow_runs_the_frozen_graph(
    tmp_path: Path, original: Path, expected: np.ndarray
) -> None:
    convert(original, tmp_path / "model.pb")
    definition = tf.compat.v1.GraphDef()
    definition.ParseFromString((tmp_path / "model.pb").read_bytes())
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.import_graph_def(definition, name="")
        maps = session.run("output:0", {"input:0": IMAGES})
    np.testing.assert_allclose(maps, expected, atol=1e-5)


def test_tensorflow_loads_the_saved_model(
    tmp_path: Path, original: Path, expected: np.ndarray
) -> None:
    convert(original, tmp_path / "model", "savedmodel")
    loaded = tf.saved_model.load(str(tmp_path / "model"))
    maps = loaded.signatures["serving_default"](tf.constant(IMAGES))["output"]
    np.testing.assert_allclose(maps.numpy(), expected, atol=1e-5)


def test_keras_loads_the_model(tmp_path: Path, original: Path, expected: np.ndarray) -> None:
    path = tmp_path / "model.keras"
    convert(original, path)
    assert_weights(path)
    assert inspect(path).format == "keras"
    model = tf.keras.models.load_model(path)
    np.testing.assert_allclose(model.predict(IMAGES, verbose=0), expected, atol=1e-5)
    for target in ("again.keras", "again.weights.h5", "again.h5"):
        saved = tmp_path / target
        model.save_weights(saved) if "weights" in target else model.save(saved)
        assert_weights(saved)
    model.export(tmp_path / "exported", verbose=False)  # each variable under two names
    assert inspect(tmp_path / "exported").format == "savedmodel"
    assert_weights(tmp_path / "exported")


@pytest.mark.parametrize("name", ["keras", "keras2"])
def test_keras_loads_the_weights_by_its_own_order(
    tmp_path: Path, original: Path, expected: np.ndarray, name: str
) -> None:
    from msinet_core.checkpoint.names import flat_names
    from msinet_tensorflow.checkpoint import build_model

    path = tmp_path / ("w.weights.h5" if name == "keras" else "w.h5")
    convert(original, path, name)
    model = build_model(tf.keras, GRAPH, flat_names((node.name for node in GRAPH.nodes), "_"))
    model.load_weights(path)
    np.testing.assert_allclose(model.predict(IMAGES, verbose=0), expected, atol=1e-5)


def test_half_pixel_resizing_is_written_too(tmp_path: Path) -> None:
    graph = msinet_graph(0.05, "half_pixel")
    source = tmp_path / "half.msinet.h5"
    save_checkpoint(source, Checkpoint(graph, State(WEIGHTS)))
    expected = np.asarray(SPEC.open().compile(graph, State(WEIGHTS)).predict(IMAGES))
    convert(source, tmp_path / "half.keras")
    convert(source, tmp_path / "half", "savedmodel")
    model = tf.keras.models.load_model(tmp_path / "half.keras")
    np.testing.assert_allclose(model.predict(IMAGES, verbose=0), expected, atol=1e-5)
    loaded = tf.saved_model.load(str(tmp_path / "half"))
    maps = loaded.signatures["serving_default"](tf.constant(IMAGES))["output"]
    np.testing.assert_allclose(maps.numpy(), expected, atol=1e-5)


def published_graph(data_format: str) -> tf.Graph:
    """Build part of the network as the published code does: variables, then frozen."""
    v1 = tf.compat.v1
    graph = tf.Graph()
    with graph.as_default():
        x = v1.placeholder(tf.float32, (None, None, None, 3), name="input")
        if data_format == "NCHW":
            x = tf.transpose(x, (0, 3, 1, 2))
        outputs = []
        for name, value in WEIGHTS.items():
            layer, role = name.rsplit("/", 1)
            variable = v1.get_variable(name, initializer=value)
            if role == "kernel" and layer == "conv1/conv1_1":
                x = tf.nn.conv2d(x, variable, 1, "SAME", data_format=data_format, name=layer)
            outputs.append(tf.reduce_sum(variable))
        tf.add_n([tf.reduce_sum(x), *outputs], name="output")
    return graph


@pytest.mark.parametrize("data_format", ["NHWC", "NCHW"])
def test_published_frozen_graphs_are_read(tmp_path: Path, data_format: str) -> None:
    v1 = tf.compat.v1
    with published_graph(data_format).as_default() as graph, v1.Session() as session:
        session.run(v1.global_variables_initializer())
        frozen = v1.graph_util.convert_variables_to_constants(
            session, graph.as_graph_def(), ["output"]
        )
    path = tmp_path / "model_salicon_gpu.pb"
    path.write_bytes(frozen.SerializeToString())
    assert_weights(path)


def test_a_saved_model_with_constants_in_functions_is_read(tmp_path: Path) -> None:
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3), tf.float32)])
    def serve(images: tf.Tensor) -> tf.Tensor:
        total = tf.reduce_sum(images)
        for name, value in WEIGHTS.items():
            total += tf.reduce_sum(tf.constant(value, name=name))
        return total

    module.serve = serve
    tf.saved_model.save(module, str(tmp_path / "model"), {"serving_default": serve})
    assert_weights(tmp_path / "model")
    assert_weights(tmp_path / "model" / "saved_model.pb")


def test_a_saved_model_with_variables_is_read_by_their_names(tmp_path: Path) -> None:
    module = tf.Module()
    module.variables_of = [tf.Variable(value, name=name) for name, value in WEIGHTS.items()]
    slots = [tf.Variable(-value, name=f"Adam/m/{name}") for name, value in WEIGHTS.items()]
    module.optimizer = slots
    tf.saved_model.save(module, str(tmp_path / "model"))
    assert_weights(tmp_path / "model")
    assert_weights(tmp_path / "model" / "variables" / "variables")
    data = next((tmp_path / "model" / "variables").glob("variables.data-*"))
    data.write_bytes(data.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="variables"):
        read_weights(tmp_path / "model", GRAPH)
