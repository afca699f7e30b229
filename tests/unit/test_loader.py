"""Plugins are found, loaded in isolation, and described when they are broken."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from msinet_core.device import Availability, Capabilities, DeviceOption, DeviceSpec, Probe
from msinet_core.registry.loader import LoadedPlugin, load_plugins, spec_problems

WritePlugin = Callable[[str, str], None]

HEAD = """
from msinet_core.device import Availability, DeviceSpec, Probe
from msinet_core.registry.hookspecs import hookimpl

def spec(name="toy", **changes):
    return DeviceSpec(
        name=name, summary="a toy", framework="none", factory="nowhere.device:Toy",
        **{"probe": lambda: Probe(Availability.INSTALLED), "api_version": 1, **changes},
    )
"""


@pytest.fixture
def write_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WritePlugin]:
    monkeypatch.syspath_prepend(str(tmp_path))
    written: list[str] = []

    def write(module: str, body: str) -> None:
        (tmp_path / f"{module}.py").write_text(HEAD + body)
        written.append(module)

    yield write
    for module in written:
        sys.modules.pop(module, None)


def load_one(module: str, **environment: str) -> LoadedPlugin:
    loaded, _ = load_plugins({"MSINET_PLUGINS": module, **environment})
    return next(one for one in loaded if one.plugin.module == module)


GOOD = """
@hookimpl
def msinet_register_devices(register):
    register(spec("toy"))
    register(spec("toy2"))
"""


def test_a_good_plugin_brings_its_devices(write_plugin: WritePlugin) -> None:
    write_plugin("good_plugin", GOOD)
    loaded = load_one("good_plugin")
    assert [spec.name for spec in loaded.specs] == ["toy", "toy2"]
    assert not loaded.problem
    assert loaded.seconds > 0


@pytest.mark.parametrize(
    ("module", "body", "told"),
    [
        ("imports_nothing", "import no_such_module_at_all", "ModuleNotFoundError"),
        ("exits_at_import", "raise SystemExit(7)", "SystemExit: 7"),
        ("has_bad_syntax", "def broken(:\n", "SyntaxError"),
        ("is_empty", "", "implements no hook"),
        (
            "misspells",
            "@hookimpl\ndef msinet_register_device(register):\n    register(spec())\n",
            "Did you mean 'msinet_register_devices'?",
        ),
        (
            "is_unmarked",
            "def msinet_register_devices(register):\n    register(spec())\n",
            "is not marked",
        ),
        (
            "wants_more",
            "@hookimpl\ndef msinet_register_devices(register, cli):\n    register(spec())\n",
            "Call the argument of msinet_register_devices 'register'",
        ),
        (
            "registers_text",
            "@hookimpl\ndef msinet_register_devices(register):\n    register('toy')\n",
            "'toy', which cannot be: it is not a msinet_core.device.DeviceSpec",
        ),
        (
            "registers_twice",
            "@hookimpl\ndef msinet_register_devices(register):\n"
            "    register(spec())\n    register(spec())\n",
            "registers the device 'toy' twice",
        ),
        (
            "is_of_another_time",
            "@hookimpl\ndef msinet_register_devices(register):\n"
            "    register(spec(api_version=99))\n",
            "written for api_version 99 and msinet 0.1.0 has 1; install a newer msinet",
        ),
        (
            "is_of_an_older_time",
            "@hookimpl\ndef msinet_register_devices(register):\n"
            "    register(spec(api_version=0))\n",
            "install a newer plugin",
        ),
        (
            "describes_what_is_not_known",
            "@hookimpl\ndef msinet_register_devices(register):\n"
            "    register(spec(telepathy=True))\n",
            "It seems to be written for another msinet: this one is 0.1.0, with api_version 1",
        ),
        (
            "imports_what_is_not_there",
            "from msinet_core.device import Telepathy\n",
            "It seems to be written for another msinet",
        ),
        (
            "says_no_version",
            "@hookimpl\ndef msinet_register_devices(register):\n"
            "    register(DeviceSpec(name='toy', summary='x', framework='x',\n"
            "        factory='x.y:Z', probe=lambda: Probe(Availability.INSTALLED)))\n",
            "missing 1 required positional argument: 'api_version'",
        ),
        (
            "raises_in_hook",
            "@hookimpl\ndef msinet_register_devices(register):\n"
            "    register(spec('half'))\n    raise RuntimeError('no luck')\n",
            "RuntimeError: no luck",
        ),
    ],
)
def test_a_broken_plugin_is_described_and_brings_nothing(
    write_plugin: WritePlugin, module: str, body: str, told: str
) -> None:
    write_plugin(module, body)
    write_plugin("good_plugin", GOOD)
    loaded, manager = load_plugins({"MSINET_PLUGINS": f"{module},good_plugin"})
    broken = next(one for one in loaded if one.plugin.module == module)
    good = next(one for one in loaded if one.plugin.module == "good_plugin")
    assert told in broken.problem
    assert broken.specs == []
    assert module in broken.trace or "Traceback" in broken.trace
    assert not manager.has_plugin(module)
    assert [spec.name for spec in good.specs] == ["toy", "toy2"]


@pytest.mark.parametrize(
    ("body", "mismatched"),
    [
        ("from msinet_core.device import Telepathy\n", True),
        (
            "@hookimpl\ndef msinet_register_devices(register):\n"
            "    register(spec(api_version=2))\n",
            True,
        ),
        ("import no_such_module_at_all", False),
        ("@hookimpl\ndef msinet_register_devices(register):\n    register(42)\n", False),
    ],
    ids=["imports", "api version", "no module", "no spec"],
)
def test_a_plugin_of_another_time_is_told_from_a_broken_one(
    write_plugin: WritePlugin, body: str, mismatched: bool
) -> None:
    write_plugin("is_of_some_time", body)
    assert load_one("is_of_some_time").mismatched is mismatched


def test_the_author_sees_the_fault_in_their_own_frame(write_plugin: WritePlugin) -> None:
    write_plugin("blames", "@hookimpl\ndef msinet_register_devices(register):\n    register(42)\n")
    assert "blames.py" in load_one("blames").trace


def test_ctrl_c_while_loading_is_not_swallowed(write_plugin: WritePlugin) -> None:
    write_plugin("is_slow", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        load_one("is_slow")


def test_a_module_named_twice_is_loaded_once(write_plugin: WritePlugin) -> None:
    write_plugin("good_plugin", GOOD)
    loaded, _ = load_plugins({"MSINET_PLUGINS": "good_plugin, good_plugin"})
    ours = [one for one in loaded if one.plugin.module == "good_plugin"]
    assert [len(one.specs) for one in ours] == [2, 0]
    assert "Already loaded" in ours[1].problem


@pytest.mark.parametrize("name", ["cpu", "msinet_cpu"])
def test_a_plugin_is_disabled_by_entry_point_or_module(name: str) -> None:
    loaded, _ = load_plugins({"MSINET_DISABLE_PLUGINS": name})
    cpu = next(one for one in loaded if one.plugin.module == "msinet_cpu")
    assert cpu.disabled
    assert cpu.specs == []
    assert not cpu.problem


def test_a_whole_distribution_is_disabled() -> None:
    loaded, _ = load_plugins({"MSINET_DISABLE_PLUGINS": "msinet"})
    assert all(one.disabled for one in loaded if one.plugin.distribution == "msinet")


def test_the_built_in_devices_come_through_entry_points() -> None:
    loaded, _ = load_plugins({})
    names = {spec.name for one in loaded for spec in one.specs}
    assert {"reference", "cpu", "metal", "cuda", "tpu"} <= names
    assert all(one.plugin.distribution for one in loaded)


def valid_spec() -> DeviceSpec:
    return DeviceSpec(
        name="toy",
        summary="a toy",
        framework="none",
        factory="toy.device:Toy",
        probe=lambda: Probe(Availability.INSTALLED),
        api_version=1,
    )


def test_a_right_spec_has_no_problems() -> None:
    assert spec_problems(valid_spec()) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "Toy"),
        ("name", ""),
        ("name", "auto"),
        ("name", 3),
        ("aliases", ("two words",)),
        ("factory", "toy.device"),
        ("probe", None),
        ("data_format", "NCWH"),
        ("kernel_layout", "HWII"),
        ("kernel_layout", None),
        ("priority", "high"),
        ("doctor", "toy.doctor"),
        ("options", (DeviceOption("xla", "Compile.", "maybe", ("on", "off")),)),
        ("capabilities", Capabilities(precisions=("float8",))),
        ("capabilities", Capabilities(precisions=())),
        ("capabilities", Capabilities(distribution=("sharded",))),
    ],
)
def test_each_wrong_field_is_named(field: str, value: object) -> None:
    problems = spec_problems(replace(valid_spec(), **{field: value}))
    assert len(problems) == 1
    wanted = {"aliases": "name", "capabilities": "must be some of", "options": "option"}.get(
        field, field
    )
    assert wanted in problems[0]
