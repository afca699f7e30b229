"""Training on the device cpu: traces, memory, precision and refusals."""

from __future__ import annotations

import gc
import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from msinet_core.conformance.cases import Case, narrow_network
from msinet_core.device import Device, Model
from msinet_core.errors import DeviceUnavailableError, GraphError, UsageError
from msinet_core.network import ops
from msinet_core.network.adam import Adam
from msinet_core.network.loss import KLDivergence
from msinet_core.network.msinet import msinet_graph
from msinet_core.network.state import Batch, State
from msinet_cpu import SPEC

tf = pytest.importorskip("tensorflow")
layers = importlib.import_module("msinet_tensorflow.layers")

LOSS, OPTIMIZER = KLDivergence(), Adam()
NARROWEST = 1 / 16


@pytest.fixture(scope="module")
def cpu() -> Device:
    return SPEC.open()


@pytest.fixture(scope="module")
def case() -> Case:
    return narrow_network(count=3)


def trained(device: Device, case: Case, state: State | None = None) -> Model:
    return device.compile(case.graph, state or case.state, loss=LOSS, optimizer=OPTIMIZER)


def split(batch: Batch, *sizes: int) -> list[Batch]:
    edges = np.cumsum(sizes)[:-1]
    return [Batch(*pair) for pair in zip(*(np.split(part, edges) for part in batch), strict=True)]


# --- traces --------------------------------------------------------------------------------------


@pytest.fixture
def traces(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shape of the images each time that a step is traced anew."""
    shapes: list[tuple[int, ...]] = []
    subtract_mean: Callable[..., Any] = layers.TensorFlowLayers.subtract_mean

    def recorded(self: Any, op: Any, inputs: Any, parameters: Any) -> Any:
        shapes.append(tuple(inputs[0].shape))
        return subtract_mean(self, op, inputs, parameters)

    monkeypatch.setattr(layers.TensorFlowLayers, "subtract_mean", recorded)
    return shapes


def test_a_training_step_is_traced_once_for_each_shape(
    case: Case, traces: list[tuple[int, ...]]
) -> None:
    model = trained(SPEC.open(), case)
    first, rest = split(case.batch, 1, 2)
    for rate in (1e-4, 1e-5, 3e-6):
        model.train_step([rest], rate)
        model.train_step([first], rate)
    assert traces == [(2, 40, 56, 3), (1, 40, 56, 3)]


def test_accumulation_is_traced_once_for_each_shape(
    case: Case, traces: list[tuple[int, ...]]
) -> None:
    model = trained(SPEC.open(), case)
    for rate in (1e-4, 1e-5):
        model.train_step(split(case.batch, 1, 1, 1), rate)
    assert traces == [(1, 40, 56, 3)]


def test_prediction_and_evaluation_are_traced_once_for_each_shape(
    case: Case, traces: list[tuple[int, ...]]
) -> None:
    model = trained(SPEC.open(), case)
    for scale in (1.0, 0.5):
        model.predict(case.images * np.float32(scale))
        model.eval_step(case.batch)
    model.predict(case.images[:, :32])
    assert traces == [(3, 40, 56, 3), (3, 40, 56, 3), (3, 32, 56, 3)]


# --- state ---------------------------------------------------------------------------------------


def assert_same_bits(one: State, other: State) -> None:
    assert one.optimizer is not None and other.optimizer is not None
    assert one.optimizer.step == other.optimizer.step
    for first, second in (
        (one.weights, other.weights),
        (one.optimizer.m, other.optimizer.m),
        (one.optimizer.v, other.optimizer.v),
    ):
        assert first.keys() == second.keys()
        for name in first:
            assert first[name].dtype == np.float32
            np.testing.assert_array_equal(first[name], second[name], err_msg=name)


@pytest.mark.parametrize("precision", SPEC.capabilities.precisions)
def test_state_comes_back_to_the_last_bit(case: Case, precision: str) -> None:
    device = SPEC.open(precision)
    model = trained(device, case)
    model.train_step([case.batch], 1e-3)
    state = model.state()
    assert_same_bits(trained(device, case, state).state(), state)


def test_training_continues_from_a_state_with_the_same_losses(cpu: Device, case: Case) -> None:
    model = trained(cpu, case)
    batches = split(case.batch, 1, 1, 1)
    for batch in batches:
        model.train_step([batch], 1e-3)
    resumed = trained(cpu, case, model.state())
    for batch in batches:
        assert float(resumed.train_step([batch], 1e-3)) == float(model.train_step([batch], 1e-3))
    assert_same_bits(resumed.state(), model.state())


def test_the_state_given_stays_as_it_was(cpu: Device, case: Case) -> None:
    before = {name: values.copy() for name, values in case.state.weights.items()}
    model = trained(cpu, case)
    model.train_step([case.batch], 1e-2)
    after = model.state()
    kept = {name: values.copy() for name, values in after.weights.items()}
    model.train_step([case.batch], 1e-2)
    for name, values in before.items():
        np.testing.assert_array_equal(case.state.weights[name], values, err_msg=name)
        np.testing.assert_array_equal(after.weights[name], kept[name], err_msg=name)
    assert not np.array_equal(after.weights["conv1/conv1_1/kernel"], before["conv1/conv1_1/kernel"])


def test_a_model_for_prediction_has_no_optimizer_state(cpu: Device, case: Case) -> None:
    state = trained(cpu, case).state()
    assert state.optimizer is not None
    assert cpu.compile(case.graph, state).state().optimizer is None


# --- accumulation --------------------------------------------------------------------------------


def test_accumulation_equals_the_joint_batch(cpu: Device, case: Case) -> None:
    joint, accumulated = trained(cpu, case), trained(cpu, case)
    for _ in range(3):
        whole = float(joint.train_step([case.batch], 1e-4))
        parts = float(accumulated.train_step(split(case.batch, 1, 2), 1e-4))
        assert parts == pytest.approx(whole, rel=1e-5)


def test_the_sums_of_gradients_are_freed_with_their_model() -> None:
    case = narrow_network()
    model = trained(SPEC.open(), case)
    float(model.train_step([case.batch, case.batch], 1e-4))
    sums = list(model._accumulated.values())
    del model
    gc.collect()
    trained(SPEC.open(), case)  # frees what deleted models leave behind
    assert [tuple(tf.shape(value.read_value()).numpy()) for value in sums] == [()] * len(sums)


def test_accumulation_forgets_a_step_that_was_interrupted(cpu: Device, case: Case) -> None:
    model, undisturbed = trained(cpu, case), trained(cpu, case)
    first, rest = split(case.batch, 1, 2)
    wrong = Batch(rest.images, rest.maps[:, :-1])
    with pytest.raises(UsageError, match="maps"):
        model.train_step([first, wrong], 1e-3)
    for one in (model, undisturbed):
        one.train_step([first, rest], 1e-3)
    assert_same_bits(model.state(), undisturbed.state())


def test_batches_without_images_do_not_count(cpu: Device, case: Case) -> None:
    model = trained(cpu, case)
    empty = Batch(case.images[:0], case.batch.maps[:0])
    expected = float(trained(cpu, case).train_step([case.batch], 1e-4))
    assert float(model.train_step([empty, case.batch], 1e-4)) == expected


# --- precision -----------------------------------------------------------------------------------


def test_bfloat16_gives_nearly_the_same_map() -> None:
    case = Case(msinet_graph(0.25), (1, 96, 128), low=0.0, high=255.0)
    maps = [
        np.asarray(SPEC.open(precision).compile(case.graph, case.state).predict(case.images))
        for precision in ("float32", "bfloat16")
    ]
    assert maps[1].dtype == np.float32
    assert not np.array_equal(maps[0], maps[1])
    assert np.corrcoef(maps[0].ravel(), maps[1].ravel())[0, 1] > 0.999


def test_bfloat16_gives_float32_whatever_the_last_op_is() -> None:
    graph = msinet_graph(NARROWEST).between("input", "pool4")
    case = Case(graph, (1, 16, 16), low=0.0, high=255.0)
    features = SPEC.open("bfloat16").compile(graph, case.state).predict(case.images)
    assert np.asarray(features).dtype == np.float32


def test_bfloat16_sums_the_gradient_of_a_bias_in_float32() -> None:
    bias = tf.zeros(1, tf.bfloat16)
    with tf.GradientTape() as tape:
        tape.watch(bias)
        builders = layers.TensorFlowLayers(tf.bfloat16)
        features = builders.add_bias(tf.zeros((1, 240, 320, 1), tf.bfloat16), bias)
    assert float(tape.gradient(features, bias)[0]) == 240 * 320


def test_a_precision_without_kernels_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def conv2d(*arguments: Any) -> Any:
        raise tf.errors.UnimplementedError(None, None, "no such kernel")

    monkeypatch.setattr(tf.nn, "conv2d", conv2d)
    with pytest.raises(UsageError, match=r"bfloat16.*no such kernel"):
        SPEC.open("bfloat16")


def test_a_precision_with_wrong_kernels_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    conv2d = tf.nn.conv2d
    monkeypatch.setattr(tf.nn, "conv2d", lambda *given: 2 * conv2d(*given))
    with pytest.raises(UsageError, match=r"bfloat16.*\[8\.0"):
        SPEC.open("bfloat16")


def test_float16_is_not_offered() -> None:
    with pytest.raises(UsageError, match="float16"):
        SPEC.open("float16")


# --- refusals ------------------------------------------------------------------------------------


def test_unknown_attribute_values_are_refused(cpu: Device) -> None:
    images = tf.zeros((1, 4, 4, 1))
    for op, name in (
        (ops.Resize(), "coordinates"),
        (ops.MaxPool2D(), "padding"),
        (ops.Conv2D(), "padding"),
        (ops.Conv2D(), "activation"),
    ):
        unheard = replace(op)
        object.__setattr__(unheard, name, "unheard_of")
        parameters = {"kernel": tf.zeros((3, 3, 1, 1)), "bias": tf.zeros(1)}
        with pytest.raises(GraphError, match=f"{type(op).__name__}.*{name}.*unheard_of"):
            cpu.layer_builders[type(op)](unheard, [images], parameters)


def test_weights_of_another_network_are_refused(cpu: Device, case: Case) -> None:
    with pytest.raises(GraphError, match="conv1/conv1_1/kernel"):
        cpu.compile(msinet_graph(NARROWEST * 2), case.state)


def test_training_without_a_loss_is_refused(cpu: Device, case: Case) -> None:
    with pytest.raises(UsageError, match="loss"):
        cpu.compile(case.graph, case.state, optimizer=OPTIMIZER)


def test_steps_that_a_model_was_not_compiled_for_are_refused(cpu: Device, case: Case) -> None:
    with pytest.raises(UsageError, match="loss"):
        cpu.compile(case.graph, case.state).eval_step(case.batch)
    with pytest.raises(UsageError, match="optimizer"):
        cpu.compile(case.graph, case.state, loss=LOSS).train_step([case.batch], 1e-3)
    with pytest.raises(UsageError, match="image"):
        trained(cpu, case).train_step([], 1e-3)


def test_images_of_another_shape_are_refused(cpu: Device, case: Case) -> None:
    with pytest.raises(GraphError, match="3 channels"):
        cpu.compile(case.graph, case.state).predict(case.images[..., :1])


# --- the process ---------------------------------------------------------------------------------


def test_gpus_are_hidden(cpu: Device) -> None:
    assert tf.config.get_visible_devices("GPU") == []


def test_a_gpu_that_can_no_longer_be_hidden_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def in_use(devices: list[Any], kind: str) -> None:
        raise RuntimeError("Visible devices cannot be modified after being initialized")

    monkeypatch.setattr(tf.config, "set_visible_devices", in_use)
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: ["GPU:0"])
    with pytest.raises(DeviceUnavailableError, match=r"'cpu'.*GPU"):
        SPEC.open()


PREDICT = """
import numpy as np
from msinet_core.conformance.cases import narrow_network
from msinet_core.network.loss import KLDivergence
from msinet_core.network.adam import Adam
from msinet_cpu import SPEC
case = narrow_network()
model = SPEC.open().compile(case.graph, case.state, loss=KLDivergence(), optimizer=Adam())
model.train_step([case.batch], 1e-3)
print(np.asarray(model.predict(case.images)).shape)
"""


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=True,
    )


def test_the_terminal_stays_clean_and_keras_is_not_needed() -> None:
    done = run_python(f"import sys\nsys.modules['keras'] = None\n{PREDICT}")
    assert done.stdout == "(2, 40, 56, 1)\n"
    assert done.stderr == ""


def test_tensorflows_log_setting_is_respected() -> None:
    assert "oneDNN" in run_python(PREDICT, TF_CPP_MIN_LOG_LEVEL="0").stderr


def test_messages_are_shown_when_the_import_fails() -> None:
    code = (
        "import os\nfrom msinet_tensorflow.loading import suppress_native_stderr\n"
        "with suppress_native_stderr():\n"
        "    os.write(2, b'from native code'); raise SystemExit(0)"
    )
    assert run_python(code).stderr == "from native code"
    closed = "import sys; sys.stderr = None\n" + code
    assert run_python(closed).stderr == "from native code"


@pytest.mark.slow
def test_dilated_convolutions_train_without_onednn() -> None:
    """As on a Mac, whose TensorFlow has no gradient of a dilated convolution."""
    code = (
        "from msinet_core.conformance.runner import run\n"
        "from msinet_core.conformance.scenarios import SCENARIOS\n"
        "from msinet_cpu import SPEC\n"
        "from msinet_cpu.layers import dilation_has_gradient\n"
        "assert not dilation_has_gradient('float32')\n"
        "wanted = [row for row in SCENARIOS if 'dilation' in row.id or 'network' in row.id]\n"
        "report = run(SPEC, scenarios=wanted)\n"
        "print(len(report.rows) > 10, report.failed)"
    )
    assert run_python(code, TF_ENABLE_ONEDNN_OPTS="0").stdout == "True ()\n"
