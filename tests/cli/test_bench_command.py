"""``msinet-run bench``: what it measures, what it writes, and what it does when something fails."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from msinet_core import __version__, bench
from msinet_core.benchmark import results, suite
from msinet_core.benchmark.suite import failed_row
from msinet_core.benchmark.table import make_table
from msinet_core.errors import InterruptedRunError, MsinetError, UsageError
from msinet_core.registry.registry import load_registry
from msinet_core.system.child_process import python_command

if TYPE_CHECKING:
    from tests.conftest import Run

TINY: dict[str, Any] = {"width": 0.02, "image_size": (24, 32), "images": 1, "rounds": 1}
OPTIONS = ("--width", "0.02", "--image-size", "24x32", "--images", "1", "--rounds", "1")

BROKEN = """
import os, signal
from msinet_core import Availability, DeviceSpec, Probe, hookimpl

def died(*arguments):
    os.kill(os.getpid(), signal.SIGSEGV)

def evicted(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)

def exhausted(*arguments):
    raise RuntimeError("XLA: RESOURCE_EXHAUSTED: 16 GiB")

def hanging(*arguments):
    import time
    time.sleep(60)

@hookimpl
def msinet_register_devices(register):
    for name in ("died", "evicted", "exhausted", "hanging"):
        register(DeviceSpec(name, "Broken", "None", f"broken_devices:{name}",
                            lambda: Probe(Availability.INSTALLED), 1, priority=-1))
"""


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Devices that fail in different ways when they are opened."""
    (tmp_path / "broken_devices.py").write_text(BROKEN, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("MSINET_PLUGINS", "broken_devices")


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results file with two measured combinations and one that failed."""
    path = tmp_path_factory.mktemp("bench") / "results.json"
    bench("reference", precision=["float32", "bfloat16"], batch_size=1, output=path, **TINY)
    bench("reference", batch_size=[1, 2], output=path, resume=True, **TINY)
    return path


def edited(path: Path, target: Path, **changes: Any) -> Path:
    document = json.loads(path.read_text(encoding="utf-8"))
    target.write_text(json.dumps({**document, **changes}), encoding="utf-8")
    return target


def test_results_are_data(measured: Path) -> None:
    document = results.Results.read(measured)
    assert document.machine["cores"] >= 1
    assert document.settings["image_size"] == [24, 32]
    assert [row["batch_size"] for row in document.results] == [1, 2]
    for row in document.results:
        assert row["memory"]["process"] > 2**20
        assert row["reader_images_per_s"] > 0
        for work, cost in (("predict", 1), ("train", 3)):
            rates = row[work]
            rounds = rates["rounds"]
            assert rates["bare_images_per_s"] == rounds["bare"][0]
            assert rates["share"] == pytest.approx(rounds["whole"][0] / rounds["bare"][0])
            tflops = cost * row["gflop_per_image"] * rounds["bare"][0] / 1000
            assert rates["tflops"] == pytest.approx(tflops)
            assert rates["peak_share"] == pytest.approx(tflops / row["peak_tflops"])


def test_a_resumed_measurement_keeps_what_was_measured_and_repeats_what_failed(
    measured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def count(case: Any, *arguments: Any) -> dict[str, Any]:
        again.append(case.batch_size)
        return suite.failed_row(case, "not now")

    again: list[int] = []
    path = edited(measured, tmp_path / "copy.json")
    monkeypatch.setattr(suite, "_measure_apart", count)
    for _ in range(2):
        before = results.Results.read(measured).results
        after = bench("reference", batch_size=[2, 3, 1], output=path, resume=True, **TINY)
        assert after.results[:2] == before
    assert again == [3, 3]


@pytest.mark.parametrize("part", ["memory", "predict", "train"])
def test_results_without_a_figure_are_refused(
    run: Run, measured: Path, tmp_path: Path, part: str
) -> None:
    (row, *_) = json.loads(measured.read_text(encoding="utf-8"))["results"]
    for name in row[part]:
        if name in ("tflops", "rounds"):
            continue
        figures = {key: value for key, value in row[part].items() if key != name}
        path = edited(measured, tmp_path / "less.json", results=[{**row, part: figures}])
        assert run("bench", "--from", path).exit_code == 1, name


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"msinet_bench": 2}, MsinetError),
        ({"msinet": "0.0.1"}, UsageError),
        ({"settings": {}}, UsageError),
        ({"results": [{"device": "cpu"}]}, MsinetError),
        ({"machine": []}, MsinetError),
    ],
)
def test_results_that_cannot_be_continued_are_refused_and_kept(
    measured: Path, tmp_path: Path, changes: dict[str, Any], error: type[Exception]
) -> None:
    path = edited(measured, tmp_path / "other.json", **changes)
    before = path.read_bytes()
    with pytest.raises(error, match=r"other\.json"):
        bench("reference", output=path, resume=True, **TINY)
    assert path.read_bytes() == before


def test_an_existing_file_is_not_overwritten(run: Run, measured: Path) -> None:
    before = measured.read_bytes()
    result = run("bench", "--device", "reference", *OPTIONS, "--json", measured)
    assert result.exit_code == 2
    assert measured.read_bytes() == before


@pytest.mark.parametrize(
    ("device", "status", "reason"),
    [
        ("died", "failed", "SIGSEGV"),
        ("evicted", "out of memory", "SIGKILL"),
        ("exhausted", "out of memory", "16 GiB"),
        ("hanging", "failed", "1 s"),
    ],
)
def test_a_device_that_fails_is_a_row_with_the_reason(
    broken: None, monkeypatch: pytest.MonkeyPatch, device: str, status: str, reason: str
) -> None:
    monkeypatch.setattr(results.Results, "measured", lambda self: self.results)
    timeout = 1 if device == "hanging" else 60
    (row,) = bench(device, timeout=timeout, **TINY).results
    assert row["status"] == status
    assert reason in row["reason"]


@pytest.mark.parametrize(("device", "code"), [("exhausted", 1), ("died", 1)])
def test_measuring_nothing_is_an_error(run: Run, broken: None, device: str, code: int) -> None:
    result = run("bench", "--device", device, *OPTIONS)
    assert result.exit_code == code
    assert f"Error: Nothing could be measured.\n  - {device}" in result.stderr


def test_a_disk_that_fills_stops_and_keeps_what_was_written(
    measured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = edited(measured, tmp_path / "copy.json")
    before = results.Results.read(path)
    written = results.write_text

    def full(target: Path, text: str) -> None:
        if len(json.loads(text)["results"]) > 2:
            raise MsinetError("No space left on device")
        written(target, text)

    monkeypatch.setattr(results, "write_text", full)
    monkeypatch.setattr(
        suite, "_measure_apart", lambda case, *others: suite.failed_row(case, "failed")
    )
    with pytest.raises(MsinetError, match="No space left"):
        bench("reference", batch_size=3, output=path, resume=True, **TINY)
    assert results.Results.read(path).results == before.results


def test_an_interrupted_measurement_gives_the_command_that_continues_it(
    run: Run, measured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: Any) -> None:
        raise KeyboardInterrupt

    path = edited(measured, tmp_path / "copy.json")
    monkeypatch.setattr(suite, "_measure_apart", interrupt)
    with pytest.raises(InterruptedRunError) as caught:
        bench("reference", batch_size=3, output=path, resume=True, **TINY)
    assert len(results.Results.read(path).results) == 2
    command = str(caught.value).partition(" Continue with: msinet-run ")[2]
    monkeypatch.setattr(
        suite, "_measure_apart", lambda case, *others: suite.failed_row(case, "failed")
    )
    assert run(*shlex.split(command)).exit_code == 0
    assert results.Results.read(path).results[2]["batch_size"] == 3


def test_ctrl_c_ends_the_device_as_well(broken: None, tmp_path: Path) -> None:
    command = python_command(
        "from msinet_core.cli import main; main()",
        *("bench", "--device", "hanging", *OPTIONS, "--json", str(tmp_path / "a.json")),
    )
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "a.json").exists():
        time.sleep(0.05)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130, errors
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))["results"] == []


def test_machines_are_joined_in_one_table_and_one_chart(
    run: Run, measured: Path, tmp_path: Path
) -> None:
    machine = {**results.Results.read(measured).machine, "chip": "Apple M4", "gpus": []}
    mac = edited(measured, tmp_path / "mac.json", machine=machine)
    result = run("bench", "--from", measured, mac, "--plot", "a.svg", "--plot", "a.png")
    assert result.exit_code == 0, result.output
    assert result.stdout.count("Apple M4") == 5  # a row per batch size and work, and the machine
    assert Path("a.svg").read_text(encoding="utf-8").startswith("<?xml")
    assert Path("a.png").exists()


@pytest.mark.parametrize("target", ["-", "joined.json"])
def test_joined_machines_are_one_json_document(run: Run, measured: Path, target: str) -> None:
    other = edited(measured, Path("other.json"), msinet="0.0.1")
    result = run("bench", "--from", measured, other, "--json", target)
    assert result.exit_code == 0, result.output
    text = result.stdout if target == "-" else Path(target).read_text(encoding="utf-8")
    assert [each["msinet"] for each in json.loads(text)] == [__version__, "0.0.1"]
    if target != "-":
        assert run("bench", "--from", measured, "--json", target).exit_code == 2
        again = run("bench", "--from", target, "--json", "-")
        assert json.loads(again.stdout) == json.loads(text)
        refused = run("bench", "--device", "reference", "--resume", "--json", target)
        assert refused.exit_code == 1 and target in refused.stderr


def test_options_that_measure_are_refused_with_measured_results(run: Run, measured: Path) -> None:
    result = run("bench", "--from", measured, "--resume", "--trace", "t", "--device", "nowhere")
    assert result.exit_code == 2
    for option in ("--resume", "--trace", "--device"):
        assert option in result.stderr
    assert run("bench", "--from", measured, "--batch-size", "1").exit_code == 2
    assert run("--device", "reference", "bench", "--from", measured).exit_code == 2


@pytest.mark.parametrize("text", ["{}", "[]", "3", '{"msinet_bench": 1}'])
def test_other_json_files_are_refused_in_a_sentence(run: Run, text: str) -> None:
    Path("other.json").write_text(text, encoding="utf-8")
    result = run("bench", "--from", "other.json")
    assert result.exit_code == 1
    assert "Error(" not in result.stderr


def test_the_baseline_is_the_first_row_of_its_device(measured: Path) -> None:
    document = results.Results.read(measured)
    table = make_table([document], baseline="reference")
    ratios = [float(row[-1]) for row in table.rows]
    rates = [row["predict"]["whole_images_per_s"] for row in document.results]
    assert ratios[0] == ratios[1] == 1
    assert ratios[2] == pytest.approx(rates[1] / rates[0], abs=0.01)
    missing = make_table([document], baseline="cpu")
    assert missing.headings == make_table([document]).headings
    assert "'cpu'" in missing.notes[-1]


def test_the_fastest_combination_is_given_as_options(measured: Path) -> None:
    document = results.Results.read(measured)
    document.results[1]["predict"]["whole_images_per_s"] = 1e9
    document.results[0]["train"]["whole_images_per_s"] = 1e9
    prediction, training = document.fastest_sentence().split(";")
    assert "--device reference --precision float32 --batch-size 2" in prediction
    assert "--device reference --precision float32 --batch-size 1" in training


@pytest.mark.parametrize(
    "invalid",
    [
        *({"rounds": 0}, {"images": 1.5}, {"width": -1}, {"batch_size": [1, 0]}),
        *({"batch_size": []}, {"precision": "float32,double"}, {"image_size": "25x32"}),
    ],
)
def test_invalid_settings_are_wrong_usage(invalid: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(invalid)).replace("_", ".")):
        bench("reference", **invalid)


@pytest.mark.parametrize("name", ["bench.xyz", "bench"])
def test_an_unknown_plot_format_is_refused_before_anything_is_measured(run: Run, name: str) -> None:
    result = run("bench", "--device", "reference", "--plot", name, "--json", "-")
    assert result.exit_code == 2
    assert f"'{name}'" in result.stderr
    assert ".svg" in result.stderr
    assert not result.stdout
    assert not Path(name).exists()


def test_a_device_is_measured_once_wherever_it_is_named(run: Run) -> None:
    arguments = ("--device", "reference", "bench", "--device", "reference")
    result = run(
        *(*arguments, "--baseline", "reference", *OPTIONS, "--json", "-", "--trace", "traces")
    )
    assert result.exit_code == 0, result.output
    (row,) = json.loads(result.stdout)["results"]
    assert row["device"] == "reference"
    assert "'reference' has no profiler" in row["trace"]
    assert not list(Path("traces").iterdir())


def test_the_automatic_device_is_measured_by_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So that there is one where no framework is installed.
    source = BROKEN.replace("priority=-1", "priority=999")
    (tmp_path / "best_devices.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("MSINET_PLUGINS", "best_devices")
    chosen = load_registry().select("auto").name
    monkeypatch.setattr(suite, "_measure_apart", lambda case, *rest: failed_row(case, "no"))
    with pytest.raises(MsinetError, match=f"{chosen}: no"):
        bench("auto", **TINY)


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
