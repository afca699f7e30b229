"""Automatic choices of the device and the precision, from measurements and from the hardware."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from msinet_core.benchmark.results import Results, rows_to_remember
from msinet_core.benchmark.settings import BenchSettings
from msinet_core.device import Availability, Capabilities, DeviceSpec, Hardware, Probe
from msinet_core.hardware import host
from msinet_core.hardware.machine import describe_machine, this_machine
from msinet_core.registry import measured
from msinet_core.registry.measured import Measured, automatic_precision, recall, remember
from msinet_core.registry.plugin import LoadedPlugin, Plugin
from msinet_core.registry.registry import Registry


def device(name: str, priority: int, bfloat16: bool = False) -> DeviceSpec:
    hardware = (Hardware("chip", bfloat16=bfloat16),)
    return DeviceSpec(
        name,
        "for tests",
        "None",
        "nowhere:Device",
        lambda: Probe(Availability.INSTALLED, hardware=hardware),
        1,
        priority=priority,
        capabilities=Capabilities(precisions=("float32", "bfloat16", "float16")),
    )


def row(name: str, rate: float, precision: str = "float32", **changes: Any) -> Measured:
    machine = describe_machine(this_machine())
    found = Measured(name, precision, "train", rate, {}, "2026-11-25T10:00:00+00:00", machine)
    return replace(found, **changes)


REGISTRY = Registry([LoadedPlugin(Plugin("a", "a"), specs=[device("gpu", 9), device("cpu", 5)])])


def chosen(training: bool = True, precision: str = "auto") -> tuple[str, str]:
    said: list[str] = []
    spec = REGISTRY.select(training=training, precision=precision, message=said.append)
    return spec.name, said[0]


def test_the_device_that_was_measured_to_be_fastest_is_chosen() -> None:
    assert chosen()[0] == "gpu"
    remember([row("cpu", 3.0), row("gpu", 2.0), row("gpu", 9.0, "float16")])
    name, said = chosen()
    assert name == "cpu"
    assert "measured on 2026-11-25" in said
    assert chosen(training=False)[0] == "gpu"  # only training was measured
    remember([row("gpu", 4.0)])
    assert chosen()[0] == "gpu"


@pytest.mark.parametrize(
    "changes",
    [
        {"machine": "another one"},
        {"msinet": "0.0.1"},
        {"versions": {"numpy": "1.0"}},
        {"versions": {"not-installed": "1.0"}},
    ],
)
def test_measurements_of_another_machine_or_version_do_not_count(changes: dict[str, Any]) -> None:
    remember([row("cpu", 3.0, **changes), row("gpu", 2.0)])
    assert chosen()[0] == "gpu"
    assert [found.device for found in recall()] == ["gpu"]


def test_a_device_that_was_measured_alone_is_not_called_the_fastest() -> None:
    remember([row("gpu", 2.0), row("gpu", 3.0, "bfloat16")])
    name, said = chosen()
    assert name == "gpu"
    assert "measured" not in said


@pytest.mark.parametrize(
    ("precision", "name"),
    [("auto", "cpu"), ("bfloat16", "cpu"), ("float32", "gpu"), ("float16", "gpu")],
)
def test_the_fastest_device_is_the_fastest_in_the_requested_precision(
    precision: str, name: str
) -> None:
    remember([row("cpu", 9.0, "bfloat16"), row("gpu", 1.0, "bfloat16")])
    remember([row("cpu", 3.0), row("gpu", 5.0)])
    assert chosen(precision=precision)[0] == name


def test_machines_that_share_a_home_folder_keep_their_measurements() -> None:
    remember([row("cpu", 3.0, machine="another one")])
    remember([row("cpu", 3.0), row("gpu", 2.0)])
    assert len(json.loads(measured.measurements_file().read_text(encoding="utf-8"))) == 3
    assert chosen()[0] == "cpu"


@pytest.mark.parametrize("changes", [{"date": None}, {"images_per_s": "fast"}])
def test_values_of_another_type_are_ignored(changes: dict[str, Any]) -> None:
    remember([row("cpu", 3.0, **changes), row("gpu", 2.0)])
    assert chosen()[0] == "gpu"


def test_a_device_that_was_not_measured_keeps_its_priority() -> None:
    remember([row("cpu", 3.0)])
    assert chosen()[0] == "gpu"


@pytest.mark.parametrize("text", ["", "[1]", "{}", '[{"device": 1}]', "[[]]"])
def test_a_damaged_file_is_ignored_and_replaced(text: str) -> None:
    measured.measurements_file().write_text(text, encoding="utf-8")
    assert recall() == []
    remember([row("cpu", 3.0)])
    assert len(recall()) == 1


@pytest.mark.parametrize(
    "changes", [{"images_per_s": None}, {"images_per_s": "3"}, {"date": 2026}, {"versions": ["2"]}]
)
def test_a_damaged_measurement_is_ignored_and_the_others_count(changes: dict[str, Any]) -> None:
    remember([row("cpu", 3.0), row("gpu", 2.0)])
    rows = json.loads(measured.measurements_file().read_text(encoding="utf-8"))
    text = json.dumps([{**rows[0], **changes}, rows[1]])
    measured.measurements_file().write_text(text, encoding="utf-8")
    assert chosen()[0] == "gpu"
    assert [found.device for found in recall()] == ["gpu"]
    text = json.dumps([{"device": "x"}, 3, rows[1]])
    measured.measurements_file().write_text(text, encoding="utf-8")
    remember([])
    assert [found.device for found in recall()] == ["gpu"]


@pytest.mark.parametrize(
    ("rows", "bfloat16", "precision"),
    [
        ([], False, "float32"),
        ([], True, "bfloat16"),
        ([("float32", 2.0), ("bfloat16", 1.0)], True, "float32"),
        ([("float32", 1.0), ("bfloat16", 2.0)], False, "bfloat16"),
        ([("float32", 1.0), ("float16", 2.0)], False, "float32"),
        ([("float32", 1.0)], True, "bfloat16"),
    ],
)
def test_the_precision_is_the_fastest_that_is_known(
    rows: list[tuple[str, float]], bfloat16: bool, precision: str
) -> None:
    spec = device("gpu", 9, bfloat16)
    remember([row("gpu", rate, name) for name, rate in rows])
    found, why = automatic_precision(spec, "auto", "train")
    assert found == precision
    assert (precision in why) is (bool(why))
    assert automatic_precision(spec, "float16", "train") == ("float16", "")


@pytest.mark.parametrize(
    ("flags", "expected"), [("fma avx512_bf16", True), ("amx_bf16", True), ("avx512f", False)]
)
def test_bfloat16_is_found_in_the_processors_flags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str, expected: bool
) -> None:
    monkeypatch.undo()  # the fixture that switches it off
    monkeypatch.setattr(host, "file_text", lambda path: f"model name : x\nflags : {flags}\n")
    assert host.computes_bfloat16() is expected


def test_only_the_published_network_at_batch_size_1_is_remembered() -> None:
    rates = {"whole_images_per_s": 2.0}
    case = {"device": "cpu", "precision": "float32", "status": "ok", "versions": {"numpy": "2"}}
    rows = [{**case, "batch_size": size, "train": rates, "predict": rates} for size in (1, 4)]
    settings = BenchSettings(batch_size=(1, 4), rounds=2)
    results = replace(Results.new(settings), results=rows)
    assert [(found.work, found.images_per_s) for found in rows_to_remember(results, settings)] == [
        ("predict", 2.0),
        ("train", 2.0),
    ]
    narrow = BenchSettings(width=0.5)
    assert rows_to_remember(replace(Results.new(narrow), results=rows), narrow) == []
