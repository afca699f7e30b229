"""The probe, which does not import JAX."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest
from msinet_core import Availability, Hardware, hardware

probe = importlib.import_module("msinet_device_jax.probe")  # SPEC has a function of that name

GPU = Hardware("NVIDIA H200")


@pytest.fixture
def packages(monkeypatch):
    """The versions of installed packages; tests add to them."""
    installed = {"jax": "0.10.2", "jaxlib": "0.10.2"}
    monkeypatch.setattr(hardware, "distribution_version", installed.get)
    return installed


def plug_in(monkeypatch, **found):
    table = {name: (lambda name=name: found.get(name, ())) for name in ("tpu", "gpu")}
    monkeypatch.setattr(probe, "HARDWARE", {**probe.HARDWARE, **table})


def test_the_light_modules_do_not_import_jax():
    code = (
        "import sys, msinet_device_jax as plugin; plugin.SPEC.probe(); "
        "assert 'jax' not in sys.modules and 'jaxlib' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_the_right_jax_it_is_unavailable_with_a_fix(monkeypatch):
    monkeypatch.setattr(probe, "REQUIRES", ("jax>=99",))
    answer = probe.probe()
    assert answer.availability is Availability.NOT_HERE
    assert "jax" in answer.reason and "99" in answer.reason
    assert answer.fix.startswith("pip install")


def test_a_gpu_with_its_package_is_selected(packages, monkeypatch):
    packages["jax-cuda12-plugin"] = "0.10.2"
    plug_in(monkeypatch, gpu=(GPU,))
    answer = probe.probe()
    assert answer.hardware == (GPU,)
    assert "GPU" in answer.reason


def test_a_gpu_without_its_package_is_named_with_the_fix(packages, monkeypatch):
    plug_in(monkeypatch, gpu=(GPU,))
    answer = probe.probe()
    assert "CPU" in answer.reason and "GPU" in answer.reason and "jax-cuda12" in answer.reason
    assert answer.fix == 'pip install "jax[cuda12]"'


def test_a_package_without_its_hardware_is_not_selected(packages, monkeypatch):
    packages["libtpu"] = "0.0.51"
    plug_in(monkeypatch)
    assert probe.automatic_platform() == "cpu"
