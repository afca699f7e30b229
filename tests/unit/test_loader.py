"""Plugins are found, loaded one by one, and described if they are broken."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from msinet_core.device import Availability, Capabilities, DeviceOption, DeviceSpec, Probe
from msinet_core.registry.loader import load_plugins
from msinet_core.registry.plugin import LoadedPlugin, spec_problems

WritePlugin = Callable[[str, str], None]

HEAD = """
from msinet_core import Availability, DeviceSpec, Probe, hookimpl

def spec(name="toy", **changes):
    return DeviceSpec(
        name=name, summary="a toy", framework="none", factory="nowhere.device:Toy",
        **{"probe": lambda: Probe(Availability.INSTALLED), "api_version": 1, **changes},
    )
"""
REGISTER = "@hookimpl\ndef msinet_register_devices(register):\n    "
GOOD = REGISTER + "register(spec('toy')); register(spec('toy2'))"


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


def load(modules: str, **environment: str) -> dict[str, LoadedPlugin]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"MSINET_PLUGINS": modules, **environment}.items():
            patch.setenv(name, value)
        loaded = load_plugins(in_process=True)
    return {item.plugin.module: item for item in loaded}


def test_a_plugin_registers_its_devices(write_plugin: WritePlugin) -> None:
    write_plugin("good_plugin", GOOD)
    loaded = load("good_plugin")["good_plugin"]
    assert [spec.name for spec in loaded.specs] == ["toy", "toy2"]
    assert not loaded.problem
    assert not loaded.adds_commands
    assert loaded.seconds > 0


def test_a_plugin_may_only_add_commands(write_plugin: WritePlugin) -> None:
    write_plugin("command_plugin", "@hookimpl\ndef msinet_register_commands(cli):\n    1 / 0")
    loaded = load("command_plugin")["command_plugin"]
    assert (loaded.problem, loaded.specs, loaded.adds_commands) == ("", [], True)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("import no_such_module_at_all", ["ModuleNotFoundError", "no_such_module_at_all"]),
        ("raise SystemExit(7)", ["SystemExit", "7"]),
        ("def broken(:\n", ["SyntaxError"]),
        ("", ["msinet_register_devices", "msinet_register_commands"]),
        (
            "@hookimpl\ndef msinet_register_device(register):\n    register(spec())",
            ["'msinet_register_device'", "'msinet_register_devices'"],
        ),
        (
            "def msinet_register_devices(register):\n    register(spec())",
            ["'msinet_register_devices'", "@msinet_core.hookimpl"],
        ),
        (
            "@hookimpl\ndef msinet_register_devices(register, cli):\n    register(spec())",
            ["cli", "'register'"],
        ),
        (REGISTER + "register('toy')", ["'toy'", "DeviceSpec"]),
        (REGISTER + "register(spec()); register(spec())", ["'toy'", "twice"]),
        (REGISTER + "register(spec('half')); raise RuntimeError('no luck')", ["no luck"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "-",
)
def test_a_broken_plugin_is_described_and_does_not_affect_others(
    write_plugin: WritePlugin, body: str, words: list[str]
) -> None:
    write_plugin("broken_plugin", body)
    write_plugin("good_plugin", GOOD)
    loaded = load("broken_plugin,good_plugin")
    broken = loaded["broken_plugin"]
    assert all(word in broken.problem for word in words), broken.problem
    assert broken.specs == []
    assert not broken.mismatched
    assert "Traceback" in broken.trace
    assert [spec.name for spec in loaded["good_plugin"].specs] == ["toy", "toy2"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (REGISTER + "register(spec(api_version=99))", ["api_version 99", "newer msinet"]),
        (REGISTER + "register(spec(api_version=0))", ["api_version 0", "newer plugin"]),
        (REGISTER + "register(spec(telepathy=True))", ["'telepathy'", "api_version 1"]),
        (
            REGISTER + "register(DeviceSpec(name='toy', summary='', framework='', factory='a:B',"
            " probe=spec))",
            ["'api_version'"],
        ),
        ("from msinet_core.device import Telepathy", ["Telepathy", "api_version 1"]),
        ("from msinet_core import Telepathy", ["Telepathy", "api_version 1"]),
    ],
    ids=["newer", "older", "argument", "no version", "import", "public import"],
)
def test_a_plugin_for_another_version_is_recognized(
    write_plugin: WritePlugin, body: str, words: list[str]
) -> None:
    write_plugin("other_version", body)
    loaded = load("other_version")["other_version"]
    assert loaded.mismatched
    assert all(word in loaded.problem for word in words), loaded.problem


def test_the_traceback_ends_in_the_plugin(write_plugin: WritePlugin) -> None:
    write_plugin("invalid_plugin", REGISTER + "register(42)")
    assert "invalid_plugin.py" in load("invalid_plugin")["invalid_plugin"].trace


def test_ctrl_c_while_loading_is_not_swallowed(write_plugin: WritePlugin) -> None:
    write_plugin("slow_plugin", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        load("slow_plugin")


@pytest.mark.parametrize("in_process", [True, False])
def test_a_module_named_twice_is_loaded_once(
    write_plugin: WritePlugin, monkeypatch: pytest.MonkeyPatch, in_process: bool
) -> None:
    write_plugin("good_plugin", GOOD)
    monkeypatch.setenv("MSINET_PLUGINS", "good_plugin, good_plugin")
    loaded = load_plugins(in_process=in_process)
    ours = [item for item in loaded if item.plugin.module == "good_plugin"]
    assert [len(item.specs) for item in ours] == [2, 0]
    assert [bool(item.problem) for item in ours] == [False, True]


@pytest.mark.parametrize("name", ["cpu", "msinet_cpu", "msinet"])
def test_a_plugin_is_disabled_by_entry_point_module_or_distribution(name: str) -> None:
    cpu = load("", MSINET_DISABLE_PLUGINS=name)["msinet_cpu"]
    assert cpu.disabled
    assert cpu.specs == []
    assert not cpu.problem


def test_the_built_in_devices_come_through_entry_points() -> None:
    loaded = load_plugins()
    names = {spec.name for item in loaded for spec in item.specs}
    assert {"reference", "cpu", "metal", "cuda", "tpu"} <= names
    assert all(item.plugin.distribution for item in loaded)


VALID = DeviceSpec(
    name="toy",
    summary="a toy",
    framework="none",
    factory="toy.device:Toy",
    probe=lambda: Probe(Availability.INSTALLED),
    api_version=1,
)


def test_a_valid_spec_has_no_problems() -> None:
    assert spec_problems(VALID) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "Toy"),
        ("name", ""),
        ("name", "auto"),
        ("name", 3),
        ("aliases", ("two words",)),
        ("aliases", ["list"]),
        ("aliases", ("toy",)),
        ("aliases", ("one", "one")),
        ("factory", "toy.device"),
        ("probe", None),
        ("data_format", "NCWH"),
        ("kernel_layout", "HWII"),
        ("kernel_layout", None),
        ("priority", "high"),
        ("priority", True),
        ("doctor", "toy.doctor"),
        ("options", ("xla",)),
        ("options", (DeviceOption("xla", "Compile.", "maybe", ("on", "off")),)),
        ("options", (DeviceOption("Xla=x", "Compile.", "on", ("on", "off")),)),
        ("options", (DeviceOption("xla", "Compile.", "on", ("on", "off")),) * 2),
        ("capabilities", None),
        ("capabilities", Capabilities(training="yes")),  # type: ignore[arg-type]
        ("capabilities", Capabilities(precisions=("float8",))),
        ("capabilities", Capabilities(precisions=())),
        ("capabilities", Capabilities(distribution=("sharded",))),
        ("capabilities", Capabilities(distribution=("multiworker",))),  # no cluster_variable
    ],
)
def test_each_invalid_field_is_named(field: str, value: object) -> None:
    (problem,) = spec_problems(replace(VALID, **{field: value}))  # type: ignore[arg-type]
    names = {
        "aliases": ("name", "aliases"),
        "options": ("option",),
        "capabilities": ("capabilities", "precisions", "distribution"),
    }
    assert problem.startswith(names.get(field, (field,)))
