"""How `tpu` finds libtpu, and what it does if TensorFlow finds no TPU."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from msinet_core import Availability, DeviceUnavailableError, Hardware, Probe
from msinet_core.hardware import PciDevice
from msinet_tpu import SPEC

pjrt = importlib.import_module("msinet_tpu.probe")  # the package has a function of that name

V5E = PciDevice("0x0063", "0x120000")
VARIABLES = (pjrt.PJRT_VARIABLE, pjrt.LIBRARY_VARIABLE)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install a libtpu beside a v5e chip; return its library."""
    folder = tmp_path / "libtpu"
    folder.mkdir()
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "libtpu", raising=False)
    monkeypatch.setattr("msinet_core.hardware.tpu.pci_devices", lambda vendor: [V5E])
    for name in VARIABLES:
        monkeypatch.setenv(name, "")  # restored afterwards
        del os.environ[name]
    return folder / "libtpu.so"


def test_both_variables_are_set_where_there_is_a_chip(machine: Path) -> None:
    pjrt.select_pjrt()
    assert [os.environ[name] for name in VARIABLES] == ["true", str(machine)]
    assert pjrt.uses_pjrt()


def test_variables_that_are_set_are_kept(machine: Path) -> None:
    os.environ[pjrt.PJRT_VARIABLE] = "false"
    os.environ[pjrt.LIBRARY_VARIABLE] = "/lib/libtpu.so"
    pjrt.select_pjrt()
    assert [os.environ[name] for name in VARIABLES] == ["false", "/lib/libtpu.so"]
    assert not pjrt.uses_pjrt()


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("missing", ["chip", "libtpu"])
def test_nothing_is_set_elsewhere(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if missing == "chip":
        monkeypatch.setattr("msinet_core.hardware.tpu.pci_devices", lambda vendor: [])
    else:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    pjrt.select_pjrt()
    assert not set(VARIABLES) & set(os.environ)


def test_the_variables_are_set_before_the_import(machine: Path, tmp_path: Path) -> None:
    (tmp_path / "tensorflow.py").write_text(
        f"import os; print(*[os.environ[name] for name in {VARIABLES!r}]); raise SystemExit\n"
    )
    code = (
        "from msinet_core.hardware import PciDevice, tpu\n"
        f"tpu.pci_devices = lambda vendor: [PciDevice{tuple(V5E)!r}]\n"
        "import msinet_tpu.device"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["true", str(machine)]


@pytest.mark.parametrize(("pjrt_on", "refused"), [("true", True), ("", False)])
def test_without_a_tpu_it_is_refused_before_it_is_initialized(
    pjrt_on: str, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    tf = pytest.importorskip("tensorflow")
    monkeypatch.setenv("TPU_NAME", "")
    monkeypatch.setenv(pjrt.PJRT_VARIABLE, pjrt_on)
    began: list[str] = []

    def resolve(tpu: str) -> None:
        began.append(tpu)
        raise ValueError("there is none")

    monkeypatch.setattr(tf.distribute.cluster_resolver, "TPUClusterResolver", resolve)
    ready = Probe(Availability.INSTALLED, hardware=(Hardware("TPU v5e"),))
    with pytest.raises(DeviceUnavailableError, match="'tpu'"):
        replace(SPEC, probe=lambda: ready).open()
    assert began == ([] if refused else ["local"])
