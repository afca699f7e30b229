"""Read anyone's saliency maps, so that they can be scored like our own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from msinet_core.data.decode import SUFFIXES
from msinet_core.data.folder import conflicts, index
from msinet_core.data.images import MAP_PADDING, read_map
from msinet_core.data.resize import fit
from msinet_core.data.sample import Sample, check_shapes
from msinet_core.errors import DataError, UsageError, bullet_list

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
        UsageError: The folder does not exist, has two maps of an image, or has none.
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
        if not any(self._find(sample) for sample in samples):
            raise UsageError(
                f"{folder} has no map of any of the {len(samples)} images. Maps are named like the "
                f"images: for {samples[0].stimulus.name}, {samples[0].name}.png (or another "
                f"suffix)."
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
        path = self._find(sample)
        if path is None:
            raise DataError(f"{sample.stimulus} has no map in {self._folder}.")
        map = _read_array(path) if path.suffix.lower() == ".npy" else read_map(path)
        size = sample.truth.stimulus_size
        check_shapes(sample, size, (map.shape[0], map.shape[1]))
        return fit(map, size, MAP_PADDING)[..., 0]

    def _find(self, sample: Sample) -> Path | None:
        for split in ("", "train/", "val/", "test/"):
            if (path := self._files.get(f"{split}{sample.name}")) is not None:
                return path
        return None


def _read_array(path: Path) -> NDArray[np.float32]:
    try:
        values = np.load(path)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"Could not read {path} as a NumPy array: {error}.") from error
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
