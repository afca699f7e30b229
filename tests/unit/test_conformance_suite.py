"""`DeviceConformance`, as plugin authors use it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from msinet_core.conformance.scenarios import ALL_SCENARIOS

TESTS = """
import dataclasses

from tests.faults.fault import on
from msinet_core.network.ops import Concat
from msinet_core import DeviceConformance
from tests.faults.descriptions import opens_although_unavailable
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
    device = dataclasses.replace(opens_although_unavailable(), factory="nowhere:Nothing")
"""
CHEAP = "not (TestBroken or TestByName) or concat or description or device or full-size or soak"
"""Few rows show what there is to see; those of the reference are tested elsewhere."""

EXPECTED = """
["description/valid"]
reason = "An unknown axis."
link = "https://example.org"

["description/imports"]
reason = "Not any more."
link = "https://example.org"
"""


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("suite")
    (folder / "known.toml").write_text(EXPECTED)
    module = folder / "test_mine.py"
    module.write_text(TESTS.format(expected="known.toml"))
    return module


def run_pytest(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)


@pytest.fixture(scope="module")
def output(module: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    done = run_pytest(elsewhere, "-v", "-rA", "-k", CHEAP, module)
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


def outcome(output: str, test: str) -> str:
    line = next(line for line in output.splitlines() if f"::{test} " in line)
    return line.split(f"::{test} ")[1].split()[0]


def test_each_row_is_a_test(module: Path) -> None:
    listed = run_pytest(module.parent, "--collect-only", "-q", module).stdout.splitlines()
    tests = [line.split("::", 1)[1] for line in listed if "::TestByName::" in line]
    assert tests == [f"TestByName::test_row[{row.id}]" for row in ALL_SCENARIOS]


def test_a_correct_device_passes_and_quick_skips_slow_rows(output: str) -> None:
    for row, wanted in {
        "description/valid": "PASSED",
        "device/opens": "PASSED",
        "forward/concat": "PASSED",
        "network/full-size": "SKIPPED",
        "memory/soak": "SKIPPED",
    }.items():
        assert outcome(output, f"TestByName::test_row[{row}]") == wanted


def test_expected_failures_are_xfailed_and_strict(output: str) -> None:
    assert outcome(output, "TestKnown::test_row[description/valid]") == "XFAIL"
    assert outcome(output, "TestKnown::test_row[description/imports]") == "FAILED"


def test_an_available_device_that_does_not_open_fails(output: str) -> None:
    assert outcome(output, "TestKnown::test_row[device/opens]") == "FAILED"
    assert outcome(output, "TestKnown::test_row[forward/concat]") == "SKIPPED"


def test_an_unavailable_device_is_skipped_with_the_reason(output: str) -> None:
    assert outcome(output, "TestAbsent::test_row[description/probe-result]") == "PASSED"
    assert outcome(output, "TestAbsent::test_row[device/unavailable]") == "PASSED"
    assert outcome(output, "TestAbsent::test_row[device/opens]") == "SKIPPED"
    assert outcome(output, "TestAbsent::test_row[forward/concat]") == "SKIPPED"
    assert "no NPU found" in output


def test_an_exception_comes_with_its_line_and_traceback(output: str) -> None:
    assert outcome(output, "TestBroken::test_row[forward/concat]") == "FAILED"
    assert re.search(r"test_mine\.py, line \d+, raise_it: AttributeError: 'NoneType'", output)
    assert "return None.detach" in output


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        ('device = "refrence"', "'reference'"),
        ('device = "reference"\n    precision = "float16"', "float16"),
        ('device = "reference"\n    expected_failures = "a.toml"', "a.toml"),
        ("quick = True", 'device = "NAME"'),
    ],
)
def test_a_setting_that_no_row_can_run_with_is_one_error(tmp_path, lines: str, named: str) -> None:
    module = tmp_path / "test_it.py"
    start = "from msinet_core import DeviceConformance\n\nclass TestIt"
    module.write_text(f"{start}(DeviceConformance):\n    {lines}\n")
    done = run_pytest(tmp_path, module)
    assert done.returncode == 2, done.stdout
    assert "TestIt: " in done.stdout
    assert named in done.stdout
    assert "1 error in" in done.stdout
    assert len(done.stdout.splitlines()) < 25
