"""The packages of ``msinet[metal]`` on a Mac, resolved on any machine by uv."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from msinet_metal_nhwc.probe import REQUIRES

PROJECT = Path(__file__).parents[2] / "pyproject.toml"
OFFLINE = ("error sending request", "dns error", "failed to fetch", "Network connectivity")


def resolve(python: str) -> dict[str, str]:
    """Resolve the extra for Apple silicon; versions by package."""
    uv = shutil.which("uv")
    if uv is None:
        pytest.skip("uv is not installed")
    command = [uv, "pip", "compile", str(PROJECT), "--extra", "metal", "--quiet", "--no-header"]
    command += ["--python-platform", "aarch64-apple-darwin", "--python-version", python]
    command += ["--no-annotate", "--only-binary", ":all:"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode and any(words in done.stderr for words in OFFLINE):
        pytest.skip(f"offline: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return dict(re.findall(r"^([\w.-]+)==([\w.]+)", done.stdout, re.MULTILINE))


@pytest.mark.parametrize("python", ["3.10", "3.12"])
def test_extra_resolves_to_a_pair_that_loads(python: str) -> None:
    found = resolve(python)
    assert found["tensorflow-metal"].startswith("1.2.")
    assert found["tensorflow"].startswith(("2.18.", "2.19."))


def test_extra_is_empty_where_there_are_no_wheels() -> None:
    found = resolve("3.13")
    assert not {name for name in found if name.startswith("tensorflow")}
    assert "numpy" in found
    assert all("python_version < '3.13'" in requirement for requirement in REQUIRES)
