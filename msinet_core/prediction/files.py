"""Predict files and folders: write maps, overlays and a contact sheet."""

from __future__ import annotations

import errno
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from msinet_core.data.decode import image_size
from msinet_core.data.images import read_image, read_map, write_map
from msinet_core.errors import DataError, MsinetError, counted
from msinet_core.network.ops import Size
from msinet_core.prediction.outputs import Job, Plan
from msinet_core.prediction.pictures import (
    SHEET_LIMIT,
    Panel,
    make_panel,
    write_contact_sheet,
    write_overlay,
)
from msinet_core.prediction.stream import Failed, Prediction
from msinet_core.system.interrupt import InterruptFlag
from msinet_core.system.progress import Progress
from msinet_core.system.threads import in_threads

if TYPE_CHECKING:
    from msinet_core.prediction.predictor import Predictor


@dataclass(frozen=True)
class Report:
    """The outcome of predicting files.

    Args:
        written: The maps that were written.
        failures: Each image that could not be used, and why.
        overview: The contact sheet; None if none was drawn.
        seconds: The time it took.
    """

    written: tuple[Path, ...]
    failures: tuple[tuple[Path, str], ...]
    overview: Path | None
    seconds: float


def predict_files(
    predictor: Predictor,
    plan: Plan,
    progress: Progress | None = None,
    interrupt: InterruptFlag | None = None,
) -> Report:
    """Write the saliency map of each image of a plan, at the image's own size.

    An image that cannot be used is reported and does not stop the others.

    Args:
        predictor: The network on its device.
        plan: From `plan_outputs`.
        progress: Shows progress.
        interrupt: Stops the work when set; signals are handled while this runs.

    Raises:
        InterruptedRunError: Interrupted; every map that was written is complete.
        MsinetError: The device or the file system failed.
    """
    progress = progress or Progress()
    begin = time.monotonic()
    written: dict[Path, Path] = {}
    failures: list[tuple[Path, str]] = []

    def finish(job: Job, prediction: Prediction) -> None:
        saliency = prediction.restored()
        try:
            write_map(job.map, saliency, plan.format)
            if plan.overlay:
                # Decoded again: keeping every image until its map exists could fill the memory.
                write_overlay(job.overlay, read_image(job.source), saliency)
        except MsinetError as error:
            if getattr(error.__cause__, "errno", None) == errno.ENAMETOOLONG:
                raise DataError(str(error)) from error  # the others may have shorter names
            raise
        written[job.source] = job.map

    with (
        interrupt or InterruptFlag() as flag,
        progress.task("predict", len(plan.jobs)) as task,
    ):
        jobs = _by_size(plan.jobs, predictor, progress, flag)
        stream = predictor.stream(jobs, lambda job: read_image(job.source), finish)
        with closing(stream) as outcomes:
            for outcome in outcomes:
                if isinstance(outcome, Failed):
                    source, reason = outcome.item.source, outcome.reason
                    failures.append((source, reason))
                    about = "" if str(source) in reason else f" {source}"
                    progress.message(f"Skipped{about}: {reason}")
                task.advance()
                if flag.is_set():
                    break
        if len(written) + len(failures) < len(plan.jobs):
            flag.raise_if_set(
                f"Interrupted: wrote {len(written)} of {counted(len(plan.jobs), 'map')} to "
                f"{plan.out}; each of them is complete."
            )
        done = [job for job in plan.jobs if job.source in written]
        overview = _draw_overview(plan, done) if plan.overlay and done else None
    return Report(
        tuple(job.map for job in done), tuple(failures), overview, time.monotonic() - begin
    )


def _by_size(
    jobs: Sequence[Job], predictor: Predictor, progress: Progress, flag: InterruptFlag
) -> Sequence[Job]:
    """Put images together that the network sees at one size, each of which is compiled once.

    Returns:
        All jobs; none if the flag is set meanwhile.
    """
    if predictor.image_size is not None:
        return jobs

    def size(job: Job) -> Size:
        try:
            return predictor.network_size(image_size(job.source))
        except DataError:  # reported in its turn
            return 0, 0

    sizes: dict[Job, Size] = {}
    with closing(in_threads(size, jobs, "read sizes", progress)) as found:
        for job, its_size in zip(jobs, found, strict=True):
            if flag.is_set():
                return ()
            sizes[job] = its_size
    different = len(set(sizes.values()) - {(0, 0)})
    if different > 1:
        progress.message(
            f"The network sees the images at {different} sizes. A device that compiles programs "
            f"compiles each size once; with one for all (--image-size HxW) it compiles only once."
        )
    return sorted(jobs, key=sizes.__getitem__)


def _sample(jobs: Sequence[Job]) -> list[Job]:
    """Choose the images of the contact sheet, evenly."""
    chosen = np.linspace(0, len(jobs) - 1, min(SHEET_LIMIT, len(jobs))).round().astype(int)
    return [jobs[index] for index in chosen]


def _draw_overview(plan: Plan, done: Sequence[Job]) -> Path | None:
    """Draw images that succeeded and are still there, with the maps that were written."""
    read = in_threads(partial(_read_panel, plan), _sample(done), "draw overview")
    shown, total = [panel for panel in read if panel], len(plan.jobs)
    if not shown:
        return None
    title = counted(total, "image")
    if len(shown) < total:
        title = f"{len(shown)} of {title}" + ", evenly sampled" * (len(done) > SHEET_LIMIT)
    path = plan.out / plan.overview
    write_contact_sheet(path, shown, title)
    return path


def _read_panel(plan: Plan, job: Job) -> Panel | None:
    try:
        saliency = np.load(job.map) if plan.format == "npy" else read_map(job.map)[..., 0]
        image = read_image(job.source)
    except (DataError, OSError):  # moved or deleted since; its map was written
        return None
    name = (job.map.parent.relative_to(plan.out) / job.source.name).as_posix()
    return make_panel(name, image, saliency)
