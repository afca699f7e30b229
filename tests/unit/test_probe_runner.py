"""A probe that raises, hangs or returns nonsense makes its device unavailable, nothing more."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from msinet_core.device import Availability, DeviceSpec, Hardware, Probe
from msinet_core.registry.probe_runner import ProbeResult, RecordedProbe, call_probe, run_probe


def device(probe: Callable[[], Probe]) -> DeviceSpec:
    return DeviceSpec("npu", "x", "x", "x.y:Z", probe, 1)


def test_a_valid_probe_is_returned_unchanged() -> None:
    probe = Probe(Availability.INSTALLED, reason="Slow today.", hardware=(Hardware("NPU", 4),))
    assert call_probe(device(lambda: probe)) == ProbeResult(probe)


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    "error",
    [ValueError("surprise"), SystemExit(3), UnprintableError(), KeyboardInterrupt()],
    ids=lambda error: repr(error),
)
def test_a_probe_that_raises_is_reported_with_its_traceback(error: BaseException) -> None:
    def explode() -> Probe:
        raise error

    result = call_probe(device(explode))
    assert not result.probe.ready
    assert f"{__name__}, raised {type(error).__name__}" in result.probe.reason
    assert ": :" not in result.probe.reason
    assert "plugins list --traceback" in result.probe.fix
    assert "in explode" in result.trace


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (True, "True"),
        (Probe("installed"), "availability"),  # type: ignore[arg-type]
        (Probe(Availability.INSTALLED, reason=3), "reason"),  # type: ignore[arg-type]
        (Probe(Availability.INSTALLED, hardware=("NPU",)), "hardware"),  # type: ignore[arg-type]
        (Probe(Availability.INSTALLED, hardware=(Hardware("NPU", "4"),)), "hardware"),  # type: ignore[arg-type]
    ],
)
def test_a_probe_that_returns_something_else_makes_its_device_unavailable(
    returned: Probe, words: str
) -> None:
    probe = run_probe(device(lambda: returned))
    assert not probe.ready
    assert words in probe.reason


def test_a_probe_that_hangs_is_abandoned_and_waited_for_once() -> None:
    release = threading.Event()
    calls = []

    def wait_long() -> Probe:
        calls.append(1)
        release.wait(60)
        return Probe(Availability.INSTALLED)

    spec = device(wait_long)
    for _ in range(2):
        result = call_probe(spec, 0.05)
        assert "0.05 s" in result.probe.reason
        assert "in wait_long" in result.trace
    assert len(calls) == 1
    release.set()
    for thread in threading.enumerate():
        if thread.name == "msinet-probe":
            thread.join(60)
    assert call_probe(spec).probe.ready


def test_the_program_ends_while_a_probe_hangs() -> None:
    program = (
        "import time\n"
        "from msinet_core.registry.probe_runner import call_probe\n"
        "from msinet_core.device import DeviceSpec\n"
        "spec = DeviceSpec('npu', 'x', 'x', 'x.y:Z', lambda: time.sleep(3600), 1)\n"
        "print(call_probe(spec, 0.1).probe.ready)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["False"]


def test_a_recorded_probe_is_not_run_again() -> None:
    result = ProbeResult(Probe(Availability.NOT_HERE, "No chip."), "a traceback")
    assert call_probe(device(RecordedProbe(result, "npu.probe"))) is result


def test_with_debug_the_traceback_goes_to_stderr(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def explode() -> Probe:
        raise KeyError("cores")

    monkeypatch.delenv("MSINET_DEBUG", raising=False)
    run_probe(device(explode))
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("MSINET_DEBUG", "1")
    run_probe(device(explode))
    assert "in explode" in capsys.readouterr().err
