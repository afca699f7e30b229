"""Whatever a probe does, its device is "not here" and the program goes on."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from msinet_core.device import Availability, DeviceSpec, Probe
from msinet_core.registry.probe_runner import call_probe
from msinet_core.registry.registry import run_probe


def device(probe: Callable[[], Probe]) -> DeviceSpec:
    return DeviceSpec("npu", "x", "x", "x.y:Z", probe, 1)


def test_a_probe_that_answers_is_taken_at_its_word() -> None:
    probe = Probe(Availability.INSTALLED, reason="Slow today.")
    answer = call_probe(device(lambda: probe))
    assert answer.probe == probe
    assert answer.trace == ""


@pytest.mark.parametrize("error", [ValueError("surprise"), SystemExit(3)])
def test_a_probe_that_raises_tells_where(error: BaseException) -> None:
    def explode() -> Probe:
        raise error

    answer = call_probe(device(explode))
    assert not answer.probe.ready
    assert f"test_asking, raised {type(error).__name__}: {error}" in answer.probe.reason
    assert "plugins list --traceback" in answer.probe.fix
    assert "in explode" in answer.trace


def test_a_probe_that_hangs_is_left_alone_and_waited_for_once() -> None:
    release = threading.Event()
    calls = []

    def wait_long() -> Probe:
        calls.append(1)
        release.wait(60)
        return Probe(Availability.INSTALLED)

    spec = device(wait_long)
    for _ in range(2):
        answer = call_probe(spec, 0.05)
        assert "took longer than 0.05 s, a fault of its plugin" in answer.probe.reason
        assert "in wait_long" in answer.trace
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
        "print(call_probe(spec, 0.1).probe.reason)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert "took longer than 0.1 s" in done.stdout


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
