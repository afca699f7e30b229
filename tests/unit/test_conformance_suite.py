"""The pytest form of the kit, as a plugin's author uses it."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from msinet_core.conformance import ALL_SCENARIOS

TESTS = """
import dataclasses

from msinet_core.conformance.faults.fault import on
from msinet_core.network.ops import Concat
from msinet_core.conformance import DeviceConformance
from msinet_core.conformance.faults.contract import opens_though_not_here
from msinet_core.reference import SPEC


class TestByName(DeviceConformance):
    device = "reference"
    quick = True


class TestKnown(DeviceConformance):
    device = dataclasses.replace(SPEC, kernel_layout="HWIX", factory="nowhere:Nothing")
    expected_failures = {expected!r}


def raise_it(build, op, inputs, roles):
    return None.detach


class Broken(type(on(Concat, raise_it))):
    def __init__(self, spec, precision, options=None):
        super().__init__(on(Concat, raise_it).layer_builders)


class TestBroken(DeviceConformance):
    device = dataclasses.replace(SPEC, factory=f"{{__name__}}:Broken")
    quick = True


class TestAbsent(DeviceConformance):
    device = dataclasses.replace(opens_though_not_here(), factory="nowhere:Nothing")
"""
EXPECTED = """
["light/description"]
reason = "The letter X."
link = "https://example.org"

["light/imports"]
reason = "Not any more."
link = "https://example.org"
"""


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("suite")
    (folder / "known.toml").write_text(EXPECTED)
    module = folder / "test_mine.py"
    module.write_text(TESTS.format(expected="known.toml"))
    command = [sys.executable, "-m", "pytest", "-v", "-rA", "-p", "no:cacheprovider", str(module)]
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=elsewhere)
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


def outcome(output: str, test: str) -> str:
    line = next(line for line in output.splitlines() if f"::{test} " in line)
    return line.split(f"::{test} ")[1].split()[0]


def test_a_right_device_gets_a_test_for_each_row(output: str) -> None:
    rows = [scenario.id for scenario in ALL_SCENARIOS]
    outcomes = [outcome(output, f"TestByName::test_row[{row}]") for row in rows]
    assert set(outcomes) == {"PASSED", "SKIPPED"}
    assert outcomes.count("SKIPPED") == 6
    assert "left out: slow" in output


def test_expected_failures_are_xfailed_and_strict(output: str) -> None:
    assert outcome(output, "TestKnown::test_row[light/description]") == "XFAIL"
    assert outcome(output, "TestKnown::test_row[light/imports]") == "FAILED"
    assert "Take it out of the list." in output


def test_a_device_that_should_open_and_does_not_fails(output: str) -> None:
    assert outcome(output, "TestKnown::test_row[device/opens]") == "FAILED"
    assert outcome(output, "TestKnown::test_row[forward/concat]") == "SKIPPED"


def test_a_device_that_is_not_here_is_skipped_with_the_reason(output: str) -> None:
    assert outcome(output, "TestAbsent::test_row[light/probe-answers]") == "PASSED"
    assert outcome(output, "TestAbsent::test_row[device/not-here]") == "PASSED"
    assert outcome(output, "TestAbsent::test_row[device/opens]") == "SKIPPED"
    assert outcome(output, "TestAbsent::test_row[forward/concat]") == "SKIPPED"
    assert "the device is not here: There is no such card." in output


def test_what_a_device_raises_comes_with_its_place_and_its_traceback(output: str) -> None:
    assert outcome(output, "TestBroken::test_row[forward/concat]") == "FAILED"
    assert re.search(r"test_mine\.py, line \d+, raise_it: AttributeError: 'NoneType'", output)
    assert "return None.detach" in output
    assert "The above exception was the direct cause" in output


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ('device = "refrence"', "TestIt: There is no device 'refrence'. Did you mean 'reference'?"),
        ('device = "reference"\n    precision = "float16"', "does not compute in float16"),
        ('device = "reference"\n    expected_failures = "a.toml"', "a.toml cannot be read"),
        ("quick = True", 'TestIt names no device. Write in it: device = "NAME"'),
    ],
)
def test_what_no_row_could_be_checked_with_is_one_error(tmp_path, lines: str, told: str) -> None:
    module = tmp_path / "test_it.py"
    start = "from msinet_core.conformance import DeviceConformance\n\nclass TestIt"
    module.write_text(f"{start}(DeviceConformance):\n    {lines}\n")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(module)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2, done.stdout
    assert told in done.stdout
    assert "1 error in" in done.stdout
    assert len(done.stdout.splitlines()) < 25
