"""The device mlx: numerics of single ops, what it refuses, memory limits, and whole commands."""

from __future__ import annotations

import bisect
import gc
import importlib
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from msinet_core import (
    Adam,
    Batch,
    Device,
    DeviceUnavailableError,
    GraphError,
    KLDivergence,
    MsinetError,
    UsageError,
    msinet_graph,
    ops,
)
from msinet_core.conformance.cases import narrow_network
from msinet_core.registry.doctor import examine
from msinet_mlx import SPEC

if TYPE_CHECKING:
    from tests.conftest import Run

mx = pytest.importorskip("mlx.core")
layers = importlib.import_module("msinet_mlx.layers")
doctor = importlib.import_module("msinet_mlx.doctor")
memory = importlib.import_module("msinet_mlx.memory")

DEFAULTS = {"memory": "auto", "cache": "auto", "wired": "off"}


@pytest.fixture(scope="module")
def mlx() -> Device:
    return SPEC.open()


# --- ops -----------------------------------------------------------------------------------------


def test_the_first_of_equal_maxima_gets_the_gradient(mlx: Device) -> None:
    pool = mlx.layer_builders[ops.MaxPool2D]

    def total(images: Any) -> Any:
        return pool(ops.MaxPool2D(), [images], {}).sum()

    gradient = np.asarray(mx.grad(total)(mx.ones((1, 2, 2, 1))))
    np.testing.assert_array_equal(gradient.ravel(), [1, 0, 0, 0])


def test_the_gradient_of_a_bias_is_summed_in_float32() -> None:
    features = mx.zeros((1, 240, 320, 1), mx.bfloat16)

    def total(bias: Any) -> Any:
        return layers.add_bias(features, bias).astype(mx.float32).sum()

    assert mx.grad(total)(mx.zeros(1)).item() == 240 * 320


def test_sums_over_whole_images_are_exact(mlx: Device) -> None:
    """One sum of all pixels is off by 1e-6 and more on a processor, and gradients by 1e-5."""
    random = np.random.default_rng(0)
    images = random.uniform(0, 1, (2, 240, 320, 4)).astype(np.float32)
    exact = images.mean(axis=(1, 2), dtype=np.float64)
    found = np.asarray(mlx.layer_builders[ops.GlobalMean](ops.GlobalMean(), [mx.array(images)], {}))
    np.testing.assert_allclose(found[:, 0, 0], exact, rtol=8e-7)
    normalize = mlx.layer_builders[ops.MinMaxNormalize]
    weights = random.uniform(0, 1, (1, 240, 320, 1)).astype(np.float32)

    def weighted(maps: Any) -> Any:
        return (normalize(ops.MinMaxNormalize(), [maps], {}) * mx.array(weights)).sum()

    maps = images[:1, :, :, :1]
    gradient = np.asarray(mx.grad(weighted)(mx.array(maps)))
    low, high = float(maps.min()), float(maps.max())
    shares = (maps.astype(np.float64) - low) / (high - low)
    expected = -float((weights * shares).sum(dtype=np.float64)) / (high - low)
    of_highest = gradient.ravel()[maps.argmax()] - weights.ravel()[maps.argmax()] / (high - low)
    assert of_highest == pytest.approx(expected, rel=1e-6)


def test_unknown_attribute_values_are_refused(mlx: Device) -> None:
    images = mx.zeros((1, 4, 4, 1))
    for op, name in (
        (ops.Resize(), "coordinates"),
        (ops.MaxPool2D(), "padding"),
        (ops.Conv2D(), "padding"),
        (ops.Conv2D(), "activation"),
    ):
        invalid = replace(op)
        object.__setattr__(invalid, name, "unknown")
        parameters = {"kernel": mx.zeros((1, 3, 3, 1)), "bias": mx.zeros(1)}
        with pytest.raises(GraphError, match=f"{type(op).__name__}.*{name}.*unknown"):
            mlx.layer_builders[type(op)](invalid, [images], parameters)


# --- the device ----------------------------------------------------------------------------------


def test_a_gpu_backend_without_a_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("msinet_mlx.device.backend", lambda: "mlx-cuda-12")
    monkeypatch.setattr(mx, "is_available", lambda device: False)
    with pytest.raises(DeviceUnavailableError, match="mlx-cuda-12"):
        SPEC.open()


def test_float32_is_not_rounded_to_tf32_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLX_ENABLE_TF32", "1")  # restored afterwards
    SPEC.open()
    assert os.environ["MLX_ENABLE_TF32"] == "0"
    SPEC.open(options={"tf32": "on"})
    assert os.environ["MLX_ENABLE_TF32"] == "1"


# --- memory --------------------------------------------------------------------------------------


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """The limits that MLX was given."""
    given: dict[str, int] = {}
    for name in ("memory", "cache", "wired"):
        monkeypatch.setattr(
            mx, f"set_{name}_limit", lambda size, name=name: given.update({name: size})
        )
    return given


MAC = {"memory_size": 64 * 2**30, "max_recommended_working_set_size": 48 * 2**30}


def test_the_default_limit_is_what_macos_recommends(limits: dict[str, int]) -> None:
    assert memory.set_limits(DEFAULTS, MAC) == 48 * 2**30
    assert limits == {"memory": 48 * 2**30, "cache": 48 * 2**30}


def test_memory_options_set_the_limits(
    limits: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.mac_ver", lambda: ("15.1", ("", "", ""), "arm64"))
    options = {"memory": "90%", "cache": "4GiB", "wired": "on"}
    assert memory.set_limits(options, MAC) == 64 * 2**30 * 9 // 10
    assert limits == {
        "memory": 64 * 2**30 * 9 // 10,
        "cache": 4 * 2**30,
        "wired": 48 * 2**30,  # MLX refuses more
    }


@pytest.mark.parametrize(("release", "system"), [("14.5", "macOS 14.5"), ("", "Linux")])
def test_wired_memory_needs_macos_15(
    limits: dict[str, int], monkeypatch: pytest.MonkeyPatch, release: str, system: str
) -> None:
    monkeypatch.setattr("platform.mac_ver", lambda: (release, ("", "", ""), ""))
    monkeypatch.setattr("platform.system", lambda: "Linux")
    with pytest.raises(UsageError, match=f"macOS 15.*{system}"):
        memory.set_limits({**DEFAULTS, "wired": "on"}, MAC)


def test_a_step_that_cannot_fit_is_refused(mlx: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    case = narrow_network()
    model = mlx.compile(case.graph, case.state, loss=KLDivergence(), optimizer=Adam())
    model.train_step([case.batch], 1e-4)
    monkeypatch.setattr(mlx, "memory_limit", 2**20)
    images = np.zeros((64, 80, 96, 3), np.float32)
    batch = Batch(images, images[..., :1])
    for step in (lambda: model.train_step([batch], 1e-4), lambda: model.predict(images)):
        with pytest.raises(MsinetError, match="64 images of 80x96"):
            step()


def test_memory_grows_with_images_and_precision() -> None:
    graph = msinet_graph(0.25)

    def least(count: int, itemsize: int, training: bool = True) -> int:
        """Return the smallest limit that is not refused."""

        def fits(limit: int) -> bool:
            try:
                memory.check_memory(graph, (count, 64, 64, 3), itemsize, training, limit)
            except MsinetError:
                return False
            return True

        return bisect.bisect_left(range(2**32), True, key=fits)

    fixed, one = 4 * 4 * graph.parameter_count, least(1, 4)
    assert least(2, 4) - fixed == 2 * (one - fixed)
    assert least(1, 2) - fixed == (one - fixed) // 2
    assert least(1, 4, training=False) < one


@pytest.mark.parametrize(
    "message",
    [
        "[METAL] Command buffer execution failed: Insufficient Memory (00000008)",
        "[metal::malloc] Resource limit (499000) exceeded.",
        "[malloc] Unable to allocate 99 bytes.",
    ],
)
def test_running_out_of_memory_gets_advice(message: str) -> None:
    with (
        pytest.raises(MsinetError, match="--batch-size"),
        memory.explain_exhaustion(),
    ):
        raise RuntimeError(message)


def test_other_errors_of_mlx_are_not_changed() -> None:
    with pytest.raises(RuntimeError, match="no such kernel"), memory.explain_exhaustion():
        raise RuntimeError("no such kernel")


# --- commands ------------------------------------------------------------------------------------


def test_doctor_describes_backend_and_memory() -> None:
    findings = {finding.title: finding for finding in examine(SPEC, {"precision": "bfloat16"})}
    assert "slow" in findings["backend"].detail
    assert "GiB of memory" in findings["backend"].detail
    assert not [finding for finding in findings.values() if finding.status == "problem"]


@pytest.mark.parametrize(
    ("precision", "tf32", "before", "after"),
    [
        ("float32", "off", None, None),
        ("float32", "on", None, "0"),
        ("bfloat16", "off", None, "0"),
        ("float16", "off", None, "0"),
        ("float16", "off", "1", "1"),
    ],
)
def test_winograd_convolutions_are_used_in_float32_alone(
    precision: str,
    tf32: str,
    before: str | None,
    after: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gc.collect()  # no device of another test is open
    monkeypatch.setenv("MLX_CONV_WINOGRAD", before or "")  # restored afterwards
    if before is None:
        del os.environ["MLX_CONV_WINOGRAD"]
    device = SPEC.open(precision, {"tf32": tf32})
    assert os.environ.get("MLX_CONV_WINOGRAD") == after
    SPEC.open("float32")  # the next device in this process
    assert os.environ.get("MLX_CONV_WINOGRAD") == after, "the first one may still compute"
    del device
    SPEC.open("float32")
    assert os.environ.get("MLX_CONV_WINOGRAD") == before


@pytest.mark.parametrize(("winograd", "status"), [(0.1, "problem"), (0.001, "ok")])
def test_doctor_measures_winograd_convolutions(
    winograd: float, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        doctor, "_convolution_error", lambda _, value: winograd if value == "1" else 1e-6
    )
    monkeypatch.setenv("MLX_CONV_WINOGRAD", "0")
    bfloat16 = SPEC.open("bfloat16")
    assert doctor.compare_winograd(bfloat16).status == "ok"  # it is disabled
    monkeypatch.setenv("MLX_CONV_WINOGRAD", "1")
    assert doctor.compare_winograd(bfloat16).status == status
    assert os.environ["MLX_CONV_WINOGRAD"] == "1"


def test_doctor_without_a_backend_gives_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("msinet_mlx.doctor.backend", lambda: None)
    findings = {finding.title: finding for finding in examine(SPEC, {})}
    assert findings["backend"].fix.endswith('[mlx]"')


def losses(run_folder: str) -> list[float]:
    rows = Path(run_folder, "steps.csv").read_text().splitlines()[1:]
    return [float(row.split(",")[2]) for row in rows]


def test_a_run_moves_between_devices_with_the_same_losses(run: Run, tiny_data: Path) -> None:
    settings = ["--data", str(tiny_data), "--init", "random", "--width", "0.04"]
    settings += ["--image-size", "32x40", "--batch-size", "2", "--learning-rate", "1e-3"]
    for arguments in (
        ["--device", "reference", "train", *settings, "--run", "stays", "--epochs", "3"],
        ["--device", "reference", "train", *settings, "--run", "moves", "--epochs", "1"],
        ["--device", "mlx", "train", "--resume", "--run", "moves", "--epochs", "2"],
        ["--device", "reference", "train", "--resume", "--run", "moves", "--epochs", "3"],
    ):
        result = run(*arguments)
        assert result.exit_code == 0, result.output
    assert len(losses("moves")) == 9
    np.testing.assert_allclose(losses("moves"), losses("stays"), rtol=1e-3)
