"""Where a device raised: the last line of its own files that the traceback passes through."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from msinet_core.device import DeviceSpec
from msinet_core.errors import UsageError
from msinet_core.reference import SPEC
from msinet_core.registry.diagnosis import clear_locals, describe_failure, failing_line

LAYERS = """
import json

from msinet_core.errors import UsageError


def concat(op):
    return json.loads(op)


def pool(op):
    raise UsageError("No such pool.")


def convolution(op):
    try:
        concat(op)
    except ValueError as error:
        raise UsageError("It did not work.") from error


class Base:
    pass
"""


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DeviceSpec:
    package = tmp_path / "conformance_placed" / "deep"
    package.mkdir(parents=True)
    for name in (package.parent / "__init__.py", package / "__init__.py"):
        name.write_text("")
    (package.parent / "layers.py").write_text(LAYERS)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("", ".layers", ".deep"):
        monkeypatch.delitem(sys.modules, f"conformance_placed{name}", raising=False)
    import conformance_placed.layers  # type: ignore[import-not-found]

    assert conformance_placed.layers
    return dataclasses.replace(SPEC, factory="conformance_placed.deep.device:Device")


def raised(name: str) -> Exception:
    function = getattr(sys.modules["conformance_placed.layers"], name)
    with pytest.raises(Exception) as caught:
        function("no JSON")
    return caught.value


def test_the_last_line_in_the_package_is_named_not_that_of_a_library(spec: DeviceSpec) -> None:
    text = describe_failure(raised("concat"), spec)
    assert text.startswith("layers.py, line 8, concat: JSONDecodeError: Expecting value")


def test_our_own_errors_need_no_type(spec: DeviceSpec) -> None:
    assert describe_failure(raised("pool"), spec) == "layers.py, line 12, pool: No such pool."


def test_the_cause_is_what_is_looked_for(spec: DeviceSpec) -> None:
    text = describe_failure(raised("convolution"), spec)
    assert text == "layers.py, line 8, concat: UsageError: It did not work."


def test_a_device_is_made_of_its_base_classes_too(
    spec: DeviceSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = sys.modules["conformance_placed.layers"].Base
    heir = SimpleNamespace(Device=type("Device", (base,), {"__module__": "heir_of_placed"}))
    monkeypatch.setitem(sys.modules, "heir_of_placed", heir)  # type: ignore[arg-type]
    spec = dataclasses.replace(spec, factory="heir_of_placed:Device")
    assert failing_line(raised("pool"), spec, outside=False) == "layers.py, line 12, pool"


def test_without_a_line_of_the_plugin_a_library_is_named_and_the_core_is_not(
    spec: DeviceSpec,
) -> None:
    error = raised("concat")
    assert failing_line(error, SPEC).startswith("decoder.py, line ")
    assert failing_line(error, SPEC, outside=False) == ""
    assert describe_failure(UsageError("Wrong."), spec) == "Wrong."


def test_frames_let_go_of_what_they_hold(spec: DeviceSpec) -> None:
    error = raised("concat")
    assert error.__traceback__ is not None
    clear_locals(error)
    last = error.__traceback__.tb_next
    assert last is not None
    assert last.tb_frame.f_locals == {}
