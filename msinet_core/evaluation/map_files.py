"""Read anyone's saliency maps, so that they can be scored like our own."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np

from msinet_core.data.decode import SUFFIXES
from msinet_core.data.folder import SPLITS, STIMULI, conflicts, index, stem
from msinet_core.data.images import MAP_PADDING, read_map
from msinet_core.data.resize import fit
from msinet_core.data.sample import Sample, check_shapes
from msinet_core.errors import DataError, UsageError, bullet_list, counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


class MapFolder:
    """A folder of predicted maps, named like the images.

    Args:
        folder: Searched recursively; image files, or ``.npy`` with any values that are not
            negative.
        samples: The images to score.

    Raises:
        UsageError: The folder does not exist, has two maps of an image, one of two, or none.
    """

    def __init__(self, folder: Path, samples: Sequence[Sample]) -> None:
        if not folder.is_dir():
            raise UsageError(f"No such folder of maps: {folder}")
        files = index(folder, "", SUFFIXES | {".npy"})
        problems = conflicts(files)
        if problems:
            raise UsageError(f"{folder} has several maps of an image:\n{bullet_list(problems)}")
        self._folder = folder
        self._files = {name: folder / paths[0].lstrip("/") for name, paths in files.items()}
        self._maps = {sample: self._find(sample) for sample in samples}
        shared = defaultdict(list)
        for sample, map in self._maps.items():
            if map is not None:
                shared[map].append(sample.file)
        if not shared:
            raise UsageError(
                f"{folder} has no map for the {counted(len(samples), 'image')}. Maps are named "
                f"like the images: for {samples[0].stimulus.name}, {samples[0].name}.png (or "
                f"another suffix)."
            )
        unclear = [f"{map}: {', '.join(files)}" for map, files in shared.items() if files[1:]]
        if unclear:
            raise UsageError(
                f"{folder} has maps that fit several images of one name; put them into folders "
                f"like those of the images:\n{bullet_list(unclear)}"
            )

    def read(self, sample: Sample) -> NDArray[np.float32]:
        """Read the map of an image, resized to the image's size.

        Args:
            sample: The image.

        Returns:
            ``(H, W)`` float32 in 0..1.

        Raises:
            DataError: It has none, or its map cannot be used.
        """
        path = self._maps[sample]
        if path is None:
            raise DataError(f"{sample.stimulus} has no map in {self._folder}.")
        map = _read_array(path) if path.suffix.lower() == ".npy" else read_map(path)
        size = sample.size
        check_shapes(sample, size, (map.shape[0], map.shape[1]))
        return fit(map, size, MAP_PADDING)[..., 0]

    def _find(self, sample: Sample) -> Path | None:
        """Return the map beside which the image would be, else the only one of its name."""
        own = stem(PurePosixPath(sample.file))
        for path in (own, f"{STIMULI}/{own}"):  # `predict DATASET` writes the latter
            if path in self._files:
                return self._files[path]
        names = [sample.name, *(f"{split}/{sample.name}" for split in SPLITS if own == sample.name)]
        found = [self._files[name] for name in names if name in self._files]
        if found[1:]:
            raise UsageError(
                f"{self._folder} has several maps of {sample.file}:\n"
                f"{bullet_list([str(path) for path in found])}\nKeep one."
            )
        return found[0] if found else None


def _read_array(path: Path) -> NDArray[np.float32]:
    try:
        values = np.load(path)
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise DataError(f"Could not read {path} as a NumPy array: {error}.") from error
    if not isinstance(values, np.ndarray):
        raise DataError(f"{path} is an archive of arrays (.npz); save one array with numpy.save.")
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if values.ndim != 2 or values.dtype.kind not in "uif" or not values.size:
        raise DataError(
            f"A map has the shape (H, W) and real values. {path}: {values.dtype} of the shape "
            f"{values.shape}"
        )
    lowest, highest = values.min(), values.max()
    if not (lowest >= 0 and np.isfinite(highest)):  # also where one is not a number
        raise DataError(
            f"{path} has values from {lowest:g} to {highest:g}. Maps are finite and not negative; "
            f"if these are logarithms of a density, save their exponentials."
        )
    scaled: NDArray[np.float32] = (values / (highest or 1)).astype(np.float32)[..., None]
    return scaled
