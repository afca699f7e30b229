"""Where a device raised, whose bug it is, and what to try."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from msinet_core.device import DeviceSpec
from msinet_core.errors import UsageError
from msinet_core.reference import SPEC
from msinet_core.registry.diagnosis import (
    advice,
    clear_locals,
    describe_failure,
    distributions_without_entry_point,
    failing_line,
    failure_message,
    plugin_fix,
)
from msinet_core.registry.plugin import LoadedPlugin, Plugin
from msinet_core.system import install_hints

LAYERS = """
import json

from msinet_core import UsageError


def concat(op):
    return json.loads(op)


def pool(op):
    raise UsageError("No such pool.")


def convolution(op):
    try:
        concat(op)
    except ValueError as error:
        raise UsageError("Not JSON.") from error


def probe():
    raise AssertionError


class Base:
    pass
"""
NPU = Plugin("npu", "npu_package", "msinet-device-npu", "1.0")
BUILT_IN = Plugin("npu", "npu_package", "msinet", "0.1.0")


@pytest.fixture
def layers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    package = tmp_path / "npu_package" / "deep"
    package.mkdir(parents=True)
    for file in (package.parent / "__init__.py", package / "__init__.py"):
        file.write_text("")
    (package.parent / "layers.py").write_text(LAYERS)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("", ".layers", ".deep"):
        monkeypatch.delitem(sys.modules, f"npu_package{name}", raising=False)
    import npu_package.layers as layers  # type: ignore[import-not-found]

    assert isinstance(layers, ModuleType)
    return layers


@pytest.fixture
def spec(layers: ModuleType) -> DeviceSpec:
    return DeviceSpec("npu", "x", "x", "npu_package.deep.device:Device", layers.probe, 1)


def raised(function: Callable[[str], object]) -> Exception:
    with pytest.raises(Exception) as caught:
        function("not JSON")
    return caught.value


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("concat", "layers.py, line 8, concat: JSONDecodeError: "),
        ("pool", "layers.py, line 12, pool: No such pool."),
        ("convolution", "layers.py, line 8, concat: UsageError: Not JSON."),
    ],
    ids=["a library raises", "one of our errors", "an error with a cause"],
)
def test_the_last_line_in_the_plugin_is_named(
    layers: ModuleType, spec: DeviceSpec, name: str, expected: str
) -> None:
    assert describe_failure(raised(getattr(layers, name)), spec).startswith(expected)


def test_the_packages_of_base_classes_belong_to_the_device(
    layers: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    heir = SimpleNamespace(Device=type("Device", (layers.Base,), {"__module__": "heir"}))
    monkeypatch.setitem(sys.modules, "heir", heir)  # type: ignore[arg-type]
    spec = DeviceSpec("npu", "x", "x", "heir:Device", lambda: SPEC.probe(), 1)
    assert failing_line(raised(layers.pool), spec, outside=False) == "layers.py, line 12, pool"


def test_a_line_of_a_library_is_named_if_none_is_the_plugins(
    layers: ModuleType, spec: DeviceSpec
) -> None:
    error = raised(layers.concat)
    assert failing_line(error, SPEC).startswith("decoder.py, line ")
    assert failing_line(error, SPEC, outside=False) == ""
    assert describe_failure(UsageError("Wrong."), spec) == "Wrong."


def test_the_frames_of_an_error_release_their_locals(layers: ModuleType) -> None:
    error = raised(layers.concat)
    assert error.__traceback__ is not None
    clear_locals(error)
    last = error.__traceback__.tb_next
    assert last is not None
    assert last.tb_frame.f_locals == {}


def test_a_failure_in_a_plugin_is_for_its_author(layers: ModuleType, spec: DeviceSpec) -> None:
    message = failure_message(raised(layers.concat), spec, NPU)
    for words in ("'npu'", "layers.py, line 8, concat", "JSONDecodeError", "msinet-device-npu 1.0"):
        assert words in message
    assert "author" in message
    assert "msinet-run plugins check npu" in message


def test_a_failure_in_a_built_in_device_is_ours(layers: ModuleType, spec: DeviceSpec) -> None:
    message = failure_message(raised(layers.concat), spec, BUILT_IN)
    assert "layers.py, line 8, concat" in message
    assert "MSINET_DEBUG=1" in message
    assert "author" not in message


def test_a_failure_elsewhere_is_ours_and_names_the_device(spec: DeviceSpec) -> None:
    message = failure_message(raised(json.loads), spec, NPU)
    assert "JSONDecodeError" in message
    assert "'npu'" in message
    assert "msinet-device-npu 1.0" in message
    assert "author" not in message


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("RESOURCE_EXHAUSTED: 4 GiB"),
        RuntimeError("OOM when making a tensor"),
        type("ResourceExhaustedError", (Exception,), {})("shape[1,2]"),
    ],
    ids=repr,
)
def test_running_out_of_memory_is_recognized(error: Exception) -> None:
    steps = ("--batch-size", "--accumulate", "--resume", "--precision", "--image-size")
    places = [advice(error, "npu").index(step) for step in steps]
    assert places == sorted(places)


@pytest.mark.parametrize("text", ["no such room", "boom", "the memory layout is NHWC"])
def test_other_failures_are_not_taken_for_it(text: str) -> None:
    assert "--batch-size" not in advice(RuntimeError(text), "npu")
    assert "plugins check npu" in advice(RuntimeError(text), "npu")


Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a distribution's metadata on the path."""
    monkeypatch.syspath_prepend(str(tmp_path))
    install_hints._origin.cache_clear()

    def write(entry_points: str, origin: object = None) -> None:
        folder = tmp_path / "msinet_device_npu-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text("Name: msinet-device-npu\nVersion: 1.0\n")
        (folder / "entry_points.txt").write_text(entry_points)
        if origin:
            (folder / "direct_url.json").write_text(json.dumps(origin))

    return write


@pytest.mark.parametrize(
    ("plugin", "origin", "mismatched", "expected"),
    [
        (NPU, None, False, ["pip install --upgrade msinet-device-npu", "PLUGINS=npu"]),
        (
            NPU,
            {"url": "file:///home/my%20npu", "dir_info": {"editable": True}},
            False,
            ["/home/my npu", "MSINET_DISABLE_PLUGINS=npu"],
        ),
        (NPU, None, True, ["MSINET_DISABLE_PLUGINS=npu"]),
        (Plugin("npu", "npu"), None, False, ["MSINET_PLUGINS"]),
    ],
    ids=["released", "editable", "other version", "from the variable"],
)
def test_the_fix_fits_how_the_plugin_was_installed(
    install: Install, plugin: Plugin, origin: object, mismatched: bool, expected: list[str]
) -> None:
    install("", origin)
    fix = plugin_fix(LoadedPlugin(plugin, problem="ImportError: no", mismatched=mismatched))
    assert all(words in fix for words in expected)
    assert ("pip install" in fix) is (expected[0].startswith("pip"))
    assert fix.endswith("msinet-run plugins list --traceback")


def test_a_plugin_that_works_needs_no_fix() -> None:
    assert plugin_fix(LoadedPlugin(NPU)) == ""


def test_a_package_with_a_misspelled_entry_point_is_named(install: Install) -> None:
    install("[msinet.device]\nnpu = msinet_device_npu\n")
    (line,) = (line for line in distributions_without_entry_point() if "npu" in line)
    assert "msinet-device-npu 1.0" in line
    assert "msinet.device." in line


def test_a_package_with_devices_is_not_named(install: Install) -> None:
    install("[msinet.devices]\nnpu = msinet_device_npu\n")
    assert not [line for line in distributions_without_entry_point() if "npu" in line]
