"""No command executes files of the current folder, however it starts its child processes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TINY = ("--width", "0.01", "--image-size", "32x40", "--images", "1", "--rounds", "1")


@pytest.mark.parametrize(
    "arguments",
    [
        ("plugins", "check", "reference", "--rows", "description/*"),
        ("bench", "--device", "reference", *TINY),
        ("--device", "reference", "doctor"),
    ],
    ids=" ".join,
)
def test_no_command_executes_a_file_in_the_current_folder(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    for name in ("json", "numpy", "pluggy", "click", "subprocess", "msinet_core", "PIL"):
        (tmp_path / f"{name}.py").write_text("open('executed', 'w')")
    command = Path(sys.executable).with_name("msinet-run")
    done = subprocess.run(
        [command, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "executed").exists()


@pytest.mark.skipif(not (ROOT / "plugins").exists(), reason="only in a checkout")
def test_python_is_started_in_one_place() -> None:
    """Every other module uses `run_python`, which is safe."""
    sources = [
        path
        for folder in ("msinet_core", "plugins", "examples/msinet-device-jax/src")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"\bsys\.executable\b|import multiprocessing|ProcessPool", path.read_text())
    ]
    assert sources == [ROOT / "msinet_core" / "system" / "child_process.py"]
