"""Which files of the archives of published datasets are used, and how they are converted."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from msinet_core.data.decode import image_size
from msinet_core.data.fixations import Fixations, fixation_table, load_mat, read_fixation_file
from msinet_core.data.folder import FIXATIONS, SALIENCY, STIMULI
from msinet_core.data.images import write_map
from msinet_core.data.maps import saliency_map
from msinet_core.data.osie import FIXATIONS_FILE
from msinet_core.data.published import PUBLISHED
from msinet_core.errors import DataError
from msinet_core.network.ops import Size
from msinet_core.system.files import write_text


@dataclass(frozen=True)
class Rule:
    """Which files are unpacked from an archive, and where to.

    Args:
        pattern: Matches the end of their paths in the archive.
        target: Their paths in the dataset, with the pattern's groups in braces.
        finish: Converts an unpacked file.
    """

    pattern: re.Pattern[str]
    target: str
    finish: Callable[[Path], None] | None = None

    def target_of(self, name: str) -> str | None:
        """Return the path of a file in the dataset; None if it is not used.

        Args:
            name: Its path in the archive.
        """
        found = self.pattern.search(name)
        return self.target.format(**found.groupdict()) if found else None


def _rule(pattern: str, target: str, finish: Callable[[Path], None] | None = None) -> Rule:
    """Anchor a pattern at a folder's name and at the end; NAME matches a file's stem."""
    named = pattern.replace("NAME", r"(?P<name>[^/]+)")
    return Rule(re.compile(rf"(?:^|/){named}$"), target, finish)


def _finish_omron(path: Path) -> None:
    """Convert DUT-OMRON's ``.mat`` to a table and a map.

    Rows are column, row and observer; observer 0 has the image's width and height. Coordinates
    count from 0: zeros occur among them.
    """
    content = load_mat(path, ["s"])
    try:
        rows = np.atleast_2d(np.asarray(content["s"], np.int64))
        (width, height) = rows[rows[:, 2] == 0][0, :2]
        observers = [
            rows[rows[:, 2] == observer][:, 1::-1]
            for observer in np.unique(rows[:, 2])
            if observer > 0
        ]
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise DataError(
            f"{path.name} does not have the structure of DUT-OMRON's fixations: {error}."
        ) from error
    size = (int(height), int(width))
    fixations = Fixations.from_points(observers, size)
    write_text(path.with_suffix(".csv"), fixation_table(fixations.observers))
    _write_map(path, fixations, size, PUBLISHED["dutomron"].sigma)
    path.unlink()


def _finish_fiwi(path: Path) -> None:
    """Create FIWI's map from the image of its fixations."""
    size = image_size(path)
    _write_map(path, read_fixation_file(path, size), size, PUBLISHED["fiwi"].sigma)


def _finish_pascal(path: Path) -> None:
    """Convert PASCAL-S' file of all fixations (MATLAB 7.3) to a table for each image.

    ``fixCell`` refers to an array ``(3, n)`` for each image: row, column and observer from 1.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            for number, reference in enumerate(np.ravel(file["fixCell"][()]), 1):
                rows, columns, subjects = np.asarray(file[reference], np.float64).reshape(3, -1)
                points = np.stack([rows, columns], axis=1).round().astype(np.int64) - 1
                observers = [points[subjects == observer] for observer in np.unique(subjects)]
                write_text(path.with_name(f"{number}.csv"), fixation_table(observers))
    except (KeyError, OSError, ValueError, TypeError, RuntimeError) as error:
        raise DataError(
            f"{path.name} does not have the structure of PASCAL-S' fixations: {error}."
        ) from error
    path.unlink()


def _write_map(path: Path, fixations: Fixations, size: Size, sigma: float | None) -> None:
    assert sigma is not None
    target = path.parent.with_name(SALIENCY) / f"{path.stem}.png"
    write_map(target, saliency_map(fixations, size, sigma)[..., 0], "png")


RECIPES: dict[str, tuple[Rule, ...]] = {
    "salicon": (
        _rule(r"images/(?P<split>train|val)/NAME\.jpg", STIMULI + "/{split}/{name}.jpg"),
        _rule(r"(?P<split>train|val)/NAME\.mat", FIXATIONS + "/{split}/{name}.mat"),
        _rule(r"(?P<split>train|val)/NAME\.png", SALIENCY + "/{split}/{name}.png"),
    ),
    "mit1003": (
        _rule(r"NAME\.jpeg", STIMULI + "/{name}.jpeg"),
        _rule(r"NAME_fixMap\.jpg", SALIENCY + "/{name}.jpg"),
        # Without "...p1010764fixPts.jpg", which belongs to no image.
        _rule(r"NAME_fixPts\.jpg", FIXATIONS + "/{name}.jpg"),
    ),
    "cat2000": tuple(
        _rule(
            rf"{source}/(?P<category>[^/]+)/NAME\.{suffix}",
            f"{target}/{{category}}/{{name}}.{suffix}",
        )
        for source, target, suffix in (
            ("Stimuli", STIMULI, "jpg"),
            ("FIXATIONLOCS", FIXATIONS, "mat"),
            ("FIXATIONMAPS", SALIENCY, "jpg"),
        )
    ),
    "dutomron": (
        _rule(r"NAME\.jpg", STIMULI + "/{name}.jpg"),
        _rule(r"NAME\.mat", FIXATIONS + "/{name}.mat", _finish_omron),
    ),
    "pascals": (
        _rule(r"imgs/pascal/NAME\.jpg", STIMULI + "/{name}.jpg"),
        _rule(r"pascal/humanFix/NAME\.png", SALIENCY + "/{name}.png"),
        _rule(r"(?P<name>pascalFix)\.mat", FIXATIONS + "/{name}.mat", _finish_pascal),
    ),
    "osie": (
        _rule(r"data/stimuli/NAME\.jpg", STIMULI + "/{name}.jpg"),
        _rule(r"data/eye/fixations\.mat", FIXATIONS_FILE),
    ),
    "fiwi": (
        _rule(r"[^/]*stimuli[^/]*/(?:[^/]+/)*NAME\.png", STIMULI + "/{name}.png"),
        _rule(r"[^/]*all5[^/]*/(?:[^/]+/)*NAME\.png", FIXATIONS + "/{name}.png", _finish_fiwi),
    ),
}
"""For each dataset the rules for its archives; the first that matches a file is used.

Source: the reference implementation's download.py, and pysaliency's external_datasets.
"""
