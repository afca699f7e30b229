"""Memory that a process frees stays in it, unless the user decides otherwise."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from msinet_core.system.allocator import VARIABLES, keep_freed_memory

FAULTS = """
import resource, sys
from msinet_core.system.allocator import keep_freed_memory

def page_faults():
    begin = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        b"x" * 2**26  # more than glibc ever keeps by itself
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - begin

before = page_faults()
keep_freed_memory()
page_faults()
print(before, page_faults())
"""


def measured(**variables: str) -> tuple[int, int]:
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS],
        env=environment | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    before, after = map(int, done.stdout.split())
    if before < 100:
        pytest.skip("this system has no glibc, or pages of megabytes")
    return before, after


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is on Linux")
def test_freed_memory_is_used_again() -> None:
    before, after = measured()
    assert after < before / 100


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is on Linux")
@pytest.mark.parametrize("variable", VARIABLES)
def test_what_the_user_set_counts(variable: str) -> None:
    tunable = "glibc.malloc.trim_threshold=131072"
    before, after = measured(**{variable: tunable if "TUNABLES" in variable else "131072"})
    assert after > before / 2


def test_other_systems_have_nothing_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr("ctypes.CDLL", lambda name: pytest.fail("no glibc here"))
    keep_freed_memory()


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    keep_freed_memory()
