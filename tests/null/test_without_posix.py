"""The core where Python has no POSIX-only modules, as on Windows."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
POSIX_MODULES = ("fcntl", "grp", "pty", "pwd", "resource", "syslog", "termios", "tty")
POSIX_NAMES = frozenset(
    {"fork", "forkpty", "getuid", "geteuid", "mkfifo", "killpg", "setsid", "getpgid", "uname"}
    | {"SIGKILL", "SIGHUP", "SIGALRM", "SIGUSR1", "SIGUSR2", "SIGQUIT", "alarm", "setitimer"}
    | {"O_NOFOLLOW", "O_DIRECTORY", "O_NONBLOCK"}
)
"""What `os` and `signal` lack on Windows."""

ENVIRONMENT = {
    **os.environ,
    "MSINET_DISABLE_PLUGINS": "cpu,metal,cuda,tpu,mlx,torch,openvino,onnxruntime,jax",
}


def run(code: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process without the modules."""
    # Modules that have a variant for Windows get them first.
    hide = (
        "import asyncio, concurrent.futures, filelock, getpass, multiprocessing.util, psutil, "
        "shutil, subprocess, sys, tarfile, tempfile, uuid\n"
        f"for name in {POSIX_MODULES}: sys.modules[name] = None\n"
    )
    return subprocess.run(
        [sys.executable, "-c", hide + code, *arguments],
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_module_of_the_core_can_be_imported(tmp_path: Path) -> None:
    code = (
        "import importlib, pkgutil, msinet_core\n"
        "for module in pkgutil.walk_packages(msinet_core.__path__, 'msinet_core.'):\n"
        "    if not module.name.endswith('__main__'): importlib.import_module(module.name)\n"
    )
    done = run(code, folder=tmp_path)
    assert done.returncode == 0, done.stderr


def test_training_and_prediction_work(tmp_path: Path) -> None:
    command = "from msinet_core.cli import main; main()"
    made = run(command, "data", "demo", "demo", "--train", "2", "--valid", "1", folder=tmp_path)
    assert made.returncode == 0, made.stderr
    train = "--device reference train --data demo --run run --init random --width 0.02 --epochs 1"
    trained = run(command, *train.split(), "--image-size", "32x32", folder=tmp_path)
    assert trained.returncode == 0, trained.stderr
    weights = "run/checkpoints/best.msinet.h5"
    predict = f"--device reference predict demo/stimuli/val --weights {weights} --out maps"
    predicted = run(command, *predict.split(), folder=tmp_path)
    assert predicted.returncode == 0, predicted.stderr
    assert list((tmp_path / "maps").rglob("scene-*"))


@pytest.mark.parametrize("folder", ["msinet_core", "plugins"])
def test_only_system_uses_posix_names_without_checking(folder: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {node.value.id}.{node.attr}"
        for path in (ROOT / folder).rglob("*.py")
        if "system" not in path.parts
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        if node.value.id in ("os", "signal") and node.attr in POSIX_NAMES
    ]
    assert found == []
