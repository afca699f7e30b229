"""Pair the images of a folder with maps and fixations by their names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from msinet_core.data.decode import SUFFIXES
from msinet_core.data.fixations import FIXATION_SUFFIXES
from msinet_core.data.images import list_files
from msinet_core.data.sample import FileTruth, Sample

STIMULI, SALIENCY, FIXATIONS = "stimuli", "saliency", "fixations"
SPLITS = ("train", "val")
_PARTS = (STIMULI, SALIENCY)

LAYOUT = """\
A dataset is a folder with
  stimuli/train/NAME.jpg   stimuli/val/NAME.jpg     images
  saliency/train/NAME.png  saliency/val/NAME.png    maps of the same names
  fixations/train/         fixations/val/           fixations (optional)
or the same without train/ and val/, which is split 80 to 20."""


class Scan(NamedTuple):
    """The samples in a folder.

    Args:
        train: The samples for training; all of them if `valid` is None.
        valid: The samples for validation; None if the folder is not split.
        problems: A line for every file that does not match.
    """

    train: list[Sample]
    valid: list[Sample] | None
    problems: list[str]


def scan_folder(folder: Path) -> Scan:
    """Pair the files of a folder with ``stimuli/`` and ``saliency/``.

    Args:
        folder: The dataset.
    """
    missing = [f"{name}/: no such folder" for name in _PARTS if not (folder / name).is_dir()]
    if missing:
        return Scan([], None, missing)
    if not any((folder / part / split).is_dir() for part in _PARTS for split in SPLITS):
        samples, problems = _pair(folder, "")
        return Scan(samples, None, problems)
    (train, problems), (valid, more) = (_pair(folder, split) for split in SPLITS)
    return Scan(train, valid, problems + more)


def index(folder: Path, part: str, suffixes: Collection[str]) -> dict[str, list[str]]:
    """List files by the name that pairs them.

    Names include subfolders, for datasets with categories. MIT1003's ``_fixMap`` and ``_fixPts``
    are removed from names, and folders named ``Output``, where CAT2000 has small copies of its
    maps, are skipped.

    Args:
        folder: The dataset.
        part: The folder in it to search.
        suffixes: Suffixes of the files to list.

    Returns:
        For each name its files, relative to `folder`; more than one is a conflict.
    """
    names: defaultdict[str, list[str]] = defaultdict(list)
    for file in list_files(folder / part, suffixes):
        if "Output" not in file.parts[:-1]:
            name = file.with_suffix("").as_posix()
            for suffix in ("_fixMap", "_fixPts"):
                name = name.removesuffix(suffix)
            names[name].append(f"{part}/{file.as_posix()}")
    return dict(names)


def conflicts(files: dict[str, list[str]]) -> list[str]:
    """Describe the files that have the same name.

    Args:
        files: From `index`.
    """
    return [f"{', '.join(group)}: the same name; keep one" for group in files.values() if group[1:]]


def _pair(folder: Path, split: str) -> tuple[list[Sample], list[str]]:
    parts = [f"{name}/{split}".rstrip("/") for name in (STIMULI, SALIENCY, FIXATIONS)]
    stimuli = index(folder, parts[0], SUFFIXES)
    maps = index(folder, parts[1], SUFFIXES)
    fixations = index(folder, parts[2], FIXATION_SUFFIXES)
    problems = [] if stimuli else [f"{parts[0]}/: no images in this folder"]
    problems += conflicts(stimuli) + conflicts(maps) + conflicts(fixations)
    problems += [
        f"{files[0]}: no map {parts[1]}/{name}.png (or another suffix)"
        for name, files in stimuli.items()
        if name not in maps
    ]
    problems += [
        f"{files[0]}: no image {parts[0]}/{name}.jpg (or another suffix)"
        for name, files in maps.items()
        if name not in stimuli
    ]
    samples = [
        Sample(
            name,
            folder / files[0],
            FileTruth(
                folder / files[0],
                folder / maps[name][0],
                folder / fixations[name][0] if name in fixations else None,
            ),
        )
        for name, files in stimuli.items()
        if name in maps
    ]
    return samples, problems
