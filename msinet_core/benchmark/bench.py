"""Measure devices: the function behind ``msinet-run bench``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from msinet_core.benchmark.results import Results, rows_to_remember
from msinet_core.benchmark.settings import BenchSettings
from msinet_core.benchmark.suite import cases, run_suite
from msinet_core.errors import DeviceUnavailableError, MsinetError, UsageError, bullet_list
from msinet_core.network.msinet import DEFAULT_IMAGE_SIZE, msinet_graph
from msinet_core.network.ops import Size
from msinet_core.registry.measured import remember
from msinet_core.registry.probe_runner import run_probe
from msinet_core.registry.registry import AUTO, load_registry
from msinet_core.system.files import check_writable_folder
from msinet_core.system.progress import Progress
from msinet_core.system.progress_bars import as_progress

if TYPE_CHECKING:
    from msinet_core.device import DeviceSpec


def bench(
    devices: str | Sequence[str] | None = None,
    *,
    precision: str | Sequence[str] = ("auto",),
    batch_size: int | Sequence[int] = (1,),
    device_options: Mapping[str, str] | None = None,
    image_size: Size | str = DEFAULT_IMAGE_SIZE,
    width: float = 1.0,
    images: int = 24,
    rounds: int = 5,
    timeout: int = 3600,
    output: str | Path | None = None,
    resume: bool = False,
    trace: str | Path | None = None,
    progress: bool | Progress = False,
) -> Results:
    """Measure images per second of training and prediction.

    Each combination of device, precision and batch size is measured in a process of its own. In
    turn run the bare compiled step on images in memory, and the trainer on JPEG files or the
    prediction of a folder (decoding, resizing, writing). What fails becomes a row with the reason.
    What was measured of the published network at batch size 1 decides later which device and
    precision are chosen automatically.

    Args:
        devices: The devices' names; None for all that are available.
        precision: "auto", "float32", "bfloat16" or "float16", or several of them.
        batch_size: Images in a batch, or several such numbers.
        device_options: Options of the devices, by name.
        image_size: Height and width of the network's input in pixels.
        width: Scale of the number of channels; 1 is the published network.
        images: Images in each round, at least.
        rounds: How many times each pair is measured.
        timeout: Seconds after which a combination is stopped and reported.
        output: A JSON file that is written after each combination; it must not exist, unless
            `resume` is given.
        resume: Keep the rows of `output` that were measured, and add those that are missing.
        trace: A folder for each framework's own profile of a few steps, which is written after
            the measurement.
        progress: True shows progress on stderr.

    Returns:
        The results: where and when they were measured, and in ``results`` a dictionary per
        combination: ``device``, ``precision``, ``batch_size``, ``status`` ("ok", "failed" or "out
        of memory") and, unless it is "ok", ``reason``. A measured row has ``versions``,
        ``gflop_per_image``, ``reader_images_per_s``, ``peak_tflops`` (of convolutions on this
        device), ``memory`` (the largest of the ``process`` and its growth on the ``gpu``, in
        bytes), and under ``predict`` and (if the device trains) ``train``: ``bare_images_per_s``,
        ``whole_images_per_s``, their ratio ``share`` (all medians), ``compile_seconds``,
        ``tflops``, ``peak_share``, ``joules_per_image`` of the bare step (None if it cannot be
        read) and every round's rates in ``rounds``.

    Raises:
        DeviceUnavailableError: None of the devices is available.
        InterruptedRunError: Interrupted; rows that were measured are in `output`.
        UsageError: A setting is invalid, there is no such device, or `output` holds other results.
        MsinetError: Nothing could be measured, or `output` or `trace` cannot be written, which is
            checked first.
    """
    settings = BenchSettings(
        precision=precision,  # type: ignore[arg-type]  # one value and text are converted
        batch_size=batch_size,  # type: ignore[arg-type]
        device_options=device_options or {},
        image_size=image_size,  # type: ignore[arg-type]
        width=width,
        images=images,
        rounds=rounds,
        timeout=timeout,
    )
    msinet_graph(settings.width).check_image_size(settings.image_size)
    display = as_progress(progress)
    specs = _choose([devices] if isinstance(devices, str) else devices)
    _check_precisions(specs, settings.precision)
    todo = cases(specs, settings)
    path = None if output is None else Path(output)
    if trace is not None:
        check_writable_folder(Path(trace))
    results = _begin(Results.new(settings), path, resume)
    if path is not None:
        results.write(path)  # fails now instead of after minutes of measuring
    run_suite(todo, settings, results, path, display, Path(trace) if trace else None)
    try:
        remember(rows_to_remember(results, settings))
    except MsinetError as error:  # the measurements themselves are worth more
        display.message(f"Automatic choices will not use these results: {error}")
    if not results.measured():
        lines = [f"{row['device']}: {row['reason']}" for row in results.failures()]
        raise MsinetError(f"Nothing could be measured.\n{bullet_list(list(dict.fromkeys(lines)))}")
    return results


def _check_precisions(specs: Sequence[DeviceSpec], precisions: Sequence[str]) -> None:
    """Raise an error if no device supports any of the precisions."""
    supported = {"auto", *(name for spec in specs for name in spec.capabilities.precisions)}
    if supported.isdisjoint(precisions):
        specs[0].check_precision(precisions[0])


def _begin(results: Results, path: Path | None, resume: bool) -> Results:
    """Return the results to continue: new ones, or those of the file."""
    if resume and path is None:
        raise UsageError("No file of results to resume; give it with --json (output in Python).")
    if path is None or not path.exists():
        return results
    if not resume:
        raise UsageError(
            f"{path} already exists. Add what it lacks with --resume, or choose another file."
        )
    before = Results.read(path)
    difference = before.difference(results)
    if difference:
        raise UsageError(
            f"Cannot continue {path}: it was measured {difference}. Choose another file."
        )
    return replace(before, results=before.measured())


def _choose(names: Sequence[str] | None) -> list[DeviceSpec]:
    registry = load_registry()
    if names:
        found = [registry.select(AUTO) if name == AUTO else registry.spec(name) for name in names]
        specs = list({spec.name: spec for spec in found}.values())
        probes = [run_probe(spec) for spec in specs]
        if not any(probe.ready for probe in probes):
            raise DeviceUnavailableError(specs[0].unavailable_message(probes[0]))
        return specs
    available = [
        registration.spec
        for registration in registry.registrations
        if registration.spec.priority >= 0 and run_probe(registration.spec).ready
    ]
    return available or [registry.select(AUTO)]  # which explains what each device needs
