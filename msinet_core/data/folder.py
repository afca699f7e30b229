"""Pair the images of a folder with maps and fixations by their names."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path, PurePath
from typing import NamedTuple

from msinet_core.data.decode import SUFFIXES
from msinet_core.data.fixations import FIXATION_SUFFIXES
from msinet_core.data.images import list_files
from msinet_core.data.sample import Sample

STIMULI, SALIENCY, FIXATIONS = "stimuli", "saliency", "fixations"
SPLITS = ("train", "val", "test")
PARTS = (STIMULI, SALIENCY, FIXATIONS)

_LIKE_SPLITS = frozenset(
    ["train", "training", "trn", "val", "valid", "validation", "dev", "test", "testing", "tst"]
)
"""Names in lower case of folders that look like splits: their images must not be pooled."""

LAYOUT = """\
A dataset is a folder with
  stimuli/train/NAME.jpg    stimuli/val/NAME.jpg      images
  saliency/train/NAME.png   saliency/val/NAME.png     maps of the same names
  fixations/train/NAME.csv  fixations/val/NAME.csv    fixations (optional)
and optionally test/ beside train/ and val/; or the same without train/ and val/, which is split 80
to 20. Without maps: msinet-run data maps DIR --sigma PX draws them from the fixations."""


class Scan(NamedTuple):
    """The samples in a folder.

    Args:
        train: The samples for training; all of them if `valid` is None.
        valid: The samples for validation; None if the folder is not split.
        problems: A line for every file that does not match.
        test: The samples that are kept for a final test.
        unused: A line for every file and folder that is silently left out.
    """

    train: list[Sample]
    valid: list[Sample] | None
    problems: list[str]
    test: list[Sample] = []
    unused: list[str] = []


def scan_folder(folder: Path) -> Scan:
    """Pair the files of a folder with ``stimuli/`` and ``saliency/``, ``fixations/`` or both.

    If the folder has maps, every image needs one; otherwise, every image needs fixations.

    Args:
        folder: The dataset.
    """
    missing = [] if (folder / STIMULI).is_dir() else [f"{STIMULI}/: no such folder"]
    if not any((folder / part).is_dir() for part in PARTS[1:]):
        missing.append(f"{SALIENCY}/: no such folder, nor {FIXATIONS}/ with a file for each image")
    if missing:
        return Scan([], None, missing)
    drawn = not index(folder, SALIENCY, SUFFIXES)
    present = {name for name in SPLITS if any((folder / part / name).is_dir() for part in PARTS)}
    divided = not present.isdisjoint(SPLITS[:2])
    if not divided and (misnamed := _misnamed_splits(folder)):
        return Scan([], None, misnamed)
    only_scored = bool(present) and SPLITS[0] not in present
    train = _pair(folder, SPLITS[0] if divided else "", drawn, may_be_empty=only_scored)
    valid = [_pair(folder, SPLITS[1], drawn)] if divided else []
    tests = [_pair(folder, name, drawn) for name in SPLITS[2:] if name in present]
    parts = train, *valid, *tests
    unused = [line for part in parts for line in part.unused]
    is_flat = not divided and bool(train.train)
    return Scan(
        train.train,
        None if is_flat else [sample for part in valid for sample in part.train],
        [problem for part in parts for problem in part.problems],
        [sample for part in tests for sample in part.train],
        unused + (_unknown_splits(folder) if divided else []),
    )


def _misnamed_splits(folder: Path) -> list[str]:
    return [
        f"{path.relative_to(folder).as_posix()}/: looks like a split, but splits are named train/, "
        f"val/ and test/; rename it"
        for path in _inside(folder)
        if path.name not in SPLITS and path.name.lower() in _LIKE_SPLITS and path.is_dir()
    ]


def _unknown_splits(folder: Path) -> list[str]:
    return [
        f"{path.relative_to(folder).as_posix()}{'/' * path.is_dir()}: not in train/, val/ or "
        f"test/, and not used"
        for path in _inside(folder)
        if path.name not in SPLITS
        and not path.name.startswith(".")
        and (path.is_dir() or path.suffix.lower() in FIXATION_SUFFIXES)
    ]


def _inside(folder: Path) -> list[Path]:
    """List what is in the folders of images, maps and fixations."""
    parts = [folder / part for part in PARTS if (folder / part).is_dir()]
    return [path for part in parts for path in sorted(part.iterdir())]


def stem(file: PurePath) -> str:
    """Return a file's path without its suffix, with each letter in one form.

    A Mac may write "ü" as "u" and dots, other systems as one character.

    Args:
        file: A relative path.
    """
    return unicodedata.normalize("NFC", file.with_suffix("").as_posix())


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
            name = stem(file)
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


def _pair(folder: Path, split: str, drawn: bool, *, may_be_empty: bool = False) -> Scan:
    parts = [f"{name}/{split}".rstrip("/") for name in PARTS]
    stimuli, maps, fixations = (
        {
            name: files
            for name, files in index(folder, part, suffixes).items()
            if split or not name.startswith(f"{SPLITS[2]}/")
        }
        for part, suffixes in zip(parts, (SUFFIXES, SUFFIXES, FIXATION_SUFFIXES), strict=True)
    )
    needed, part, kind = (fixations, 2, "fixations") if drawn else (maps, 1, "map")
    example = f"{parts[part]}/{{}}.{'csv' if drawn else 'png'} (or another suffix)"
    problems = [] if stimuli or may_be_empty else [f"{parts[0]}/: no images in this folder"]
    problems += conflicts(stimuli) + conflicts(maps) + conflicts(fixations)
    problems += [
        f"{files[0]}: no {kind} {example.format(name)}"
        for name, files in stimuli.items()
        if name not in needed
    ]
    problems += [
        f"{files[0]}: no image {parts[0]}/{name}.jpg (or another suffix)"
        for name, files in maps.items()
        if name not in stimuli
    ]
    unused = [
        f"{files[0]}: no image {parts[0]}/{name}.jpg (or another suffix), and not used"
        for name, files in fixations.items()
        if name not in stimuli
    ]

    def file_of(found: dict[str, list[str]], name: str) -> Path | None:
        return folder / found[name][0] if name in found else None

    samples = [
        Sample(
            name,
            files[0].removeprefix(f"{STIMULI}/"),
            folder / files[0],
            file_of(maps, name),
            file_of(fixations, name),
        )
        for name, files in stimuli.items()
        if name in needed
    ]
    return Scan(samples, None, problems, unused=unused)
