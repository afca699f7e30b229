"""The wheel contains every module and requires no framework."""

from __future__ import annotations

import email
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from email.message import Message
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from msinet_core.scaffold.example import write_example

ROOT = Path(__file__).parents[2]
PACKAGES = (
    "msinet_core",
    *sorted(path.parent.name for path in (ROOT / "plugins").glob("*/__init__.py")),
)
FRAMEWORKS = {
    *("tensorflow", "tensorflow-cpu", "tensorflow-metal", "tensorflow-tpu"),
    *("torch", "jax", "mlx", "openvino", "onnx", "onnxruntime"),
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    folder = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "-q",
        "-w",
        str(folder),
        str(ROOT),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "hatchling" in done.stderr and "No matching distribution" in done.stderr:
        pytest.skip("building a wheel needs hatchling, and no package index can be reached")
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as opened:
        yield opened


def read(wheel: zipfile.ZipFile, ending: str) -> str:
    name = next(name for name in wheel.namelist() if name.endswith(ending))
    return wheel.read(name).decode()


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    return email.message_from_string(read(wheel, ".dist-info/METADATA"))


def test_every_module_is_in_the_wheel(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    for package in PACKAGES:
        source = ROOT / package if package == "msinet_core" else ROOT / "plugins" / package
        for path in source.rglob("*.py"):
            assert f"{package}/{path.relative_to(source).as_posix()}" in names
    assert {"msinet_core/py.typed", "msinet_core/__init__.pyi"} <= names


def test_nothing_else_is_in_the_wheel(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)
    assert any(name.endswith("licenses/LICENSE") for name in wheel.namelist())


def test_the_example_is_written_from_the_wheel(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path / "site")
    done = subprocess.run(
        [sys.executable, "-m", "msinet_core", "plugins", "new", "my-chip", "--example", "jax"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    written, expected = tmp_path / "msinet-device-my-chip", tmp_path / "from-repository"
    write_example(expected, "my-chip")
    names = {path.relative_to(expected) for path in expected.rglob("*")}
    assert names == {path.relative_to(written) for path in written.rglob("*")}
    for name in names:
        path = expected / name
        assert path.is_dir() or path.read_bytes() == (written / name).read_bytes()


def test_a_plain_installation_requires_no_framework(metadata: Message) -> None:
    requirements = [Requirement(text) for text in metadata.get_all("Requires-Dist", [])]
    plain = {item.name for item in requirements if "extra" not in str(item.marker)}
    assert {"numpy", "pluggy", "click", "rich", "h5py"} <= plain
    assert not plain & FRAMEWORKS


@pytest.mark.parametrize(
    ("system", "machine", "expected"),
    [
        ("linux", "x86_64", {"tensorflow-cpu"}),
        ("linux", "aarch64", {"tensorflow"}),
        ("darwin", "arm64", {"tensorflow"}),
        ("win32", "AMD64", {"tensorflow"}),
    ],
)
def test_the_cpu_extra_requires_the_small_wheel_if_there_is_one(
    metadata: Message, system: str, machine: str, expected: set[str]
) -> None:
    environment = {"extra": "cpu", "sys_platform": system, "platform_machine": machine}
    requirements = [Requirement(text) for text in metadata.get_all("Requires-Dist", [])]
    required = {
        item.name
        for item in requirements
        if item.marker and "extra" in str(item.marker) and item.marker.evaluate(environment)
    }
    assert required == expected


def test_the_command_and_the_devices_are_registered(wheel: zipfile.ZipFile) -> None:
    text = read(wheel, ".dist-info/entry_points.txt")
    assert "msinet-run = msinet_core.cli:main" in text
    for device in (
        *("cpu", "reference", "metal", "cuda", "tpu", "mlx", "torch", "openvino", "onnxruntime"),
    ):
        assert f"\n{device} = " in text


def test_python_versions_and_license(metadata: Message) -> None:
    assert metadata["Name"] == "msinet"
    assert metadata["Requires-Python"] == "<3.14,>=3.10"
    assert metadata["License-Expression"] == "MIT"
