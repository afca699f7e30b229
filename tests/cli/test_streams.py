"""Commands in a daemon, with a full disk behind stdout, or in a folder that was deleted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs a POSIX shell")

MSINET_RUN = f"'{sys.executable}' -m msinet_core"


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", command.replace("msinet-run", MSINET_RUN)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("command", ["devices", "plugins list", "data list", "devices --json"])
@pytest.mark.parametrize("closed", [">&-", "<&- >&-", "<&- >&- 2>&-"])
def test_output_that_nobody_can_read_is_dropped(tmp_path: Path, command: str, closed: str) -> None:
    done = shell(f"msinet-run {command} {closed}", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_files_are_written_without_standard_streams(tmp_path: Path, closed: str) -> None:
    """What is printed must not go into a file that got the number of a closed stream."""
    demo = shell(
        f"msinet-run data demo demo --train 2 --valid 1 --image-size 32x40 {closed}", tmp_path
    )
    assert demo.returncode == 0
    assert shell("msinet-run data check ./demo", tmp_path).returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("command", ["--help", "--version", "devices", "devices --json"])
def test_output_that_cannot_be_written_is_an_error(tmp_path: Path, command: str) -> None:
    done = shell(f"msinet-run {command} > /dev/full", tmp_path)
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_reader_that_stops_early_sees_no_error(tmp_path: Path) -> None:
    done = shell("msinet-run devices | head -1", tmp_path)
    assert done.stdout.startswith("device")
    assert done.stderr == ""


def test_a_current_folder_that_was_deleted_is_named(tmp_path: Path) -> None:
    done = shell("mkdir gone && cd gone && rmdir ../gone && msinet-run runs list", tmp_path)
    assert done.returncode == 1
    assert "current folder was deleted" in done.stderr
