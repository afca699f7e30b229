"""Whatever a third-party plugin does, it is reported, and every other device is complete."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from msinet_core.device import Availability, Hardware
from msinet_core.registry.isolation import load_isolated
from msinet_core.registry.plugin import LoadedPlugin, Plugin
from msinet_core.registry.probe_runner import call_probe

HEAD = """
import os, sys, time
from msinet_core import Availability, Capabilities, DeviceOption, DeviceSpec, Hardware, Probe
from msinet_core import hookimpl

def look():
    return Probe(Availability.INSTALLED, hardware=(Hardware("NPU", 4, 2**30),))

@hookimpl
def msinet_register_devices(register):
    def add(name, probe=look, **changes):
        register(DeviceSpec(name, "x", "x", "x.y:Z", probe, 1, **changes))
    {body}
"""

HANG = "__import__('re').match('(a+)+$', 'a' * 64 + 'b')"
"""Never ends, and never lets another thread run."""

BROKEN_AT_IMPORT = {
    "aborts": "__import__('os').abort()",
    "exits_hard": "__import__('os')._exit(0)",
    "hangs": "__import__('time').sleep(3600)",
    "holds_the_lock": HANG,
    "unprintable": "class E(Exception):\n    def __str__(self): raise E\nraise E",
    "wrong_spec": HEAD.format(body="add('npu', aliases=['list'], priority='high')"),
    "unprintable_spec": HEAD.format(
        body="add(type('S', (str,), {'__repr__': lambda self: 1 / 0})('NPU'))"
    ),
}
BROKEN_PROBES = {
    "aborts": "os.abort()",
    "exits": "sys.exit(0)",
    "hangs": "time.sleep(3600)",
    "holds_the_lock": HANG,
    "wrong_type": "Probe('yes', reason=4)",
    "surrogate": "Probe(Availability.NOT_HERE, reason='\\udcff')",
}


GOOD = HEAD.format(
    body="print('hello'); os.system('echo hello')\n"
    "    add('npu', data_format='NCHW', kernel_layout='OIHW', requires=('x>=1',), priority=3,\n"
    "        options=(DeviceOption('fuse', 'Fuse.', 'on', ('on', 'off')),),\n"
    "        capabilities=Capabilities(False, ('float16', 'float32')), doctor='a.b:c')"
)
MODULES = {
    "good": GOOD,
    **{f"import_{case}": text for case, text in BROKEN_AT_IMPORT.items()},
    **{
        f"probe_{case}": HEAD.format(
            body=f"add('good-{number}')\n    add('npu-{number}', lambda: {text})"
        )
        for number, (case, text) in enumerate(BROKEN_PROBES.items())
    },
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plugins")
    for name, text in MODULES.items():
        (folder / f"isolated_{name}.py").write_text(text)
    return folder


@pytest.fixture(scope="module")
def loaded(folder: Path) -> Mapping[str, LoadedPlugin]:
    """Every plugin, loaded side by side."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.syspath_prepend(str(folder))
        plugins = [Plugin(f"isolated_{name}", f"isolated_{name}") for name in MODULES]
        found = dict(zip(MODULES, load_isolated(plugins), strict=True))
    assert not [name for name in sys.modules if name.startswith("isolated_")]
    return found


def test_devices_and_probes_come_through_unchanged(loaded: Mapping[str, LoadedPlugin]) -> None:
    assert not loaded["good"].problem
    (spec,) = loaded["good"].specs
    assert (spec.name, spec.data_format, spec.kernel_layout) == ("npu", "NCHW", "OIHW")
    assert (spec.requires, spec.priority, spec.doctor) == (("x>=1",), 3, "a.b:c")
    assert spec.options[0].choices == ("on", "off")
    assert spec.capabilities.precisions == ("float16", "float32")
    assert not spec.capabilities.training
    assert spec.probe().availability is Availability.INSTALLED
    assert spec.probe().hardware == (Hardware("NPU", 4, 2**30),)
    assert spec.probe.__module__ == "isolated_good"


@pytest.mark.parametrize("case", BROKEN_AT_IMPORT)
def test_a_plugin_that_breaks_when_it_is_loaded_has_a_problem(
    case: str, loaded: Mapping[str, LoadedPlugin]
) -> None:
    assert loaded[f"import_{case}"].problem
    assert loaded[f"import_{case}"].specs == []


@pytest.mark.parametrize("case", BROKEN_PROBES)
def test_a_plugin_that_breaks_in_a_probe_keeps_its_devices(
    case: str, loaded: Mapping[str, LoadedPlugin]
) -> None:
    assert not loaded[f"probe_{case}"].problem
    good, npu = loaded[f"probe_{case}"].specs
    assert good.probe().ready
    assert not npu.probe().ready
    assert npu.probe().reason.isprintable()
    if case in ("aborts", "hangs", "holds_the_lock"):
        assert f"isolated_probe_{case}.py" in call_probe(npu).trace


def test_a_plugin_that_hangs_is_not_waited_for_again(loaded: Mapping[str, LoadedPlugin]) -> None:
    start = time.monotonic()
    names = [f"isolated_{name}" for name in ("import_hangs", "probe_holds_the_lock")]
    again = load_isolated([Plugin(name, name) for name in names])
    assert time.monotonic() - start < 1
    assert [item.problem for item in again] == [
        loaded["import_hangs"].problem,
        loaded["probe_holds_the_lock"].problem,
    ]


def test_with_all_of_them_at_once_the_list_is_complete_in_time(folder: Path) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": str(folder),
        "MSINET_PLUGINS": ",".join(f"isolated_{name}" for name in MODULES),
    }
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", "from msinet_core.cli import main; main()", "devices", "--json"],
        env=environment,
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - start < 20  # five seconds on a machine that does nothing else
    document = json.loads(done.stdout)
    status = {device["name"]: device["status"] for device in document["devices"]}
    assert status["npu"] == status["good-0"] == "installed"
    assert {"reference", "cpu", *(f"npu-{number}" for number in range(len(BROKEN_PROBES)))} <= set(
        status
    )
    assert len(document["problems"]) == len(BROKEN_AT_IMPORT)


def test_nothing_in_the_current_folder_is_executed(tmp_path: Path) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "good.py").write_text(HEAD.format(body="add('good')"))
    for name in ("json", "numpy", "pluggy", "msinet_core", "subprocess"):
        (tmp_path / f"{name}.py").write_text("open('executed', 'w')")
    environment = {
        **os.environ,
        "PYTHONPATH": str(tmp_path / "plugins"),
        "MSINET_PLUGINS": "good",
    }
    command = Path(sys.executable).with_name("msinet-run")
    done = subprocess.run(
        [command, "devices", "--json"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        check=True,
    )
    assert "good" in {device["name"] for device in json.loads(done.stdout)["devices"]}
    assert not (tmp_path / "executed").exists()
