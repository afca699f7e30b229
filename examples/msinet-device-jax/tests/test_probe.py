"""What the device says about a machine without importing JAX."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest
from msinet_core.device import Availability, Hardware

probe = importlib.import_module("msinet_device_jax.probe")  # SPEC has a function of that name

GPU = Hardware("NVIDIA H200")


@pytest.fixture
def packages(monkeypatch):
    """The installed packages; tests add to them."""
    installed = {"jax": "0.10.2", "jaxlib": "0.10.2"}
    monkeypatch.setattr(probe, "distribution_version", installed.get)
    return installed


def hardware(monkeypatch, **found):
    table = {name: (lambda name=name: found.get(name, ())) for name in ("tpu", "gpu")}
    monkeypatch.setattr(probe, "HARDWARE", {**probe.HARDWARE, **table})


def test_the_light_modules_do_not_import_jax():
    code = (
        "import sys, msinet_device_jax as plugin; plugin.SPEC.probe(); "
        "assert 'jax' not in sys.modules and 'jaxlib' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_jax_it_is_not_here_and_says_how_to_get_it(packages, monkeypatch):
    monkeypatch.setattr(probe, "missing_requirements", lambda _: ["jax is not installed."])
    answer = probe.probe()
    assert answer.availability is Availability.NOT_HERE
    assert answer.reason == "jax is not installed."
    assert answer.fix.startswith("pip install")


def test_a_gpu_with_its_package_is_taken(packages, monkeypatch):
    packages["jax-cuda12-plugin"] = "0.10.2"
    hardware(monkeypatch, gpu=(GPU,))
    answer = probe.probe()
    assert answer.hardware == (GPU,)
    assert "GPU" in answer.reason


def test_a_gpu_without_its_package_is_named_with_the_cure(packages, monkeypatch):
    hardware(monkeypatch, gpu=(GPU,))
    answer = probe.probe()
    assert "Computes on the CPU. There is a GPU too" in answer.reason
    assert answer.fix == 'pip install "jax[cuda12]"'


def test_a_package_without_its_hardware_is_not_taken(packages, monkeypatch):
    packages["libtpu"] = "0.0.51"
    hardware(monkeypatch)
    assert probe.automatic_platform() == "cpu"
