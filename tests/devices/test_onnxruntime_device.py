"""The device onnxruntime: numbers, execution providers, sessions, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from msinet_core import Device, DeviceUnavailableError, KLDivergence, State, UsageError
from msinet_core.conformance.cases import Case
from msinet_core.network.msinet import msinet_graph
from msinet_core.reference import SPEC as REFERENCE
from msinet_onnxruntime import SPEC
from msinet_onnxruntime.providers import PROVIDERS, Provider

pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

PUBLISHED_SIZES = [(240, 320), (216, 384), (360, 360)]
AZURE = "AzureExecutionProvider"
"""It is in ONNX Runtime's CPU build, and computes no node of this network."""


@pytest.fixture
def device() -> Device:
    return SPEC.open()


def narrow(*shape: int) -> Case:
    return Case(msinet_graph(1 / 16), shape, low=0.0, high=255.0)


def reference_map(case: Case) -> np.ndarray:
    return np.asarray(REFERENCE.open().compile(case.graph, case.state).predict(case.images))


@pytest.mark.parametrize("size", PUBLISHED_SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_narrow_network_at_each_published_size(device: Device, size: tuple[int, int]) -> None:
    case = narrow(2, *size)
    maps = np.asarray(device.compile(case.graph, case.state).predict(case.images))
    assert maps.max() > 0.99
    np.testing.assert_allclose(maps, reference_map(case), rtol=0, atol=1e-4)


# --- execution providers -------------------------------------------------------------------------


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_provider_opens_if_this_build_has_it(name: str) -> None:
    provider = PROVIDERS[name]
    if provider.runtime_name in ort.get_available_providers():
        assert SPEC.open("float32", {"provider": name}).versions()
        return
    with pytest.raises(DeviceUnavailableError) as caught:
        SPEC.open("float32", {"provider": name})
    assert f"provider={name}" in str(caught.value) and provider.package in str(caught.value)


def test_every_choice_is_a_provider_and_the_runtime_knows_its_name() -> None:
    (option,) = SPEC.options
    assert option.choices == tuple(PROVIDERS)
    known = set(ort.get_all_providers())
    assert {provider.runtime_name for provider in PROVIDERS.values()} <= known


def test_the_cpu_never_takes_the_nodes_of_another_provider(device: Any) -> None:
    if AZURE not in ort.get_available_providers():
        pytest.skip(f"this build of ONNX Runtime has no {AZURE}")
    device.provider = Provider(AZURE, "onnxruntime")
    case = narrow(1, 16, 24)
    with pytest.raises(DeviceUnavailableError, match="CPU"):
        device.compile(case.graph, case.state).predict(case.images)


def test_nodes_that_another_provider_got_are_an_error(
    device: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if ONNX Runtime ignored the setting that forbids the CPU."""
    if not hasattr(ort.InferenceSession, "get_provider_graph_assignment_info"):
        pytest.skip("this ONNX Runtime does not report which provider got a node")
    if AZURE not in ort.get_available_providers():
        pytest.skip(f"this build of ONNX Runtime has no {AZURE}")

    class Ignoring(ort.SessionOptions):  # type: ignore[misc]
        def add_session_config_entry(self, key: str, value: str) -> None:
            if "fallback" not in key:
                super().add_session_config_entry(key, value)

    monkeypatch.setattr(ort, "SessionOptions", Ignoring)
    device.provider = Provider(AZURE, "onnxruntime")
    case = narrow(1, 16, 24)
    with pytest.raises(DeviceUnavailableError, match="CPUExecutionProvider"):
        device.compile(case.graph, case.state).predict(case.images)


def test_static_providers_compute_one_image_at_a_time(device: Any) -> None:
    device.provider = Provider("CPUExecutionProvider", "onnxruntime", static=True)
    case = narrow(3, 16, 24)
    maps = np.asarray(device.compile(case.graph, case.state).predict(case.images))
    np.testing.assert_allclose(maps, reference_map(case), rtol=0, atol=1e-4)


@pytest.mark.parametrize("static", [False, True])
def test_an_empty_batch_gives_no_maps(device: Any, static: bool) -> None:
    device.provider = Provider("CPUExecutionProvider", "onnxruntime", static=static)
    case = narrow(3, 16, 24)
    maps = np.asarray(device.compile(case.graph, case.state).predict(case.images[:0]))
    assert maps.shape == (0, 16, 24, 1)


# --- sessions and weights ------------------------------------------------------------------------


def test_each_size_has_one_session_for_batches_of_any_length(
    device: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[int] = []
    original = device.open_session
    monkeypatch.setattr(
        device, "open_session", lambda model: opened.append(len(model)) or original(model)
    )
    case = narrow(3, 16, 24)
    model = device.compile(case.graph, case.state)
    for count in (1, 3, 2, 1):
        assert np.asarray(model.predict(case.images[:count])).shape == (count, 16, 24, 1)
    assert len(opened) == 1
    for column in range(1, 6):
        model.predict(np.zeros((1, 8, 8 * column, 3), np.float32))
    assert len(opened) == 6
    model.predict(case.images)
    assert len(opened) == 7  # only the last four sizes are kept


def test_weights_are_copied(device: Device) -> None:
    case = narrow(1, 16, 24)
    weights = {name: value.copy() for name, value in case.state.weights.items()}
    model = device.compile(case.graph, State(weights))
    for value in weights.values():
        value[:] = 7
    maps = np.asarray(model.predict(case.images))
    np.testing.assert_allclose(maps, reference_map(case), rtol=0, atol=1e-4)
    for name, value in case.state.weights.items():
        np.testing.assert_array_equal(model.state().weights[name], value)


def test_it_refuses_to_train(device: Device) -> None:
    case = narrow(1, 16, 24)
    with pytest.raises(UsageError, match="onnxruntime"):
        device.compile(case.graph, case.state, loss=KLDivergence())


# --- commands ------------------------------------------------------------------------------------


def test_doctor_names_the_providers_and_a_missing_one(run: Any) -> None:
    result = run("--device", "onnxruntime", "doctor")
    assert result.exit_code == 0, result.output
    assert "CPUExecutionProvider" in result.output
    missing = next(
        name
        for name, provider in PROVIDERS.items()
        if provider.runtime_name not in ort.get_available_providers()
    )
    result = run("--device", "onnxruntime", "doctor", "-O", f"provider={missing}")
    assert result.exit_code == 1
    assert PROVIDERS[missing].package in result.output


def test_a_model_of_convert_predicts_a_folder(run: Any, tiny_data: Any, tmp_path: Any) -> None:
    from msinet_core.checkpoint import Checkpoint, save_checkpoint

    case = narrow(1, 16, 24)
    save_checkpoint(tmp_path / "narrow.msinet.h5", Checkpoint(case.graph, case.state))
    result = run("convert", "narrow.msinet.h5", "narrow.onnx", "--to", "onnxruntime", "--verify")
    assert result.exit_code == 0, result.output
    chosen = ("--device", "onnxruntime", "--image-size", "32x40", "--weights", "narrow.onnx")
    result = run("predict", tiny_data / "stimuli", *chosen, "--out", "maps")
    assert result.exit_code == 0, result.output
    assert len(list((tmp_path / "maps").rglob("*.jpeg"))) == 8
