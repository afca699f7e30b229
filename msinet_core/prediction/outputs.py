"""Decide which file the map of each image goes to, so that nothing is overwritten."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from os.path import realpath
from pathlib import Path
from typing import TYPE_CHECKING

from msinet_core.data.folder import FIXATIONS, SALIENCY, STIMULI
from msinet_core.errors import DataError, UsageError, counted

if TYPE_CHECKING:
    from msinet_core.data.images import FoundImage


OVERLAY_ENDING = "_overlay.jpeg"
OVERVIEW = "overview.png"


@dataclass(frozen=True)
class Job:
    """An image and the files of its results.

    Args:
        source: The image.
        map: The saliency map.
        overlay: The overlay.
    """

    source: Path
    map: Path
    overlay: Path


@dataclass(frozen=True)
class Plan:
    """What to predict and where to write it.

    Args:
        jobs: One for each image, in order.
        out: The folder for all results.
        format: Of the maps: ``"jpeg"``, ``"png"`` or ``"npy"``.
        overlay: Whether to write overlays and the contact sheet.
        notes: Sentences that the user should read before it starts.
        overview: The file name of the contact sheet.
    """

    jobs: tuple[Job, ...]
    out: Path
    format: str = "jpeg"
    overlay: bool = False
    notes: tuple[str, ...] = ()
    overview: str = OVERVIEW

    def shard(self, index: int, count: int) -> Plan:
        """Return the part of one process; all parts together are the plan.

        Args:
            index: The number of the process, from 0.
            count: The number of processes.
        """
        jobs = self.jobs[index::count]
        note = f"Shard {index}/{count}: {len(jobs)} of {counted(len(self.jobs), 'image')}."
        name = Path(OVERVIEW).stem
        overview = f"{name}_{index}_of_{count}{Path(OVERVIEW).suffix}"
        return replace(self, jobs=jobs, notes=(*self.notes, note), overview=overview)

    def without_existing(self) -> Plan:
        """Return the part whose results do not exist yet."""
        jobs = tuple(job for job in self.jobs if not all(path.exists() for path in self.files(job)))
        if len(jobs) == len(self.jobs):
            return self
        skipped, total = len(self.jobs) - len(jobs), counted(len(self.jobs), "image")
        note = f"Skipped {skipped} of {total}: results exist."
        return replace(self, jobs=jobs, notes=(*self.notes, note))

    def files(self, job: Job) -> list[Path]:
        """Return the files that are written for an image.

        Args:
            job: One of the plan's.
        """
        return [job.map, job.overlay] if self.overlay else [job.map]


def plan_outputs(
    images: Sequence[FoundImage], out: Path, *, format: str = "jpeg", overlay: bool = False
) -> Plan:
    """Decide which files the results of each image go to; subfolders are preserved.

    Images whose results would have the same name (``x.jpg`` and ``x.png``, or one name in two
    folders) get longer names, and a note says so. Results of earlier runs in `out` are not read.

    Args:
        images: The images, and their paths in the folders that were searched.
        out: The folder for the results.
        format: Of the maps: ``"jpeg"``, ``"png"`` or ``"npy"``.
        overlay: Whether to write overlays and the contact sheet.

    Raises:
        DataError: No image is left.
        UsageError: Results would be written to a folder that images are read from, or among the
            images of a dataset.
    """
    _check_outside_datasets(out)
    wanted = [image for image in images if not _is_earlier_result(image, out)]
    notes = []
    if len(wanted) < len(images):
        skipped = counted(len(images) - len(wanted), "image")
        notes.append(f"Skipped {skipped} in the output folder {out}.")
    if truths := [image for image in wanted if _is_truth(image)]:
        wanted = [image for image in wanted if not _is_truth(image)]
        notes.append(
            f"Skipped {counted(len(truths), 'file', 'maps and fixations')} of a dataset, for "
            f"example {truths[0].path}: only its {STIMULI}/ are predicted."
        )
    if not wanted:
        raise DataError(f"No images to predict. {' '.join(notes)} List other files or folders.")
    endings = (f".{format}", OVERLAY_ENDING) if overlay else (f".{format}",)
    bases = _name(wanted, endings, {_key(Path(OVERVIEW))})
    jobs = tuple(
        Job(image.path, *(_append(out / base, ending) for ending in (f".{format}", OVERLAY_ENDING)))
        for image, base in zip(wanted, bases, strict=True)
    )
    longer = [
        job
        for image, base, job in zip(wanted, bases, jobs, strict=True)
        if base != image.relative.with_suffix("")
    ]
    if longer:
        notes.append(
            f"Some images would have results of the same name, so longer names are given to "
            f"{len(longer)} of {len(jobs)}, for example {longer[0].map} for {longer[0].source}."
        )
    _check_folders(jobs, out)
    return Plan(jobs, out, format, overlay, tuple(notes))


def _root(image: FoundImage) -> Path:
    return image.path.parents[len(image.relative.parts) - 1].resolve()


def _is_earlier_result(image: FoundImage, out: Path) -> bool:
    """Return whether the search of a folder around the output folder found the image in it."""
    inside = out.resolve()
    return _root(image) in inside.parents and inside in (
        folder := image.path.parent.resolve(),
        *folder.parents,
    )


def _is_truth(image: FoundImage) -> bool:
    """Return whether the search of a dataset, or of a folder around it, found one of its maps."""
    folders = image.path.parents[: len(image.relative.parts) - 1]
    return any(
        folder.name in (SALIENCY, FIXATIONS) and (folder.parent / STIMULI).is_dir()
        for folder in folders
    )


def _names(image: FoundImage) -> tuple[Path, ...]:
    """Return names from short to long: an image takes the first that no other has."""
    stem, kind = image.relative.with_suffix(""), image.relative.suffix.removeprefix(".").lower()
    typed = stem.with_name(f"{stem.name}_{kind}") if kind else stem
    root = Path(_root(image).name or "root")
    return stem, typed, root / stem, root / typed


def _name(images: Sequence[FoundImage], endings: Sequence[str], taken: set[str]) -> list[Path]:
    names: dict[int, Path] = {}
    candidates = [_names(image) for image in images]
    for level in zip(*candidates, strict=True):
        bases = {index: base for index, base in enumerate(level) if index not in names}
        claims = Counter(key for base in bases.values() for key in _keys(base, endings))
        free = {
            index: base
            for index, base in bases.items()
            if not any(key in taken or claims[key] > 1 for key in _keys(base, endings))
        }
        names |= free
        taken |= {key for base in free.values() for key in _keys(base, endings)}
    for index, (stem, *_) in enumerate(candidates):
        if index not in names:
            numbered = (_append(stem, f"_{number}") for number in count(2))
            names[index] = next(base for base in numbered if not taken & _keys(base, endings))
            taken |= _keys(names[index], endings)
    return [names[index] for index in range(len(images))]


def _keys(base: Path, endings: Sequence[str]) -> set[str]:
    return {_key(_append(base, ending)) for ending in endings}


def _append(base: Path, ending: str) -> Path:
    return base.with_name(base.name + ending)


def _key(path: Path) -> str:
    """Return a text that is equal for paths that are one file on macOS or Windows."""
    return unicodedata.normalize("NFC", path.as_posix()).casefold()


def _check_outside_datasets(out: Path) -> None:
    inside = Path(realpath(out))
    for folder in (inside, *inside.parents):
        truths = (folder.parent / name for name in (SALIENCY, FIXATIONS, f"{FIXATIONS}.mat"))
        if folder.name == STIMULI and any(truth.exists() for truth in truths):
            raise UsageError(
                f"Cannot write to {out}: it is among the images of the dataset {folder.parent}, "
                f"and maps there would count as images. Choose another folder with --out."
            )


def _check_folders(jobs: Sequence[Job], out: Path) -> None:
    # realpath: Path.resolve raises on a link to itself, which only its own image should do.
    folders = {
        folder
        for job in jobs
        for folder in (Path(realpath(job.source.parent)), Path(realpath(job.source)).parent)
    }
    for job in jobs:
        if Path(realpath(job.map.parent)) in folders:
            raise UsageError(
                f"Cannot write to {out}: results in {job.map.parent}, which images are read from, "
                f"could replace them or be mistaken for them. Choose a folder without images "
                f"for the results, for example --out maps."
            )
