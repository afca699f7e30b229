"""What nobody foresaw is laid at the right door."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from msinet_core.device import DeviceSpec
from msinet_core.registry.diagnosis import advice, failure_message
from msinet_core.registry.loader import Plugin

LAYERS = """
class Npu:
    pass


def probe():
    raise AssertionError("never asked")


def conv2d(error):
    raise error
"""
THEIRS = Plugin("npu", "failing_npu", "msinet-device-npu", "1.0")
OURS = Plugin("npu", "failing_npu", "msinet", "0.1.0")


@pytest.fixture
def npu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    (tmp_path / "failing_npu.py").write_text(LAYERS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "failing_npu", raising=False)
    import failing_npu

    return failing_npu


def spec() -> DeviceSpec:
    return DeviceSpec("npu", "x", "x", "failing_npu:Npu", sys.modules["failing_npu"].probe, 1)


def caught(function: Callable[..., object], error: Exception) -> Exception:
    with pytest.raises(type(error)) as raised:
        function(error)
    return raised.value


def test_a_plugins_failure_goes_to_its_author(npu: ModuleType) -> None:
    message = failure_message(caught(npu.conv2d, ValueError("boom")), spec(), THEIRS)
    assert message.startswith("Device 'npu' failed: ValueError: boom.")
    assert "failing_npu.py, line 11, conv2d" in message
    assert "plugin 'failing_npu' (msinet-device-npu 1.0); report it to its author" in message
    assert "msinet-run plugins check npu" in message
    assert "memory" not in message


def test_a_failure_of_a_built_in_device_comes_to_us(npu: ModuleType) -> None:
    message = failure_message(caught(npu.conv2d, ValueError("boom")), spec(), OURS)
    assert message.startswith("Device 'npu' failed: ValueError: boom.")
    assert "author" not in message
    assert "please report it with what MSINET_DEBUG=1 shows" in message


def test_a_failure_elsewhere_is_ours_and_names_the_device(npu: ModuleType) -> None:
    def fail(error: Exception) -> None:
        raise error

    message = failure_message(caught(fail, ValueError("boom")), spec(), THEIRS)
    assert message.startswith("ValueError: boom. This was not foreseen; please report it")
    assert "The device was 'npu', of plugin 'failing_npu'" in message


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
def test_too_little_memory_is_known_by_its_words(error: Exception) -> None:
    assert "--batch-size" in advice(error, "npu")


@pytest.mark.parametrize("words", ["no such room", "boom", "the memory layout is NHWC"])
def test_other_failures_are_not_taken_for_it(words: str) -> None:
    told = advice(RuntimeError(words), "npu")
    assert told == "msinet-run plugins check npu finds out what is wrong."
