"""The conformance kit: right devices pass every row, each wrong one fails the row that names it."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys

import numpy as np
import pytest

from msinet_core import ops
from msinet_core.conformance import SCENARIOS, TOLERANCES, Scenario, prove, run
from msinet_core.conformance.__main__ import _table
from msinet_core.conformance.gradients import through
from msinet_core.conformance.report import Report, Result
from msinet_core.conformance.scenario import compare, compare_bits, compare_norms
from msinet_core.conformance.settings import SETTINGS
from msinet_core.device import PRECISIONS, Capabilities, Device, Model
from msinet_core.errors import UsageError
from msinet_core.loss import KLDivergence
from msinet_core.optimizer import Adam
from msinet_core.progress import Progress, Task
from msinet_core.reference import SPEC
from msinet_core.reference.device import ReferenceDevice, ReferenceModel, forward
from msinet_core.reference.layers import LAYER_BUILDERS
from msinet_core.reference.tape import Variable, record
from msinet_core.state import OptimizerState, State, new_optimizer_state


def failures(device, scenarios=SCENARIOS):
    return {row.id: row for row in prove(device, scenarios=scenarios).failed}


def group_of(row):
    """The scenarios beside that row: whole runs for each of many faults would take a minute."""
    return [s for s in SCENARIOS if s.id.split("/")[0] == row.split("/")[0]]


class FaultyDevice(ReferenceDevice):
    """The reference with one builder replaced, or another model."""

    def __init__(self, builders=None, model=ReferenceModel):
        super().__init__(SPEC)
        self._builders = {**LAYER_BUILDERS, **(builders or {})}
        self._model = model

    @property
    def layer_builders(self):
        return self._builders

    def build(self, graph, state, loss, optimizer):
        return self._model(self, graph, state, loss, optimizer)


def on(kind, change):
    """Replace an op's builder by `change(builder, op, inputs, parameters)`."""
    builder = LAYER_BUILDERS[kind]
    return FaultyDevice({kind: lambda op, inputs, roles: change(builder, op, inputs, roles)})


def with_attributes(kind, **attributes):
    """Ignore what the op says of some attributes."""
    return on(
        kind,
        lambda build, op, inputs, roles: build(
            dataclasses.replace(op, **attributes), inputs, roles
        ),
    )


def flipped(variable):
    return record(
        variable.value[:, ::-1, ::-1], [variable], lambda gradient: [gradient[:, ::-1, ::-1]]
    )


def scaled_gradient(variable, factor):
    return record(variable.value, [variable], lambda gradient: [gradient * factor])


# Faults in one op


def dilation_ignored():
    return with_attributes(ops.Conv2D, dilation=1)


def activation_forgotten():
    return with_attributes(ops.Conv2D, activation="linear")


def bias_dropped():
    return with_attributes(ops.Conv2D, use_bias=False)


def always_relu():
    return with_attributes(ops.Conv2D, activation="relu")


def half_pixel_resize():
    return with_attributes(ops.Resize, coordinates="half_pixel")


def half_pixel_resize_like():
    return with_attributes(ops.ResizeLike, coordinates="half_pixel")


def asymmetric_resize():
    return with_attributes(ops.Resize, coordinates="asymmetric")


def pool_padded_at_the_top():
    def change(build, op, inputs, roles):
        return flipped(build(op, [flipped(inputs[0])], roles))

    return on(ops.MaxPool2D, change)


def pool_padded_with_zeros():
    def change(build, op, inputs, roles):
        output = build(op, inputs, roles)
        if op.padding == "SAME":
            output.value[:, -1] = np.maximum(output.value[:, -1], 0)
            output.value[:, :, -1] = np.maximum(output.value[:, :, -1], 0)
        return output

    return on(ops.MaxPool2D, change)


def convolution_padded_at_the_top():
    def change(build, op, inputs, roles):
        kernel = {
            "kernel": record(
                roles["kernel"].value[::-1, ::-1],
                [roles["kernel"]],
                lambda gradient: [gradient[::-1, ::-1]],
            )
        }
        return flipped(build(op, [flipped(inputs[0])], {**roles, **kernel}))

    return on(ops.Conv2D, change)


def mean_order_reversed():
    def change(build, op, inputs, roles):
        return build(dataclasses.replace(op, mean=op.mean[::-1]), inputs, roles)

    return on(ops.SubtractMean, change)


def concat_order_reversed():
    return on(ops.Concat, lambda build, op, inputs, roles: build(op, inputs[::-1], roles))


def epsilon_missing():
    def change(build, op, inputs, roles):
        with np.errstate(invalid="ignore", divide="ignore"):
            value = inputs[0].value - inputs[0].value.min(axis=(1, 2, 3), keepdims=True)
            return Variable(value / value.max(axis=(1, 2, 3), keepdims=True), inputs[0].tape)

    return on(ops.MinMaxNormalize, change)


def normalized_over_the_batch():
    def change(build, op, inputs, roles):
        joined = record(
            inputs[0].value.reshape(1, -1, *inputs[0].value.shape[2:]),
            inputs,
            lambda gradient: [gradient.reshape(inputs[0].value.shape)],
        )
        output = build(op, [joined], roles)
        return record(
            output.value.reshape(inputs[0].value.shape),
            [output],
            lambda gradient: [gradient.reshape(joined.value.shape)],
        )

    return on(ops.MinMaxNormalize, change)


def gradient_off_by_a_factor(kind=ops.Conv2D):
    def change(build, op, inputs, roles):
        return build(op, [scaled_gradient(inputs[0], 1.01), *inputs[1:]], roles)

    return on(kind, change)


def bias_gradient_missing():
    def change(build, op, inputs, roles):
        stopped = {role: v if role == "kernel" else Variable(v.value) for role, v in roles.items()}
        return build(op, inputs, stopped)

    return on(ops.Conv2D, change)


def loss_summed_over_the_batch():
    def change(build, op, inputs, roles):
        losses = build(op, inputs, roles)
        return record(np.full_like(losses.value, losses.value.sum()), [losses], lambda g: [g])

    return on(KLDivergence, change)


def loss_epsilon_ignored():
    return with_attributes(KLDivergence, epsilon=1e-4)


def op_refused():
    def change(build, op, inputs, roles):
        raise UsageError("This device has no half-pixel resize.")

    return on(ops.Resize, change)


# Faults in the layout of kernels


class Relayouted(FaultyDevice):
    """Comes back bit-exact, yet computes with kernels in another order."""

    def __init__(self, change):
        super().__init__()
        self._change = change

    def to_native(self, parameter, tensor):
        return self._change(tensor) if parameter.role == "kernel" else tensor

    def to_canonical(self, parameter, tensor):
        return self.to_native(parameter, tensor)


def kernel_rows_and_columns_swapped():
    return Relayouted(lambda kernel: kernel.transpose(1, 0, 2, 3))


def kernel_channels_swapped_where_square():
    def change(kernel):
        return kernel.transpose(0, 1, 3, 2) if kernel.shape[2] == kernel.shape[3] else kernel

    return Relayouted(change)


def kernels_come_back_transposed():
    class Transposed(FaultyDevice):
        def to_canonical(self, parameter, tensor):
            return tensor.transpose(1, 0, 2, 3) if parameter.role == "kernel" else tensor

    return Transposed()


def weights_come_back_rounded():
    class Rounded(FaultyDevice):
        def to_canonical(self, parameter, tensor):
            return np.float32(np.float16(tensor))

    return Rounded()


# Faults in the model


class RowsAndColumnsSwapped(ReferenceModel):
    def predict(self, images):
        return super().predict(images.transpose(0, 2, 1, 3)).transpose(0, 2, 1, 3)


class BufferRead(ReferenceModel):
    """Reads the memory behind a view as if it were contiguous."""

    def predict(self, images):
        base = images if images.base is None else images.base
        return super().predict(base.ravel()[: images.size].reshape(images.shape))


class BufferReused(ReferenceModel):
    _buffers: dict = {}

    def predict(self, images):
        maps = super().predict(images)
        buffer = self._buffers.setdefault(maps.shape, np.empty_like(maps))
        buffer[...] = maps
        return buffer


class OneSize(ReferenceModel):
    """Compiled for the first shape; pads or cuts whatever comes later to it."""

    _size = None

    def predict(self, images):
        self._size = self._size or images.shape[1:3]
        return super().predict(np.resize(images, (len(images), *self._size, images.shape[-1])))


class OnlyFirstImage(ReferenceModel):
    def predict(self, images):
        return np.repeat(super().predict(images[:1]), len(images), axis=0)


class DoublePrecision(ReferenceModel):
    def predict(self, images):
        return super().predict(images).astype(np.float64)


class BatchesWeighAlike(ReferenceModel):
    def train_step(self, batches, learning_rate):
        smallest = min(len(batch.images) for batch in batches)
        cut = [type(b)(b.images[:smallest], b.maps[:smallest]) for b in batches]
        return super().train_step(cut, learning_rate)


class LastBatchOnly(ReferenceModel):
    def train_step(self, batches, learning_rate):
        return super().train_step(batches[-1:], learning_rate)


class LossAfterTheStep(ReferenceModel):
    def train_step(self, batches, learning_rate):
        super().train_step(batches, learning_rate)
        return float(np.mean(np.concatenate([self.eval_step(batch) for batch in batches])))


class FirstRateForever(ReferenceModel):
    _rate = None

    def train_step(self, batches, learning_rate):
        self._rate = self._rate or learning_rate
        return super().train_step(batches, self._rate)


class DefaultAdam(ReferenceModel):
    def __init__(self, device, graph, state, loss, optimizer):
        super().__init__(device, graph, state, loss, optimizer and Adam())


class EpsilonInsideTheCorrection(ReferenceModel):
    """Adam as PyTorch and Keras' documentation write it."""

    def train_step(self, batches, learning_rate):
        kept = self._optimizer
        correction = np.sqrt(1 - kept.beta_2 ** (self._moments.step + 1))
        self._optimizer = dataclasses.replace(kept, epsilon=float(kept.epsilon * correction))
        try:
            return super().train_step(batches, learning_rate)
        finally:
            self._optimizer = kept


class MomentsForgotten(ReferenceModel):
    def __init__(self, device, graph, state, loss, optimizer):
        super().__init__(device, graph, State(state.weights), loss, optimizer)


class StepForgotten(ReferenceModel):
    """Starts the bias correction anew."""

    def __init__(self, device, graph, state, loss, optimizer):
        memory = state.optimizer and dataclasses.replace(state.optimizer, step=0)
        super().__init__(device, graph, State(state.weights, memory), loss, optimizer)


class StaleState(ReferenceModel):
    """Reports the moments it was compiled with."""

    def __init__(self, device, graph, state, loss, optimizer):
        super().__init__(device, graph, state, loss, optimizer)
        self._first = state.optimizer or new_optimizer_state(state)

    def state(self):
        return State(super().state().weights, self._first)


class MomentsSwapped(ReferenceModel):
    def state(self):
        state = super().state()
        memory = state.optimizer
        return State(state.weights, OptimizerState(memory.step, memory.v, memory.m))


class EvaluationTrains(ReferenceModel):
    def eval_step(self, batch):
        losses = super().eval_step(batch)
        if self._optimizer:
            self.train_step([batch], 1e-3)
        return losses


class StateShared(ReferenceModel):
    """Hands out the arrays that it goes on training in place."""

    def state(self):
        self._shared = getattr(self, "_shared", None) or super().state()
        return self._shared

    def train_step(self, batches, learning_rate):
        loss = super().train_step(batches, learning_rate)
        for name, value in super().state().weights.items():
            self.state().weights[name][...] = value
        return loss


class SignLost(ReferenceModel):
    def train_step(self, batches, learning_rate):
        loss = super().train_step(batches, learning_rate)
        self._moments.m = {name: np.abs(m) for name, m in self._moments.m.items()}
        return loss


FAULTS = {
    dilation_ignored: "forward/convolution-dilation-12",
    activation_forgotten: "forward/convolution-3x3-same",
    bias_dropped: "forward/convolution-1x1",
    always_relu: "forward/convolution-linear",
    half_pixel_resize: "forward/resize-2-asymmetric",
    half_pixel_resize_like: "forward/resize-like-asymmetric",
    asymmetric_resize: "forward/resize-3-half-pixel",
    pool_padded_at_the_top: "forward/pool-strides-1-same",
    pool_padded_with_zeros: "forward/pool-strides-1-same",
    convolution_padded_at_the_top: "forward/convolution-2x2-same",
    mean_order_reversed: "forward/subtract-mean",
    concat_order_reversed: "forward/concat",
    epsilon_missing: "forward/normalization-constant",
    normalized_over_the_batch: "forward/batch-2",
    gradient_off_by_a_factor: "gradient/convolution-3x3-same",
    bias_gradient_missing: "gradient/convolution-1x1",
    loss_summed_over_the_batch: "loss/random",
    loss_epsilon_ignored: "loss/empty-predicted",
    op_refused: "forward/resize-2-half-pixel",
    kernel_rows_and_columns_swapped: "forward/convolution-3x3-same",
    kernel_channels_swapped_where_square: "forward/convolution-square-kernel",
    kernels_come_back_transposed: "weights/conversion",
    weights_come_back_rounded: "weights/come-back",
    RowsAndColumnsSwapped: "forward/convolution-3x3-same",
    BufferRead: "forward/transposed-images",
    BufferReused: "forward/many-sizes",
    OneSize: "forward/many-sizes",
    OnlyFirstImage: "forward/batch-3",
    DoublePrecision: "forward/convolution-1x1",
    BatchesWeighAlike: "gradient/accumulated",
    LastBatchOnly: "train/accumulated-loss",
    LossAfterTheStep: "train/four-losses",
    FirstRateForever: "adam/learning-rate",
    DefaultAdam: "adam/constants",
    EpsilonInsideTheCorrection: "adam/constants",
    MomentsForgotten: "weights/moments-come-back",
    StepForgotten: "adam/continued",
    StaleState: "adam/first-step",
    MomentsSwapped: "weights/moments-come-back",
    EvaluationTrains: "weights/only-steps-change-them",
    StateShared: "weights/state-is-a-copy",
    SignLost: "adam/first-step",
}


def test_the_reference_passes_every_row():
    report = run(SPEC)
    assert report.failed == ()
    assert report.passed
    assert [row.id for row in report.rows] == ["device/opens", *(s.id for s in SCENARIOS)]
    assert report.versions == {"numpy": np.__version__}


@pytest.mark.parametrize(
    ("fault", "row"), FAULTS.items(), ids=lambda item: getattr(item, "__name__", item)
)
def test_each_fault_fails_the_row_that_names_it(fault, row):
    is_model = isinstance(fault, type)
    failed = failures(FaultyDevice(model=fault) if is_model else fault(), group_of(row))
    assert row in failed
    assert failed[row].reason


def test_a_fault_leaves_the_rows_that_it_does_not_touch():
    failed = failures(dilation_ignored())
    assert {name for name in failed if name.startswith("forward/convolution")} == {
        "forward/convolution-dilation-2",
        "forward/convolution-dilation-4",
        "forward/convolution-dilation-4-valid",
        "forward/convolution-dilation-8",
        "forward/convolution-dilation-12",
        "forward/convolution-dilation-12-small",
    }
    assert "network/asymmetric" in failed
    assert not any(name.startswith(("adam/", "loss/", "weights/")) for name in failed)


@pytest.mark.parametrize(
    ("kind", "row"),
    [
        (ops.MaxPool2D, "gradient/pool-strides-1-same"),
        (ops.Resize, "gradient/resize-2-asymmetric"),
        (ops.ResizeLike, "gradient/resize-like-half-pixel"),
        (ops.GlobalMean, "gradient/global-mean"),
        (ops.Concat, "gradient/concat"),
        (ops.MinMaxNormalize, "gradient/normalization"),
        (ops.SubtractMean, "gradient/subtract-mean"),
    ],
)
def test_a_wrong_gradient_of_each_op_fails_its_row(kind, row):
    assert row in failures(gradient_off_by_a_factor(kind), group_of(row))


def rounded_to_bfloat16(value):
    bits = np.ascontiguousarray(value, np.float32).view(np.uint32).astype(np.uint64)
    bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
    return bits.astype(np.uint32).view(np.float32)


class Bfloat16Device(ReferenceDevice):
    """Rounds every input, weight, output and gradient of every op, but not those of the loss."""

    @property
    def layer_builders(self):
        def round_all(variables):
            return [self._round(variable) for variable in variables]

        def wrap(build):
            return lambda op, inputs, roles: self._round(
                build(
                    op, round_all(inputs), dict(zip(roles, round_all(roles.values()), strict=True))
                )
            )

        return {
            kind: build if kind is KLDivergence else wrap(build)
            for kind, build in LAYER_BUILDERS.items()
        }

    @staticmethod
    def _round(variable):
        value = rounded_to_bfloat16(variable.value)
        return record(value, [variable], lambda gradient: [rounded_to_bfloat16(gradient)])


def test_an_honest_bfloat16_device_passes_as_such_and_fails_as_float32():
    spec = dataclasses.replace(SPEC, capabilities=Capabilities(precisions=("bfloat16",)))
    honest = prove(Bfloat16Device(spec, "bfloat16"))
    assert honest.failed == ()
    assert honest.precision == "bfloat16"
    pretending = failures(Bfloat16Device(SPEC, "float32"))
    assert {"forward/convolution-3x3-same", "network/asymmetric", "gradient/network"} <= set(
        pretending
    )


class Lazy:
    """A result that is computed when it is read."""

    def __init__(self, compute):
        self._compute = compute

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self._compute(), dtype)

    def __float__(self):
        return float(self._compute())


class ForeignModel(Model):
    def __init__(self, device, graph, state, loss, optimizer):
        super().__init__(device, graph, loss, optimizer)
        self._inner = SPEC.open().compile(graph, state, loss=loss, optimizer=optimizer)

    def forward(self, images):
        maps = self._inner.predict(images)
        return Lazy(lambda: maps)

    def losses(self, batch):
        losses = self._inner.eval_step(batch)
        return Lazy(lambda: losses)

    def update(self, batches, learning_rate):
        loss = self._inner.train_step(batches, learning_rate)
        return Lazy(lambda: loss)

    def state(self):
        return self._inner.state()


class ForeignDevice(Device):
    """Knows only the public contract: other kernel layout, lazy results, its own classes."""

    @property
    def layer_builders(self):
        return LAYER_BUILDERS

    def build(self, graph, state, loss, optimizer):
        return ForeignModel(self, graph, state, loss, optimizer)


def test_a_device_of_another_layout_with_lazy_results_passes():
    spec = dataclasses.replace(SPEC, name="foreign", data_format="NCHW", kernel_layout="OIHW")
    report = prove(ForeignDevice(spec))
    assert report.failed == ()
    assert report.device == "foreign"


def test_rows_of_training_do_not_apply_to_a_device_that_only_predicts():
    class Predicts(ReferenceDevice):
        def build(self, graph, state, loss, optimizer):
            assert loss is None
            assert optimizer is None
            return super().build(graph, state, loss, optimizer)

    spec = dataclasses.replace(SPEC, capabilities=Capabilities(training=False))
    report = prove(Predicts(spec))
    assert report.passed
    skipped = {row.id for row in report.rows if row.passed is None}
    assert skipped == {scenario.id for scenario in SCENARIOS if scenario.training}
    assert {"weights/come-back", "network/asymmetric"}.isdisjoint(skipped)
    assert "does not train" in next(row.reason for row in report.rows if row.passed is None)


def test_a_device_that_does_not_open_has_one_failed_row():
    report = run(dataclasses.replace(SPEC, name="gone", factory="no_such_package:Device"))
    (row,) = report.rows
    assert (row.id, row.passed) == ("device/opens", False)
    assert "no_such_package" in row.reason
    assert not report.passed


def test_a_precision_that_is_not_offered_is_a_failed_row():
    report = run(SPEC, precision="bfloat16")
    assert [row.id for row in report.failed] == ["device/opens"]
    assert "does not compute in bfloat16" in report.failed[0].reason


def test_what_a_row_raises_is_its_reason():
    def check(subject):
        raise RuntimeError("out of memory")

    report = prove(SPEC.open(), scenarios=[Scenario("some/row", "A sentence.", check)])
    assert report.rows == (
        Result("some/row", "A sentence.", passed=False, reason="RuntimeError: out of memory"),
    )


def test_progress_is_told_of_every_row():
    class Counting(Progress):
        def task(self, description, total, unit="images"):
            counted.append((description, total, unit))
            return super().task(description, total, unit)

    counted = []
    prove(SPEC.open(), Counting(), SCENARIOS[:2])
    assert counted == [("checking reference", 2, "scenarios")]
    assert isinstance(Task(), Task)


def test_ids_are_unique_and_descriptions_are_sentences():
    ids = [scenario.id for scenario in SCENARIOS]
    assert len(set(ids)) == len(ids)
    for scenario in SCENARIOS:
        assert re.fullmatch(r"[a-z]+/[a-z0-9-]+", scenario.id)
        assert re.fullmatch(r"[A-Z].+\.", scenario.description), scenario.description


def test_every_op_is_checked_forward_and_backward():
    for setting in SETTINGS:
        assert {f"forward/{setting.id}", f"gradient/{setting.id}"} <= {s.id for s in SCENARIOS}
    used = {type(node.op) for setting in SETTINGS for node in through(setting).graph.nodes}
    assert used == set(ops.OPS.values())


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.id)
def test_gradients_are_compared_where_the_loss_is_smooth(setting):
    case = through(setting)
    maps = forward(case.graph, case.state.weights, case.images)
    assert maps.min() > 0.5 * maps.mean()
    assert maps.std() > 0


def test_there_are_tolerances_for_every_precision():
    assert set(TOLERANCES) == set(PRECISIONS)
    for name in ("op", "network", "gradient", "network_gradient", "loss", "steps", "update"):
        exact, coarse = (getattr(TOLERANCES[key], name) for key in ("float32", "bfloat16"))
        assert 0 < exact < coarse < 1


def test_the_report_as_json():
    rows = (
        Result("a/b", "Holds.", True, 1e-7, 1e-5),
        Result("a/c", "Holds too.", False, float("nan"), 1e-5, "The result is not finite."),
        Result("a/d", "Does not apply.", None, reason="not applicable"),
    )
    report = Report("some", "float32", 1.23456, rows, {"numpy": "2"})
    document = json.loads(report.to_json(), parse_constant=pytest.fail)  # no NaN in JSON
    assert document == {
        "device": "some",
        "precision": "float32",
        "passed": False,
        "seconds": 1.235,
        "versions": {"numpy": "2"},
        "rows": [
            {
                "id": "a/b",
                "description": "Holds.",
                "passed": True,
                "difference": 1e-7,
                "tolerance": 1e-5,
                "reason": "",
            },
            {
                "id": "a/c",
                "description": "Holds too.",
                "passed": False,
                "difference": None,
                "tolerance": 1e-5,
                "reason": "The result is not finite.",
            },
            {
                "id": "a/d",
                "description": "Does not apply.",
                "passed": None,
                "difference": None,
                "tolerance": None,
                "reason": "not applicable",
            },
        ],
    }
    table = _table(report)
    assert "FAILED a/c" in table
    assert "does NOT agree with the reference: 1 of 3 rows failed" in table


def test_a_report_of_nothing_has_not_passed():
    assert not Report("some", "float32", 0.0, ()).passed
    assert not Report("some", "float32", 0.0, (Result("a/b", "Holds.", None),)).passed


def test_comparisons_refuse_what_is_no_result():
    expected = np.ones((2, 3))
    good = expected.astype(np.float32)
    assert compare(good, expected, 1e-6).passed
    for wrong, reason in [
        (good[:1], "shape (1, 3), should have (2, 3)"),
        (expected, "float64, should be float32"),
        (good * np.nan, "6 values that are no numbers"),
        (good * np.inf, "6 values that are no numbers"),
        (good * np.float32(1.1), "is 1.1 at (0, 0), should be 1"),
    ]:
        outcome = compare(wrong, expected, 1e-6)
        assert not outcome.passed
        assert reason in outcome.reason


def test_norms_are_measured_by_a_share_of_the_largest():
    large, noise = np.ones(100, np.float32), np.full(1, 1e-6, np.float32)
    pairs = {"large": (large, large.astype(float)), "small": (noise, np.zeros(1))}
    assert compare_norms(pairs, 1e-5).passed
    assert not compare_norms(pairs, 1e-7).passed
    assert not compare_norms({**pairs, "other": (large * 2, large.astype(float))}, 0.5).passed


def test_bits_are_compared_beyond_equality():
    zero = np.zeros(3, np.float32)
    assert compare_bits({"zero": (zero, zero)}).passed
    outcome = compare_bits({"zero": (-zero, zero)})
    assert (outcome.difference, outcome.passed) == (3.0, False)
    assert not compare_bits({"zero": (zero.astype(np.float64), zero)}).passed


def conformance(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "msinet_core.conformance", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_process_of_its_own_prints_one_document():
    done = conformance("reference", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["device"] == "reference"
    assert document["passed"] is True
    assert len(document["rows"]) == len(SCENARIOS) + 1


def test_an_unknown_device_is_a_usage_error():
    done = conformance("refrence", "--json")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Did you mean 'reference'?" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_a_framework_prints_stays_out_of_the_document():
    code = (
        "import os\n"
        "from msinet_core.conformance.__main__ import _stdout_to_stderr\n"
        "with _stdout_to_stderr():\n"
        "    os.write(1, b'from C++')\n"
        "    print('from Python')\n"
        "print('ours')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "ours\n"
    assert "from C++" in done.stderr
    assert "from Python" in done.stderr
