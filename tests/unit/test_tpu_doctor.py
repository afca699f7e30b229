"""What doctor says about the device tpu, with the compilers pretended."""

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
    """What is installed: everything that the check needs, on a machine where that exists."""
    installed = {"jax": "0.10.2", "libtpu": "0.0.51", "tensorflow-cpu": "2.21.0"}
    for module in (host, hardware):
        monkeypatch.setattr(module, "distribution_version", installed.get)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(sys, "version_info", (3, 11, 7))
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    return installed


Answer = Callable[[int], dict[str, Any]]


def answers(monkeypatch: pytest.MonkeyPatch, answer: Answer) -> list[int]:
    """Have the compiler answer by batch size; returns the sizes that it was asked for."""
    asked: list[int] = []

    def run(module: str, arguments: list[str]) -> str:
        if module == "msinet_tpu.lowering":
            asked.append(json.loads(arguments[1])["batch"])
            return ""
        return json.dumps(answer(asked[-1]))

    monkeypatch.setattr(doctor, "_run", run)
    return asked


def chip(per_image: float, fixed: float = 0.3) -> Answer:
    """A chip of 15.75 GiB on which a step needs so many GiB for each image and at all."""

    def answer(batch: int) -> dict[str, Any]:
        facts: dict[str, Any] = {"chip": "TPU v5 lite", "devices": 1, "memory": MEMORY}
        needed = int((fixed + per_image * batch) * GIB)
        if needed > MEMORY:
            return facts | {"shortage": needed}
        sizes = {"arguments": int(fixed * GIB), "results": 0, "program": 0}
        temporaries = needed - sizes["arguments"]
        cost = {"flops": 2.5e11 * batch, "bytes_accessed": 1e9, "seconds": 90.0}
        return facts | sizes | cost | {"temporaries": temporaries}

    return answer


def examine(**arguments: str) -> list[Finding]:
    return list(doctor.examine(SPEC, V5E | arguments))


def test_it_says_what_was_never_run_on_a_tpu() -> None:
    first, second = doctor.examine(SPEC, {})
    assert first.status == "note"
    assert first.detail.startswith("This device has not been run on a TPU")
    assert second.status == "note"
    assert "msinet-run --device tpu doctor --topology v5e:1x1" in second.detail


def test_the_spec_leads_to_it() -> None:
    titles = [finding.title for finding in core.examine(SPEC, {})]
    assert titles[-2:] == ["proven so far", "ahead-of-time compilation"]


def test_without_jax_and_libtpu_it_says_how_to_get_them(packages: dict[str, str]) -> None:
    packages.clear()
    last = examine()[-1]
    assert (last.title, last.status) == ("ahead-of-time compilation", "problem")
    assert last.detail == (
        "jax is not installed (needs >=0.10.2). libtpu is not installed (needs >=0.0.51). "
        "TensorFlow is not installed."
    )
    assert last.fix == 'pip install "msinet[tpu-check]"'


@pytest.mark.parametrize(
    ("system", "machine", "version"),
    [
        ("darwin", "arm64", (3, 12, 0)),
        ("linux", "aarch64", (3, 12, 0)),
        ("linux", "x86_64", (3, 10, 4)),
    ],
)
def test_where_libtpu_does_not_exist_it_says_so(
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
    assert last.status == "problem"
    assert "Linux on x86-64 with Python 3.11 or later" in last.detail


def test_it_reports_memory_cost_and_the_largest_batch(
    packages: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = answers(monkeypatch, chip(per_image=0.2))  # 77 images fit, so 72 is the largest of 8
    _, about, first, *others, largest = examine()
    assert "240x320, bfloat16" in about.detail
    assert "jax 0.10.2, libtpu 0.0.51; nothing is executed" in about.detail
    assert (first.title, first.status) == ("batch of 8", "ok")
    assert "1.90 GiB of HBM needed, 15.75 GiB there" in first.detail
    assert "2,000.0 GFLOP" in first.detail
    assert first.data["hbm_needed"] == int(1.9 * GIB)
    assert [finding.title for finding in others] == [f"batch of {batch}" for batch in asked[1:]]
    assert largest.detail == "A batch of 72 fits one device of v5e:1x1, one of 80 does not."
    assert largest.data == {"largest_fitting": 72, "smallest_failing": 80}
    assert len(asked) <= doctor.COMPILES


def test_a_batch_that_is_asked_for_is_the_only_one(
    packages: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = answers(monkeypatch, chip(per_image=0.2))
    findings = examine(**{"batch-size": "16"})
    assert asked == [16]
    assert findings[-1].title == "batch of 16"


def test_several_steps_in_one_execution_are_lowered(
    packages: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lowered: list[int] = []

    def run(module: str, arguments: list[str]) -> str:
        if module == "msinet_tpu.lowering":
            lowered.append(json.loads(arguments[1])["steps"])
            return ""
        return json.dumps(chip(per_image=0.2)(8))

    monkeypatch.setattr(doctor, "_run", run)
    _, about, _ = examine(**{"batch-size": "8", "steps-per-execution": "4"})
    assert lowered == [4]
    assert "bfloat16, 4 in one execution" in about.detail


def test_a_larger_batch_that_does_not_fit_is_no_problem(
    packages: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(monkeypatch, chip(per_image=1.0))
    assert {finding.status for finding in examine()} == {"note", "ok"}


def test_the_asked_batch_not_fitting_is_a_problem_and_a_smaller_one_is_sought(
    packages: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(monkeypatch, chip(per_image=3.0))
    findings = examine()
    assert findings[2].status == "problem"
    assert "needs 24.30 GiB of HBM, and there are 15.75 GiB" in findings[2].detail
    assert findings[2].fix == "Train with a smaller --batch-size, and --accumulate."
    assert findings[-1].data == {"largest_fitting": 5, "smallest_failing": 6}


def test_nothing_fits(packages: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, chip(per_image=20.0))
    last = examine()[-1]
    assert (last.status, last.detail) == (
        "problem",
        "No batch that was tried fits one device of v5e:1x1.",
    )


def test_an_unknown_topology_is_told_with_those_that_work(
    packages: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(monkeypatch, lambda batch: {"unknown_topology": "Invalid TPU external name: TPU v9"})
    last = examine(topology="v9:1x1")[-1]
    assert last.detail == ("libtpu knows no topology 'v9:1x1': Invalid TPU external name: TPU v9")
    assert "v5e:1x1, v5e:2x2" in last.fix


def test_what_libtpu_refuses_is_told(
    packages: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(monkeypatch, lambda batch: {"memory": MEMORY, "refused": "UNIMPLEMENTED: an op"})
    last = examine()[-1]
    assert (last.status, last.detail) == (
        "problem",
        "libtpu refused the step: UNIMPLEMENTED: an op",
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"batch-size": "many"}, "no number"),
        ({"batch-size": "0"}, "Received: 0"),
        ({"image-size": "240"}, "no number"),
        ({"precision": "float16"}, "does not compute in float16"),
        ({"steps-per-execution": "3"}, "cannot be '3'"),
    ],
)
def test_arguments_that_cannot_be_used(
    packages: dict[str, str], arguments: dict[str, str], told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        examine(**arguments)


def test_a_compiler_that_dies_is_told_with_its_last_words() -> None:
    with pytest.raises(DeviceUnavailableError, match=r"ended with exit code 1: .*no_such_module"):
        doctor._run("msinet_tpu.no_such_module", [])


def test_a_compiler_that_hangs_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "TIMEOUT", 0.01)
    with pytest.raises(DeviceUnavailableError, match="did not finish within 0 s"):
        doctor._run("msinet_tpu.ahead_of_time", ["v5e:1x1", "step.hlo"])


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
def test_reading_libtpu_s_words_about_memory(message: str, amounts: tuple[int, int] | None) -> None:
    assert shortage(message) == amounts


@given(
    largest=st.integers(0, 2000),
    fixed=st.floats(0, 3),
    first=st.integers(1, 300),
    told=st.booleans(),
)
def test_the_search_ends_at_the_largest_batch(
    largest: int, fixed: float, first: int, told: bool
) -> None:
    """Whatever memory does, and whether libtpu tells it or not, down to the step of the search."""
    per_image = (15.75 - fixed) / (largest + 0.5)
    trials: dict[int, tuple[bool, int | None]] = {}
    batch: int | None = first
    while batch is not None:
        assert batch not in trials
        assert len(trials) < 40
        needed = int((fixed + per_image * batch) * GIB)
        trials[batch] = (batch <= largest, needed if told else None)
        batch = next_batch(trials, MEMORY if told else None)
    found = max((size for size, (fits, _) in trials.items() if fits), default=0)
    if largest < STEP:
        assert found == largest
    else:
        assert largest - STEP < found <= largest
    if told and first == STEP and fixed < 1 and largest < 200:
        assert len(trials) <= doctor.COMPILES
