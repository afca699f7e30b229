"""Measure devices: the function behind ``msinet-run bench``."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msinet_core.benchmark.measure import measure
from msinet_core.benchmark.settings import BenchSettings
from msinet_core.errors import DeviceUnavailableError
from msinet_core.network.msinet import DEFAULT_IMAGE_SIZE
from msinet_core.network.ops import Size
from msinet_core.registry.registry import load_registry, run_probe
from msinet_core.system.progress import Progress
from msinet_core.system.progress_bars import as_progress

if TYPE_CHECKING:
    from msinet_core.device import DeviceSpec


def bench(
    devices: str | Sequence[str] | None = None,
    *,
    precision: str = "auto",
    device_options: Mapping[str, str] | None = None,
    image_size: Size | str = DEFAULT_IMAGE_SIZE,
    batch_size: int = 1,
    width: float = 1.0,
    images: int = 24,
    rounds: int = 5,
    progress: bool | Progress = False,
) -> list[dict[str, Any]]:
    """Measure images per second of training and prediction.

    Measures in turn the bare compiled step on an image in memory, and the trainer on JPEG files or
    the prediction of a folder (decoding, resizing, writing).

    Args:
        devices: The devices' names; None for all that are available.
        precision: "auto", "float32", "bfloat16" or "float16".
        device_options: Options of the device, by name.
        image_size: Height and width of the network's input in pixels.
        batch_size: Images in a batch.
        width: Scale of the number of channels; 1 is the published network.
        images: Images in each round.
        rounds: How many times each pair is measured.
        progress: True shows progress on stderr.

    Returns:
        A dictionary per device: ``device``, ``precision``, ``versions``, the settings,
        ``gflop_per_image``, and under ``predict`` and (if the device trains) ``train``:
        ``bare_images_per_s``, ``whole_images_per_s``, their ratio ``share`` (all medians) and
        every round's rates in ``rounds``.

    Raises:
        DeviceUnavailableError: A device is not available, or none is.
        UsageError: A setting is invalid, or there is no such device.
    """
    settings = BenchSettings(
        precision=precision,
        device_options=device_options or {},
        image_size=image_size,  # type: ignore[arg-type]  # text is converted
        batch_size=batch_size,
        width=width,
        images=images,
        rounds=rounds,
    )
    display = as_progress(progress)
    results = []
    for spec in _choose([devices] if isinstance(devices, str) else devices):
        with tempfile.TemporaryDirectory() as folder:
            results.append(measure(spec, settings, Path(folder), display))
    return results


def _choose(names: Sequence[str] | None) -> list[DeviceSpec]:
    registry = load_registry()
    if names:
        return [registry.select(name) for name in dict.fromkeys(names)]
    available = [
        registration.spec
        for registration in registry.registrations
        if registration.spec.priority >= 0 and run_probe(registration.spec).ready
    ]
    if not available:
        raise DeviceUnavailableError(
            "No device is available. To see what each one needs, run: msinet-run devices"
        )
    return available
