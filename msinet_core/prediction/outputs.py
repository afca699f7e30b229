"""Which file the map of each image goes to, so that nothing is overwritten by mistake."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from msinet_core.data.folder import FIXATIONS, SALIENCY, STIMULI
from msinet_core.errors import DataError, UsageError

if TYPE_CHECKING:
    from msinet_core.data import FoundImage


OVERLAY_ENDING = "_overlay.jpeg"
OVERVIEW = "overview.png"


@dataclass(frozen=True)
class Job:
    """An image and the place of its results.

    Args:
        source: The image.
        map: The saliency map's file.
        overlay: The overlay's file.
    """

    source: Path
    map: Path
    overlay: Path


@dataclass(frozen=True)
class Plan:
    """What to predict and where to put it.

    Args:
        jobs: One for each image, in the order given.
        out: The folder that all results go into.
        format: Of the maps: ``"jpeg"``, ``"png"`` or ``"npy"``.
        overlay: Whether overlays and the contact sheet are wanted.
        notes: What the user should know before it starts, as sentences.
    """

    jobs: tuple[Job, ...]
    out: Path
    format: str = "jpeg"
    overlay: bool = False
    notes: tuple[str, ...] = ()


def plan_outputs(
    images: Sequence[FoundImage], out: Path, *, format: str = "jpeg", overlay: bool = False
) -> Plan:
    """Decide where the results of each image go; sub-folders of a folder are kept.

    Images whose results would share a name (``x.jpg`` and ``x.png``, or one name in two folders)
    get longer names, and a note says so. What earlier runs left in `out` is not read.

    Args:
        images: The images, and their paths under the folders that the user gave.
        out: The folder for the results.
        format: Of the maps: ``"jpeg"``, ``"png"`` or ``"npy"``.
        overlay: Whether overlays and the contact sheet are wanted.

    Raises:
        DataError: No image is left.
        UsageError: Results would lie in a folder that images are read from.
    """
    wanted = [image for image in images if not _is_earlier_result(image, out)]
    notes = []
    if len(wanted) < len(images):
        skipped = len(images) - len(wanted)
        notes.append(f"Images in the output folder {out} are not read: {skipped} left out.")
    if truths := [image for image in wanted if _is_truth(image)]:
        wanted = [image for image in wanted if not _is_truth(image)]
        notes.append(
            f"{len(truths)} maps and fixations in folders beside {STIMULI}/ are not predicted, for "
            f"example {truths[0].path}: of a data set only the stimuli are read."
        )
    if not wanted:
        raise DataError(f"No images to predict. {' '.join(notes)} Give other files or folders.")
    endings = (f".{format}", OVERLAY_ENDING) if overlay else (f".{format}",)
    bases = _name(wanted, endings, {_key(Path(OVERVIEW))})
    jobs = tuple(
        Job(image.path, *(_append(out / base, ending) for ending in (f".{format}", OVERLAY_ENDING)))
        for image, base in zip(wanted, bases, strict=True)
    )
    longer = [
        job for image, base, job in zip(wanted, bases, jobs, strict=True) if base != _stem(image)
    ]
    if longer:
        notes.append(
            f"Results that would share a name get longer ones ({len(longer)} of {len(jobs)}), "
            f"for example {longer[0].map} for {longer[0].source}."
        )
    _check_folders(jobs, out)
    return Plan(jobs, out, format, overlay, tuple(notes))


def _root(image: FoundImage) -> Path:
    return image.path.parents[len(image.relative.parts) - 1].resolve()


def _is_earlier_result(image: FoundImage, out: Path) -> bool:
    """Tell whether a search that began above the output folder found the image inside it."""
    inside = out.resolve()
    return _root(image) in inside.parents and inside in (
        folder := image.path.parent.resolve(),
        *folder.parents,
    )


def _is_truth(image: FoundImage) -> bool:
    """Tell whether a search that began at a data set, or above it, found one of its maps."""
    folders = image.path.parents[: len(image.relative.parts) - 1]
    return any(
        folder.name in (SALIENCY, FIXATIONS) and (folder.parent / STIMULI).is_dir()
        for folder in folders
    )


def _stem(image: FoundImage) -> Path:
    return image.relative.with_suffix("")


def _stem_and_type(image: FoundImage) -> Path:
    kind = image.relative.suffix.removeprefix(".").lower()
    return _stem(image).with_name(f"{_stem(image).name}_{kind}") if kind else _stem(image)


def _from_root(stem: Callable[[FoundImage], Path]) -> Callable[[FoundImage], Path]:
    return lambda image: Path(_root(image).name or "root") / stem(image)


_NAMINGS: tuple[Callable[[FoundImage], Path], ...] = (
    _stem,
    _stem_and_type,
    _from_root(_stem),
    _from_root(_stem_and_type),
)
"""From plain to precise: an image takes the first name that it shares with no other."""


def _name(images: Sequence[FoundImage], endings: Sequence[str], taken: set[str]) -> list[Path]:
    names: dict[int, Path] = {}
    for naming in _NAMINGS:
        offers = {index: naming(image) for index, image in enumerate(images) if index not in names}
        claims = Counter(key for base in offers.values() for key in _keys(base, endings))
        free = {
            index: base
            for index, base in offers.items()
            if not any(key in taken or claims[key] > 1 for key in _keys(base, endings))
        }
        names |= free
        taken |= {key for base in free.values() for key in _keys(base, endings)}
    for index, image in enumerate(images):
        if index not in names:
            bases = _numbered(_stem(image))
            names[index] = next(base for base in bases if not taken & _keys(base, endings))
            taken |= _keys(names[index], endings)
    return [names[index] for index in range(len(images))]


def _numbered(base: Path) -> Iterator[Path]:
    number = 1
    while True:
        number += 1
        yield base.with_name(f"{base.name}_{number}")


def _keys(base: Path, endings: Sequence[str]) -> set[str]:
    return {_key(_append(base, ending)) for ending in endings}


def _append(base: Path, ending: str) -> Path:
    return base.with_name(base.name + ending)


def _key(path: Path) -> str:
    """Return what two paths share that are one file on macOS or Windows."""
    return unicodedata.normalize("NFC", path.as_posix()).casefold()


def _check_folders(jobs: Sequence[Job], out: Path) -> None:
    folders = {
        folder
        for job in jobs
        for folder in (job.source.parent.resolve(), job.source.resolve().parent)
    }
    for job in jobs:
        if job.map.parent.resolve() in folders:
            raise UsageError(
                f"The output folder {out} cannot be used: results would lie in "
                f"{job.map.parent}, which images are read from, and could replace them or be "
                f"taken for them. Choose another folder, for example --out {out / 'maps'}."
            )
