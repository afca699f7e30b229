"""Predict files and folders: maps, overlays and a contact sheet on disk."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from msinet_core.data import read_image, read_map, write_map
from msinet_core.pictures import (
    SHEET_LIMIT,
    Panel,
    make_panel,
    write_contact_sheet,
    write_overlay,
)
from msinet_core.prediction.outputs import OVERVIEW, Job, Plan
from msinet_core.prediction.predictor import Failed, Prediction, Predictor
from msinet_core.system.interrupt import InterruptFlag
from msinet_core.system.progress import Progress

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Report:
    """What became of the images.

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
        plan: What `plan_outputs` made.
        progress: Shows what happens.
        interrupt: Lets the caller stop; its signals are handled while this runs.

    Raises:
        InterruptedRunError: Interrupted; every map that was written is whole.
        MsinetError: The device failed, or the disk refuses.
    """
    progress = progress or Progress()
    begin = time.monotonic()
    sampled = {job.source for job in _sample(plan.jobs)}
    written: dict[Path, Path] = {}
    panels: dict[Path, Panel] = {}
    failures: list[tuple[Path, str]] = []

    def finish(job: Job, prediction: Prediction) -> None:
        saliency = prediction.restored()
        write_map(job.map, saliency, plan.format)
        if plan.overlay:
            # Decoded again: keeping every image until its map is there could fill the memory.
            image = read_image(job.source)
            write_overlay(job.overlay, image, saliency)
            if job.source in sampled:
                panels[job.source] = make_panel(_name(job, plan), image, saliency)
        written[job.source] = job.map

    with (
        interrupt or InterruptFlag() as flag,
        progress.task("predict", len(plan.jobs)) as task,
    ):
        with closing(predictor.stream(plan.jobs, _read, finish)) as outcomes:
            for outcome in outcomes:
                if isinstance(outcome, Failed):
                    failures.append((outcome.item.source, outcome.reason))
                    progress.message(_skipped(outcome.item.source, outcome.reason))
                task.advance()
                if flag.is_set():
                    break
        if len(written) + len(failures) < len(plan.jobs):
            flag.raise_if_set(
                f"Interrupted: {len(written)} of {len(plan.jobs)} maps are written to {plan.out}, "
                f"each of them whole."
            )
        in_order = tuple(written[job.source] for job in plan.jobs if job.source in written)
        overview = None
        if plan.overlay:
            overview = _draw_overview(
                plan, [job for job in plan.jobs if job.source in written], panels
            )
    return Report(in_order, tuple(failures), overview, time.monotonic() - begin)


def _skipped(path: Path, reason: str) -> str:
    return f"Skipped: {reason}" if str(path) in reason else f"Skipped {path}: {reason}"


def _read(job: Job) -> NDArray[np.float32]:
    return read_image(job.source)


def _sample(jobs: Sequence[Job]) -> list[Job]:
    """Choose the images of the contact sheet, evenly."""
    last, count = len(jobs) - 1, min(SHEET_LIMIT, len(jobs))
    steps = max(1, count - 1)
    return [jobs[round(last * index / steps)] for index in range(count)]


def _name(job: Job, plan: Plan) -> str:
    return (job.map.parent.relative_to(plan.out) / job.source.name).as_posix()


def _draw_overview(plan: Plan, done: Sequence[Job], panels: Mapping[Path, Panel]) -> Path | None:
    """Draw images that succeeded; where others failed, some of them were not foreseen."""
    if not done:
        return None
    chosen = _sample(done)
    total = len(plan.jobs)
    title = f"{total} image{'s' * (total > 1)}"
    if len(chosen) < total:
        title = f"{len(chosen)} of {title}" + ", evenly sampled" * (len(done) > SHEET_LIMIT)
    shown = [panels.get(job.source) or _read_panel(job, plan) for job in chosen]
    write_contact_sheet(plan.out / OVERVIEW, shown, title)
    return plan.out / OVERVIEW


def _read_panel(job: Job, plan: Plan) -> Panel:
    saliency = np.load(job.map) if plan.format == "npy" else read_map(job.map)[..., 0]
    return make_panel(_name(job, plan), read_image(job.source), saliency)
