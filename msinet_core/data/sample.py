"""One image of a data set, and where its true map and its fixations come from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from msinet_core.data.decode import image_size
from msinet_core.data.fixations import Fixations, read_fixation_file
from msinet_core.data.images import IMAGE_PADDING, MAP_PADDING, read_image, read_map
from msinet_core.data.resize import fit, placement
from msinet_core.errors import DataError
from msinet_core.network.ops import Size

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Truth(Protocol):
    """Gives the true map of an image, and the fixations behind it where they are known."""

    def read_map(self) -> NDArray[np.float32]:
        """Return the map, ``(H, W, 1)`` in 0..1."""

    def read_fixations(self) -> Fixations | None:
        """Return the fixations; None if there are none."""


@dataclass(frozen=True)
class FileTruth:
    """A map, and perhaps fixations, in files of their own.

    Args:
        stimulus: The image that they belong to.
        map: The map.
        fixations: The fixations.
    """

    stimulus: Path
    map: Path
    fixations: Path | None = None

    def read_map(self) -> NDArray[np.float32]:
        """Read the map, ``(H, W, 1)`` in 0..1."""
        return read_map(self.map)

    def read_fixations(self) -> Fixations | None:
        """Read the fixations; None if there is no file."""
        if self.fixations is None:
            return None
        return read_fixation_file(self.fixations, image_size(self.stimulus))


@dataclass(frozen=True)
class Sample:
    """One image of a data set.

    Args:
        name: Its file's name without the ending; unique in its split.
        stimulus: The image.
        truth: Where its map and fixations come from.
    """

    name: str
    stimulus: Path
    truth: Truth

    def read_map(self) -> NDArray[np.float32]:
        """Read the true map at its own size.

        Returns:
            ``(H, W, 1)`` float32 in 0..1.

        Raises:
            DataError: It cannot be read.
        """
        return self.truth.read_map()

    def read_fixations(self) -> list[NDArray[np.int64]] | None:
        """Read where people looked; None if it is not known.

        Returns:
            For each observer ``(n, 2)`` int64, row and column of a pixel of the stimulus.

        Raises:
            DataError: They cannot be read.
        """
        fixations = self.truth.read_fixations()
        return None if fixations is None else list(fixations.observers)

    def load(self, size: Size) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Read image and map and fit both into the network's input.

        Args:
            size: Height and width of the input in pixels.

        Returns:
            ``(*size, 3)`` in 0..255 and ``(*size, 1)`` in 0..1, float32.

        Raises:
            DataError: One cannot be read, or their shapes do not belong together.
        """
        image, map = read_image(self.stimulus), self.read_map()
        check_shapes(self, (image.shape[0], image.shape[1]), (map.shape[0], map.shape[1]))
        return fit(image, size, IMAGE_PADDING), fit(map, size, MAP_PADDING)


def check_shapes(sample: Sample, image: Size, map: Size) -> None:
    """Refuse a map of another aspect ratio than its image's: it would lie askew on it.

    Args:
        sample: Whose they are.
        image: Height and width of the image.
        map: Height and width of the map; a smaller or larger copy of the image's is fine.

    Raises:
        DataError: They differ by more than rounding to whole pixels explains.
    """
    expected = placement(image, map)
    if max(map[0] - expected.height, map[1] - expected.width) > 1:
        raise DataError(
            f"The map of {sample.stimulus} is {map[0]}x{map[1]} and the image {image[0]}x"
            f"{image[1]} (height x width): they do not have the same shape. Make the map from this "
            f"image, uncropped and turned the same way."
        )
