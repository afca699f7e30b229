"""Read fixations, as pixels of the image, from the formats of published datasets."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from msinet_core.data.decode import SUFFIXES, decode
from msinet_core.errors import DataError, os_reason
from msinet_core.network.ops import Size

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Points = NDArray[np.float64]
    """``(n, 2)``: row and column, 0 for the center of the first pixel."""

COLUMNS = {
    "x": ("x", "fix_x", "fixation_x", "fixationx", "gaze_x", "pos_x", "current_fix_x", "column"),
    "y": ("y", "fix_y", "fixation_y", "fixationy", "gaze_y", "pos_y", "current_fix_y", "row"),
    "observer": (
        *("observer", "subject", "participant", "viewer", "subject_id", "participant_id"),
        "recording_session_label",
    ),
}
"""For each column of a table the names it may have, in any case; the first found is used."""

_DELIMITERS = ",;\t"
_MISSING = frozenset(("", ".", "nan", "na"))
"""What programs write for a fixation without a place, in lower case; EyeLink's is a point."""

FIXATION_SUFFIXES = SUFFIXES | {".csv", ".mat"}
"""Suffixes, in lower case, of files with fixations."""


MAX_OUTSIDE = 0.05
"""The largest share of fixations outside their images that is not a problem."""

_LOWEST_REACH = 0.6
"""The least part of the images, from the left and from the top, that real fixations reach."""

_ENOUGH = 30
"""Of fewer fixations, all may lie in a corner by chance."""


@dataclass(frozen=True, eq=False)
class Fixations:
    """The fixations of one image.

    Args:
        observers: For each observer ``(n, 2)`` int64, row and column of a pixel of the image; one
            array if the file does not distinguish observers.
        outside: The number of points outside the image, which are ignored.
    """

    observers: tuple[NDArray[np.int64], ...]
    outside: int = 0

    @property
    def count(self) -> int:
        """The number of fixations on the image."""
        return sum(map(len, self.observers))

    @property
    def points(self) -> NDArray[np.int64]:
        """The fixations of all observers, ``(n, 2)``."""
        return np.concatenate([np.empty((0, 2), np.int64), *self.observers])

    @classmethod
    def from_points(cls, observers: Iterable[Points], size: Size) -> Fixations:
        """Round points to pixels, and drop and count those outside the image.

        Args:
            observers: For each observer ``(n, 2)``; NaN counts as outside.
            size: The image's height and width in pixels.
        """
        inside_points, outside = [], 0
        for points in observers:
            pixels = np.floor(np.asarray(points, np.float64).reshape(-1, 2) + 0.5)
            inside = ((pixels >= 0) & (pixels < size)).all(axis=1)
            inside_points.append(pixels[inside].astype(np.int64))
            outside += int((~inside).sum())
        return cls(tuple(inside_points), outside)


class Coverage:
    """The number of fixations on and outside their images, and how far they reach.

    Attributes:
        count: The number of fixations on the images; None if no image has a file of them.
        outside: The number of fixations outside their images, which are ignored.
    """

    def __init__(self) -> None:
        self.count: int | None = None
        self.outside = 0
        self._reach = 0.0
        self._furthest = 0

    def add(self, fixations: Fixations, size: Size) -> None:
        """Count the fixations of an image.

        Args:
            fixations: The fixations.
            size: The image's height and width in pixels.
        """
        self.count = (self.count or 0) + fixations.count
        self.outside += fixations.outside
        for pixels in fixations.observers:
            if len(pixels):
                self._reach = max(self._reach, float((pixels.max(axis=0) / size).max()))
                self._furthest = max(self._furthest, int(pixels.max()))

    def problems(self) -> list[str]:
        """Describe coordinates that are not pixels of the images."""
        return list(filter(None, (self.far_outside(), self.in_a_corner())))

    def useless(self) -> str:
        """Describe coordinates from which no map should be drawn; empty for others."""
        return self.far_outside() if self.outside > (self.count or 0) else self.in_a_corner()

    def far_outside(self) -> str:
        """Describe fixations outside their images, if they are many; empty otherwise."""
        total = (self.count or 0) + self.outside
        if not total or self.outside <= MAX_OUTSIDE * total:
            return ""
        return (
            f"{self.outside:,} of {total:,} fixations ({self.outside / total:.0%}) are outside "
            f"their images. Coordinates are pixels of the image from its upper left corner, not "
            f"from the center and not of the screen; check the offset, the scale, and the columns "
            f"x and y."
        )

    def in_a_corner(self) -> str:
        """Describe fixations that are all in the upper left corner; empty for others.

        If many are outside, those on the images say nothing.
        """
        if (self.count or 0) < _ENOUGH or self._reach >= _LOWEST_REACH or self.far_outside():
            return ""
        unit = "of a smaller image"
        if self._furthest <= 100:
            unit = "percent of the image, or of a smaller one"
        if self._furthest <= 1:
            unit = "fractions of the image"
        return (
            f"All {self.count:,} fixations are in the upper left corner of their images, up to "
            f"{self._reach:.0%} of width and height: their coordinates seem to be {unit}. Write "
            f"them in pixels of the image."
        )


def read_fixation_file(path: Path, size: Size) -> Fixations:
    """Read the fixations of one image.

    * ``.csv``: UTF-8 with commas, semicolons or tabs; a header with the columns ``x`` and ``y``
      (pixels, 0 at the left and at the top) and optionally ``observer``, in any case, or a synonym
      in `COLUMNS`; a row for each fixation. Rows without a value are left out.
    * ``.mat``: MATLAB, as in CAT2000 (a matrix ``fixLocs``) or SALICON (a structure ``gaze``).
    * an image of the stimulus' size: every pixel that is not black is a fixation.

    Args:
        path: The file.
        size: Height and width of the stimulus in pixels.

    Raises:
        DataError: The file cannot be read or does not match the image.
    """
    readers = {".csv": _read_csv, ".mat": _read_mat}
    return readers.get(path.suffix.lower(), _read_points_image)(path, size)


def fixation_table(observers: Iterable[NDArray[np.int64]]) -> str:
    """Write fixations as the ``.csv`` that `read_fixation_file` reads.

    Args:
        observers: For each observer ``(n, 2)``, row and column of a pixel.
    """
    rows = [
        f"{observer},{column},{row}"
        for observer, pixels in enumerate(observers, 1)
        for row, column in pixels
    ]
    return "\n".join(["observer,x,y", *rows, ""])


def load_mat(path: Path, variables: list[str]) -> Mapping[str, Any]:
    """Read variables of a MATLAB file.

    Args:
        path: The file.
        variables: Their names; those that are not in the file are missing from the result.

    Raises:
        DataError: The file is missing, damaged, or in MATLAB's format 7.3.
    """
    from scipy.io import loadmat

    try:
        content: Mapping[str, Any] = loadmat(
            path, variable_names=variables, squeeze_me=True, struct_as_record=False
        )
    except NotImplementedError as error:
        raise DataError(
            f"{path} is in MATLAB's format 7.3, which is not supported. Save it in MATLAB with the "
            f"option -v7."
        ) from error
    except Exception as error:  # of any type, if the file is damaged
        raise DataError(
            f"Could not read {path} as a MATLAB file: {error or type(error).__name__}. Copy or "
            f"download it again."
        ) from error
    return content


def _read_csv(path: Path, size: Size) -> Fixations:
    observers: dict[str, list[tuple[float, float]]] = {}
    line = 1
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            header = stream.readline()
            delimiter = max(_DELIMITERS, key=header.count)
            stream.seek(0)
            rows = csv.DictReader(stream, delimiter=delimiter, skipinitialspace=True)
            column = _columns(path, rows.fieldnames or ())
            for row in rows:
                line = rows.line_num
                place = row[column["y"]], row[column["x"]]
                if None in place:
                    raise ValueError("a value is missing at the end")
                if not _MISSING.isdisjoint(text.strip().lower() for text in place):
                    continue
                point = _number(place[0]), _number(place[1])
                observer = row[column["observer"]] if "observer" in column else ""
                observers.setdefault((observer or "").strip(), []).append(point)
    except UnicodeError as error:
        raise DataError(f"{path} is not UTF-8 text. Save it as CSV in UTF-8.") from error
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(
            f"Could not read {path} as a table of fixations: line {line}: {os_reason(error)}. "
            f"Each line has the pixels x and y of a fixation; correct it or remove it."
        ) from error
    return Fixations.from_points([np.array(points) for points in observers.values()], size)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        if re.fullmatch(r"\s*-?\d+,\d+\s*", text):
            raise ValueError("decimal commas; write points, as in 61.75") from error
        raise


def _columns(path: Path, header: Sequence[str]) -> dict[str, str]:
    """Return the header's name for each column of `COLUMNS` that it has."""
    found = {name.strip().lower().replace(" ", "_"): name for name in reversed(header)}
    columns = {
        column: found[next(name for name in names if name in found)]
        for column, names in COLUMNS.items()
        if not found.keys().isdisjoint(names)
    }
    if not {"x", "y"} <= columns.keys():
        raise DataError(
            f"{path} has no header with the columns x and y. Found: "
            f"{', '.join(header or ['nothing'])}. Rename the columns; other names for x are "
            f"{', '.join(COLUMNS['x'][1:])}."
        )
    return columns


def _read_mat(path: Path, size: Size) -> Fixations:
    content = load_mat(path, ["fixLocs", "gaze"])
    try:
        if "fixLocs" in content:
            return _from_mask(path, np.atleast_2d(content["fixLocs"]) > 0, size)
        if "gaze" in content:
            points = [
                np.asarray(observer.fixations, np.float64).reshape(-1, 2)[:, ::-1] - 1
                for observer in np.atleast_1d(content["gaze"])
            ]
            return Fixations.from_points(points, size)
    except (AttributeError, ValueError, TypeError) as error:
        raise DataError(
            f"The fixations in {path} have an unexpected structure: {error}."
        ) from error
    raise DataError(f"{path} has neither 'fixLocs' (CAT2000) nor 'gaze' (SALICON).")


def _read_points_image(path: Path, size: Size) -> Fixations:
    gray = decode(path, "L")[..., 0]
    # JPEG surrounds a white point with faint gray; other formats may write points as 1 of 255.
    threshold = 127 if path.suffix.lower().startswith(".jp") else 0
    return _from_mask(path, gray > threshold, size)


def _from_mask(path: Path, mask: NDArray[np.bool_], size: Size) -> Fixations:
    if mask.shape != size:
        raise DataError(
            f"{path} is {mask.shape[0]}x{mask.shape[1]}, but its image is {size[0]}x{size[1]} "
            f"(height x width); they must have the same size."
        )
    return Fixations((np.argwhere(mask),))
