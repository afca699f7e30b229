"""The doctor of the device tpu, with simulated compilers."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msinet_core import hardware
from msinet_core.errors import DeviceUnavailableError, UsageError
from msinet_core.hardware import host
from msinet_core.registry import doctor as core
from msinet_core.registry.doctor import Finding
from msinet_tpu import SPEC, doctor
from msinet_tpu.ahead_of_time import shortage
from msinet_tpu.largest_batch import STEP, next_batch

GIB = 2**30
MEMORY = int(15.75 * GIB)
V5E = {"topology": "v5e:1x1"}


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The installed packages: everything that the check needs, on a supported machine."""
    installed = {"jax": "0.10.2", "libtpu": "0.0.51", "tensorflow-cpu": "2.21.0"}
    for module in (host, hardware):
        monkeypatch.setattr(module, "distribution_version", installed.get)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(sys, "version_info", (3, 11, 7))
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    return installed


Answer = Callable[[int], dict[str, Any]]


def answers(monkeypatch: pytest.MonkeyPatch, answer: Answer) -> list[int]:
    """Make the compiler answer by batch size; return the requested sizes."""
    requested: list[int] = []

    def run(function: str, arguments: list[str]) -> str:
        if function == "write_program":
            requested.append(json.loads(arguments[1])["batch"])
            return ""
        return json.dumps(answer(requested[-1]))

    monkeypatch.setattr(doctor, "_run", run)
    return requested


def chip(per_image: float, fixed: float = 0.3) -> Answer:
    """A chip of 15.75 GiB; a step needs `fixed` GiB, and `per_image` GiB for each image."""

    def answer(batch: int) -> dict[str, Any]:
        facts: dict[str, Any] = {"chip": "TPU v5 lite", "devices": 1, "memory": MEMORY}
        needed = int((fixed + per_image * batch) * GIB)
        if needed > MEMORY:
            return facts | {"shortage": needed}
        sizes = {"arguments": int(fixed * GIB), "results": 0, "program": 0}
        temporaries = needed - sizes["arguments"]
        cost = {"flops": 2.5e11 * batch, "bytes_accessed": 1e9, "seconds": 90.0}
        cost["optimal_seconds"] = 0.004 * batch
        return facts | sizes | cost | {"temporaries": temporaries}

    return answer


def examine(**arguments: str) -> list[Finding]:
    return list(doctor.examine(SPEC, V5E | arguments))


def test_without_a_topology_nothing_is_compiled() -> None:
    findings = list(doctor.examine(SPEC, {}))
    assert [finding.status for finding in findings] == ["note"]
    assert "msinet-run --device tpu doctor --topology v5e:1x1" in findings[0].detail


def test_the_spec_names_this_doctor() -> None:
    titles = [finding.title for finding in core.examine(SPEC, {})]
    assert titles[-2:] == ["ahead-of-time compilation", "evidence"]


def test_missing_packages_are_named(packages: dict[str, str]) -> None:
    packages.clear()
    last = examine()[-1]
    assert (last.title, last.status) == ("ahead-of-time compilation", "problem")
    assert all(name in last.detail for name in ("jax", "libtpu", "TensorFlow"))
    assert last.fix == 'pip install "msinet[tpu-check]"'


@pytest.mark.parametrize(
    ("system", "machine", "version"),
    [
        ("darwin", "arm64", (3, 12, 0)),
        ("linux", "aarch64", (3, 12, 0)),
        ("linux", "x86_64", (3, 10, 4)),
    ],
)
def test_machines_without_libtpu_are_a_problem(
    packages: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    system: str,
    machine: str,
    version: tuple[int, int, int],
) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(sys, "version_info", version)
    last = examine()[-1]
    assert (last.title, last.status) == ("ahead-of-time compilation", "problem")
    assert "x86-64" in last.detail and "Python 3.11" in last.detail


def test_it_reports_memory_cost_and_the_largest_batch(
    packages: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # 77 images fit, so that 72 is the largest multiple of 8 that does.
    requested = answers(monkeypatch, chip(per_image=0.2))
    about, first, *others, largest = examine()
    for part in ("240x320", "bfloat16", "v5e:1x1", "jax 0.10.2", "libtpu 0.0.51"):
        assert part in about.detail
    assert (first.title, first.status) == ("batch of 8", "ok")
    for part in ("1.90 GiB", "15.75 GiB", "2,000.0 GFLOP"):
        assert part in first.detail
    assert first.data["hbm_needed"] == int(1.9 * GIB)
    assert first.data["estimated_images_per_s"] == pytest.approx(250)
    assert "32.0 ms" in first.detail and "250 images/s" in first.detail
    assert [finding.title for finding in others] == [f"batch of {size}" for size in requested[1:]]
    assert (largest.title, largest.status) == ("largest batch", "ok")
    assert largest.data == {"largest_fitting": 72, "smallest_failing": 80}
    assert len(requested) <= doctor.COMPILES


def test_without_an_estimate_there_is_no_rate(
    packages: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(monkeypatch, lambda batch: chip(0.2)(batch) | {"optimal_seconds": None})
    last = examine(**{"batch-size": "8"})[-1]
    assert "estimated_images_per_s" not in last.data and "images/s" not in last.detail


def test_a_given_batch_size_is_the_only_one(
    packages: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    requested = answers(monkeypatch, chip(per_image=0.2))
    findings = examine(**{"batch-size": "16"})
    assert requested == [16]
    assert findings[-1].title == "batch of 16"


def test_several_steps_in_one_execution_are_lowered(
    packages: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lowered: list[int] = []

    def run(function: str, arguments: list[str]) -> str:
        if function == "write_program":
            lowered.append(json.loads(arguments[1])["steps"])
            return ""
        return json.dumps(chip(per_image=0.2)(8))

    monkeypatch.setattr(doctor, "_run", run)
    examine(**{"batch-size": "8", "steps-per-execution": "4"})
    assert lowered == [4]


def test_a_larger_batch_that_does_not_fit_is_not_a_problem(
    packages: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(monkeypatch, chip(per_image=1.0))
    assert {finding.status for finding in examine()} == {"note", "ok"}


def test_a_first_batch_that_does_not_fit_is_a_problem(
    packages: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(monkeypatch, chip(per_image=3.0))
    _, first, *_, largest = examine()
    assert first.status == "problem"
    assert "24.30 GiB" in first.detail and "15.75 GiB" in first.detail
    assert "--batch-size" in first.fix and "--accumulate" in first.fix
    assert largest.data == {"largest_fitting": 5, "smallest_failing": 6}


def test_nothing_fits(packages: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, chip(per_image=20.0))
    last = examine()[-1]
    assert last.status == "problem"
    assert last.data == {"largest_fitting": 0, "smallest_failing": 1}


def test_an_unknown_topology_lists_known_ones(
    packages: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(monkeypatch, lambda batch: {"unknown_topology": "Invalid TPU external name: TPU v9"})
    last = examine(topology="v9:1x1")[-1]
    assert (last.title, last.status) == ("topology", "problem")
    assert "'v9:1x1'" in last.detail and "Invalid TPU external name: TPU v9" in last.detail
    assert all(name in last.fix for name in doctor.TOPOLOGIES)


def test_an_error_of_libtpu_is_shown(
    packages: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(monkeypatch, lambda batch: {"memory": MEMORY, "refused": "UNIMPLEMENTED: an op"})
    last = examine()[-1]
    assert (last.title, last.status) == ("compilation", "problem")
    assert "UNIMPLEMENTED: an op" in last.detail


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("precision", "float16"),
        ("steps-per-execution", "3"),
    ],
)
def test_invalid_arguments(packages: dict[str, str], argument: str, value: str) -> None:
    with pytest.raises(UsageError, match=value):
        examine(**{argument: value})


def test_a_compiler_that_dies_is_reported_with_its_last_line() -> None:
    with pytest.raises(DeviceUnavailableError, match=r"exit code 1.*no_such_function"):
        doctor._run("no_such_function", [])


def test_a_compiler_that_hangs_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "TIMEOUT", 0.01)
    with pytest.raises(DeviceUnavailableError, match="compile_program"):
        doctor._run("compile_program", ["v5e:1x1", "step.hlo"])


@pytest.mark.parametrize(
    ("message", "amounts"),
    [
        (
            "RESOURCE_EXHAUSTED: E1000: CompileTimeHbmOom: Ran out of memory on HBM, the total "
            "memory required for HLO temporaries (2.00T) exceeds available HBM (15.75G).",
            (2 * 2**40, MEMORY),
        ),
        (
            "RESOURCE_EXHAUSTED: XLA:TPU compile permanent error. Ran out of memory in memory "
            "space hbm. Used 19.50G of 15.75G hbm. Exceeded hbm capacity by 3.75G.",
            (int(19.5 * GIB), MEMORY),
        ),
        ("INVALID_ARGUMENT: something else (2.00T)", None),
    ],
)
def test_memory_amounts_in_messages_of_libtpu(
    message: str, amounts: tuple[int, int] | None
) -> None:
    assert shortage(message) == amounts


@given(
    largest=st.integers(0, 2000),
    fixed=st.floats(0, 3),
    first=st.integers(1, 300),
    reported=st.booleans(),
)
def test_the_search_ends_at_the_largest_batch(
    largest: int, fixed: float, first: int, reported: bool
) -> None:
    """Whether libtpu reports memory or not, the search is exact to its step."""
    per_image = (15.75 - fixed) / (largest + 0.5)
    trials: dict[int, tuple[bool, int | None]] = {}
    batch: int | None = first
    while batch is not None:
        assert batch not in trials
        assert len(trials) < 40
        needed = int((fixed + per_image * batch) * GIB)
        trials[batch] = (batch <= largest, needed if reported else None)
        batch = next_batch(trials, MEMORY if reported else None)
    found = max((size for size, (fits, _) in trials.items() if fits), default=0)
    if largest < STEP:
        assert found == largest
    else:
        assert largest - STEP < found <= largest
    if reported and first == STEP and fixed < 1 and largest < 200:
        assert len(trials) <= doctor.COMPILES
