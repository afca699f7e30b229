"""Metal's graphs, computed on the processor: their results, and the placement of their ops.

On a Mac, ``msinet-run devices --check`` tests the GPU itself.
"""

from __future__ import annotations

import platform
from types import SimpleNamespace

import numpy as np
import pytest

import msinet_metal_nhwc.doctor
from msinet_core.conformance.cases import narrow_network
from msinet_core.conformance.checker import Checker
from msinet_core.conformance.scenario import Scenario, Subject
from msinet_core.conformance.scenarios import SCENARIOS
from msinet_core.device import Availability, DeviceSpec, Probe, Program
from msinet_core.errors import DeviceUnavailableError, GraphError, UsageError
from msinet_core.network import ops
from msinet_core.network.adam import Adam
from msinet_core.network.loss import KLDivergence
from msinet_core.reference import SPEC as REFERENCE
from msinet_metal_nhwc import SPEC
from msinet_tensorflow.versions import check_versions
from tests.faults.check import check_device

tf = pytest.importorskip("tensorflow")

from msinet_cpu.layers import dilation_has_gradient  # noqa: E402  -- imports TensorFlow
from msinet_metal_nhwc.device import GPU, MetalDevice, NhwcDevice  # noqa: E402  -- imports TensorFlow
from msinet_metal_nhwc.layers import MetalLayers  # noqa: E402


class ForThisProcessor(MetalLayers):
    """Metal's builders, with dilated convolutions that every processor can train in 16 bits."""

    def convolve(self, op, images, kernel):
        if op.dilation == 1:
            return super().convolve(op, images, kernel)
        return tf.nn.atrous_conv2d(images, kernel, op.dilation, op.padding)


class HalfDevice(NhwcDevice):
    layers_class = ForThisProcessor


# --- what is computed ----------------------------------------------------------------------------

WHERE_METAL_DIFFERS = ("resize", "network", "bias", "four-losses", "accumulated")
"""The rows that run Metal's own builders; the other builders are proven with the device `cpu`."""


def differs(row: Scenario) -> bool:
    return any(word in row.id for word in WHERE_METAL_DIFFERS)


ROWS = [
    pytest.param(row, id=row.id, marks=() if differs(row) else pytest.mark.slow)
    for row in SCENARIOS
    # How a model is used is tested on `cpu`, whose model this shares; each shape is traced anew.
    if not (row.missing(SPEC) or row.slow or row.group in ("calls", "use", "memory"))
]


@pytest.fixture(scope="module")
def checker() -> Checker:
    return Checker(Subject(SPEC, NhwcDevice(SPEC)))


@pytest.mark.parametrize("row", ROWS)
def test_row_of_the_kit_in_float32(checker: Checker, row: Scenario) -> None:
    result = checker.result(row)
    if result.status == "not applicable":
        pytest.skip(result.reason)
    assert result.passed, f"{result.reason} ({result.difference} of {result.tolerance})"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("precision", "factory"),
    [
        ("bfloat16", NhwcDevice if dilation_has_gradient(tf.bfloat16) else HalfDevice),
        ("float16", HalfDevice),
    ],
)
def test_rows_where_metal_differs_in_16_bits(precision: str, factory) -> None:
    report = check_device(factory(SPEC, precision), scenarios=list(filter(differs, SCENARIOS)))
    assert len(report.rows) >= 10
    assert [(row.id, row.reason, row.difference) for row in report.failed] == []


def test_four_steps_of_training_have_the_references_losses() -> None:
    case = narrow_network(count=3)
    losses = []
    for device in (NhwcDevice(SPEC), REFERENCE.open()):
        model = device.compile(case.graph, case.state, loss=KLDivergence(), optimizer=Adam())
        losses.append([float(model.train_step([case.batch], 1e-3)) for _ in range(4)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert losses[0][3] < losses[0][0]


# --- the resize ----------------------------------------------------------------------------------

SIZES = [(2, (14, 22)), (3, (21, 33)), (4, (28, 44)), (None, (7, 11)), (None, (10, 30))]


@pytest.mark.parametrize("half_pixel", [False, True], ids=["asymmetric", "half_pixel"])
@pytest.mark.parametrize("size", [size for _, size in SIZES], ids=str)
def test_resize_and_its_gradient_are_tensorflows(size: ops.Size, half_pixel: bool) -> None:
    random = np.random.default_rng(5)
    images = tf.constant(random.standard_normal((2, 7, 11, 3)), tf.float32)
    upstream = tf.constant(random.standard_normal((2, *size, 3)), tf.float32)
    op = ops.ResizeLike("half_pixel" if half_pixel else "asymmetric")
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(images)
        ours = MetalLayers(tf.float32).resize_bilinear(op, images, size)
        theirs = tf.raw_ops.ResizeBilinear(images=images, size=size, half_pixel_centers=half_pixel)
        products = [tf.reduce_sum(resized * upstream) for resized in (ours, theirs)]
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=5e-6)
    gradients = [tape.gradient(product, images) for product in products]
    np.testing.assert_allclose(*gradients, rtol=0, atol=5e-6)


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (4, 1)], ids=str)
def test_resize_of_a_single_pixel_repeats_it(shape: ops.Size) -> None:
    images = tf.constant(np.arange(24 / 4 * shape[0] * shape[1]).reshape(2, *shape, 3), tf.float16)
    op = ops.ResizeLike("half_pixel")
    resized = MetalLayers(tf.float16).resize_bilinear(op, images, (8, 8))
    reference = tf.raw_ops.ResizeBilinear(
        images=tf.cast(images, tf.float32), size=(8, 8), half_pixel_centers=True
    )
    np.testing.assert_allclose(tf.cast(resized, tf.float32), reference, rtol=1e-3)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_resize_by_two_stays_in_16_bits(dtype: str) -> None:
    images = tf.cast(tf.reshape(tf.range(24.0), (1, 2, 4, 3)), dtype)
    resized = MetalLayers(tf.as_dtype(dtype)).resize_bilinear(ops.Resize(2), images, (4, 8))
    assert resized.dtype == dtype
    np.testing.assert_array_equal(tf.cast(resized[0, 1, :, 0], tf.float32)[:3], [6, 7.5, 9])


def test_resize_refuses_unknown_coordinates() -> None:
    op = ops.Resize(2)
    object.__setattr__(op, "coordinates", "align_corners")
    with pytest.raises(GraphError, match="coordinates='align_corners'"):
        MetalLayers(tf.float32).builders()[ops.Resize](op, [tf.zeros((1, 2, 2, 1))], {})


# --- where it is computed ------------------------------------------------------------------------


def test_every_op_of_every_step_has_a_placement() -> None:
    case = narrow_network()
    device = NhwcDevice(SPEC, "float16")
    model = device.build(Program(case.graph, case.state, KLDivergence(), Adam()))
    steps = model.concrete_steps((1, 40, 56, 3))
    assert set(steps) == {"predict", "evaluate", "train", "accumulate", "finish"}
    for name, step in steps.items():
        inputs = {tensor.op.name for tensor in step.graph.inputs}
        # A variable is read where it is; the last two wrap a function's result.
        elsewhere = {
            op.type
            for op in step.graph.get_operations()
            if op.name not in inputs and op.device != "/device:CPU:0"
        }
        assert elsewhere <= {"ReadVariableOp", "Identity", "NoOp"}, name
        assert step.function_def.attr["_XlaMustCompile"].b is False


def test_metal_does_not_open_without_a_mac() -> None:
    if SPEC.probe().ready:
        pytest.skip("this is a Mac with metal")
    with pytest.raises(DeviceUnavailableError, match="'metal'"):
        SPEC.open()


READY = Probe(Availability.INSTALLED)


@pytest.fixture
def mac(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The GPUs that TensorFlow seems to have on a Mac, and the settings that it received."""
    gpu = SimpleNamespace(name="/physical_device:GPU:0", device_type="GPU")
    seen = SimpleNamespace(gpus=[gpu], visible=[gpu], growing=[], soft=None, release="15.4")
    seen.rewriting = {}
    config = tf.config
    monkeypatch.setattr(config, "list_physical_devices", lambda kind: seen.gpus)
    monkeypatch.setattr(config, "get_visible_devices", lambda kind: seen.visible)
    monkeypatch.setattr(
        config.experimental, "set_memory_growth", lambda gpu, grows: seen.growing.append(gpu)
    )
    monkeypatch.setattr(
        config, "set_soft_device_placement", lambda enabled: setattr(seen, "soft", enabled)
    )
    monkeypatch.setattr(config.optimizer, "set_experimental_options", seen.rewriting.update)
    monkeypatch.setattr(platform, "mac_ver", lambda: (seen.release, ("", "", ""), "arm64"))
    return seen


def spec_of_a_mac() -> DeviceSpec:
    return DeviceSpec(
        name="metal",
        summary=SPEC.summary,
        framework=SPEC.framework,
        factory=SPEC.factory,
        probe=lambda: READY,
        api_version=1,
        capabilities=SPEC.capabilities,
    )


def test_on_a_mac_memory_grows_and_nothing_is_placed_elsewhere(mac: SimpleNamespace) -> None:
    device = spec_of_a_mac().open()
    assert isinstance(device, MetalDevice)
    assert device.placement == GPU == "/GPU:0"
    assert mac.growing == mac.gpus
    assert mac.soft is False
    assert mac.rewriting == dict.fromkeys(
        ("layout_optimizer", "remapping", "use_plugin_optimizers"), False
    )
    assert device.jit_compile is False


def test_on_the_processor_no_setting_changes(mac: SimpleNamespace) -> None:
    NhwcDevice(spec_of_a_mac())
    assert (mac.growing, mac.soft, mac.rewriting) == ([], None, {})


def test_a_gpu_in_use_can_be_opened(mac: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    def in_use(gpu, grows):
        raise RuntimeError("Physical devices cannot be modified after being initialized")

    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", in_use)
    assert spec_of_a_mac().open().placement == GPU
    assert mac.soft is False


def test_without_a_gpu_it_does_not_open(mac: SimpleNamespace) -> None:
    mac.gpus = mac.visible = []
    with pytest.raises(DeviceUnavailableError, match="pip install --force-reinstall"):
        spec_of_a_mac().open()


def test_with_a_hidden_gpu_it_does_not_open(mac: SimpleNamespace) -> None:
    mac.visible = []
    with pytest.raises(DeviceUnavailableError, match=r"'metal'.*hid.*process"):
        spec_of_a_mac().open()


def test_bfloat16_needs_macos_14(mac: SimpleNamespace) -> None:
    mac.release = "13.6.1"
    with pytest.raises(UsageError, match=r"macOS 14 .*bfloat16.*macOS 13\.6\.1"):
        spec_of_a_mac().open("bfloat16")
    assert spec_of_a_mac().open("float16").precision == "float16"


def test_an_incompatible_pair_is_refused_before_the_import(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = {"tensorflow": "2.21.0", "tensorflow-metal": "1.2.0"}
    monkeypatch.setattr("msinet_core.hardware.distribution_version", found.get)
    with pytest.raises(DeviceUnavailableError, match=r"tensorflow-metal 1\.2\.0"):
        check_versions()
    findings = list(msinet_metal_nhwc.doctor.examine(SPEC, {}))
    assert [(item.title, item.status) for item in findings] == [("kernel audit", "problem")]
    assert findings[-1].fix == 'pip install "tensorflow>=2.18,<2.20"'


def test_doctor_without_tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("msinet_core.hardware.distribution_version", lambda name: None)
    findings = list(msinet_metal_nhwc.doctor.examine(SPEC, {}))
    assert (findings[-1].title, findings[-1].status) == ("kernel audit", "note")
    assert findings[-1].fix == 'pip install "msinet[cpu]"'
