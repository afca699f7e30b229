"""``msinet-run bench``: which devices it measures, and what it refuses before it does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.conftest import Run

RATES = {"bare_images_per_s": 2.0, "whole_images_per_s": 1.0, "share": 0.5}


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The devices that were measured, in turn."""
    names: list[str] = []

    def benchmark(spec: Any, *arguments: Any) -> dict[str, Any]:
        names.append(spec.name)
        return {
            "device": spec.name,
            "precision": "float32",
            "gflop_per_image": 1.0,
            "predict": RATES,
        }

    monkeypatch.setattr("msinet_core.benchmark.measure.benchmark", benchmark)
    return names


@pytest.mark.parametrize("name", ["bench.xyz", "bench"])
def test_a_plot_of_another_ending_is_refused_before_anything_is_measured(
    run: Run, measured: list[str], name: str
) -> None:
    result = run("bench", "--device", "reference", "--plot", name)
    assert result.exit_code == 2
    assert f"A plot cannot be written as '{name}'" in result.stderr
    assert "*.png, *.svg, *.pdf" in result.stderr
    assert measured == []
    assert not Path(name).exists()


def test_the_plot_is_written(run: Run, measured: list[str]) -> None:
    assert run("bench", "--device", "reference", "--plot", "a.svg").exit_code == 0
    assert Path("a.svg").read_text(encoding="utf-8").startswith("<?xml")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--device", "reference", "bench"),
        ("bench", "--device", "reference"),
        ("--device", "reference", "bench", "--device", "reference"),
    ],
)
def test_a_device_is_measured_once_wherever_it_is_named(
    run: Run, measured: list[str], arguments: tuple[str, ...]
) -> None:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert measured == ["reference"]


def test_devices_before_and_after_the_command_are_both_meant(run: Run, measured: list[str]) -> None:
    result = run("--device", "reference", "bench", "--device", "nowhere")
    assert result.exit_code == 2
    assert "nowhere" in result.stderr
    assert measured == []


@pytest.mark.parametrize("command", ["bench", "devices"])
def test_two_devices_before_a_command_are_refused(
    run: Run, measured: list[str], command: str
) -> None:
    result = run("--device", "cpu", "--device", "reference", command)
    assert result.exit_code == 2
    assert "Two devices are named, 'cpu' and 'reference'" in result.stderr
    assert measured == []
