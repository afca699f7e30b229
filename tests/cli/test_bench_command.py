"""``msinet-run bench``: the devices it measures, and what it writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from msinet_core import bench
from msinet_core.errors import UsageError

if TYPE_CHECKING:
    from tests.conftest import Run

TINY: dict[str, Any] = {"width": 0.02, "image_size": (24, 32), "images": 1, "rounds": 1}
OPTIONS = ("--width", "0.02", "--image-size", "24x32", "--images", "1", "--rounds", "1")


def test_results_are_data() -> None:
    (result,) = bench("reference", **TINY)
    assert result["device"] == "reference"
    assert (result["image_size"], result["batch_size"]) == ((24, 32), 1)
    assert result["gflop_per_image"] > 0
    for work in ("predict", "train"):
        rates = result[work]
        assert rates["share"] == pytest.approx(
            rates["whole_images_per_s"] / rates["bare_images_per_s"]
        )
        assert len(rates["rounds"]["bare"]) == 1


@pytest.mark.parametrize("invalid", [{"rounds": 0}, {"images": 1.5}, {"width": -1}])
def test_invalid_settings_are_wrong_usage(invalid: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(invalid))):
        bench("reference", **invalid)


@pytest.mark.parametrize("name", ["bench.xyz", "bench"])
def test_an_unknown_plot_format_is_refused_before_anything_is_measured(run: Run, name: str) -> None:
    result = run("bench", "--device", "reference", "--plot", name, "--json", "-")
    assert result.exit_code == 2
    assert f"'{name}'" in result.stderr
    assert ".svg" in result.stderr
    assert not result.stdout
    assert not Path(name).exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--device", "reference", "bench"),
        ("bench", "--device", "reference", "--plot", "a.svg"),
        ("--device", "reference", "bench", "--device", "reference"),
    ],
)
def test_a_device_is_measured_once_wherever_it_is_named(
    run: Run, arguments: tuple[str, ...]
) -> None:
    result = run(*arguments, *OPTIONS, "--json", "-")
    assert result.exit_code == 0, result.output
    assert [one["device"] for one in json.loads(result.stdout)["results"]] == ["reference"]
    if "a.svg" in arguments:
        assert Path("a.svg").read_text(encoding="utf-8").startswith("<?xml")


def test_devices_before_and_after_the_command_are_both_measured(run: Run) -> None:
    result = run("--device", "reference", "bench", "--device", "nowhere", "--json", "-")
    assert result.exit_code == 2
    assert "nowhere" in result.stderr
    assert not result.stdout


@pytest.mark.parametrize("command", ["bench", "devices"])
def test_two_devices_before_a_command_are_refused(run: Run, command: str) -> None:
    result = run("--device", "cpu", "--device", "reference", command)
    assert result.exit_code == 2
    assert "'cpu' and 'reference'" in result.stderr
