"""The fix of a plugin fits how it was installed and what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from msinet_core.registry.diagnosis import distributions_without_entry_point, plugin_fix
from msinet_core.registry.loader import LoadedPlugin, Plugin
from msinet_core.system import install_hints

Install = Callable[..., None]
PLUGIN = Plugin("npu", "msinet_device_npu", "msinet-device-npu", "1.0")


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a distribution's metadata on the path."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(install_hints, "_origin", install_hints._origin.__wrapped__)

    def write(entry_points: str, origin: object = None) -> None:
        folder = tmp_path / "msinet_device_npu-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text("Name: msinet-device-npu\nVersion: 1.0\n")
        (folder / "entry_points.txt").write_text(entry_points)
        if origin:
            (folder / "direct_url.json").write_text(json.dumps(origin))

    return write


def test_a_released_plugin_is_upgraded_or_left_out(install: Install) -> None:
    install("")
    assert plugin_fix(LoadedPlugin(PLUGIN, problem="ImportError: no")) == (
        "pip install --upgrade msinet-device-npu, or leave it out with "
        "MSINET_DISABLE_PLUGINS=npu. Its author needs: msinet-run plugins list --traceback"
    )


def test_a_plugin_that_is_worked_on_is_mended_in_its_folder(install: Install) -> None:
    install("", {"url": "file:///home/my%20npu", "dir_info": {"editable": True}})
    fix = plugin_fix(LoadedPlugin(PLUGIN, problem="ImportError: no"))
    assert fix.startswith("mend it in /home/my npu, or leave it out with ")


def test_a_plugin_of_another_time_has_its_cure_in_the_problem(install: Install) -> None:
    install("")
    fix = plugin_fix(LoadedPlugin(PLUGIN, problem="install a newer msinet", mismatched=True))
    assert fix.startswith("leave it out with MSINET_DISABLE_PLUGINS=npu.")


def test_a_plugin_that_a_variable_names_is_taken_out_of_it() -> None:
    plugin = LoadedPlugin(Plugin("npu", "npu"), problem="ImportError: no")
    assert plugin_fix(plugin).startswith("take it out of MSINET_PLUGINS.")


def test_a_plugin_that_works_needs_no_cure() -> None:
    assert plugin_fix(LoadedPlugin(PLUGIN)) == ""


def test_a_package_whose_entry_point_is_gone_or_misspelt_is_named(install: Install) -> None:
    install("[msinet.device]\nnpu = msinet_device_npu\n")
    (told,) = (line for line in distributions_without_entry_point() if "npu" in line)
    assert told == ("msinet-device-npu 1.0 is installed and has none; it has one in msinet.device.")


def test_a_package_that_brings_devices_is_not_named(install: Install) -> None:
    install("[msinet.devices]\nnpu = msinet_device_npu\n")
    assert not [line for line in distributions_without_entry_point() if "npu" in line]
