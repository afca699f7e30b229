"""One image of a dataset, with its true map and its fixations."""

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
    """The source of an image's true map, and of its fixations if they are known."""

    def read_map(self) -> NDArray[np.float32]:
        """Return the map, ``(H, W, 1)`` in 0..1."""

    def read_fixations(self) -> Fixations | None:
        """Return the fixations; None if they are not known."""


@dataclass(frozen=True)
class FileTruth:
    """A file with the map of an image, and perhaps one with its fixations.

    Args:
        stimulus: The image.
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
        """Read the fixations; None without a file."""
        if self.fixations is None:
            return None
        return read_fixation_file(self.fixations, image_size(self.stimulus))


@dataclass(frozen=True)
class Sample:
    """One image of a dataset.

    Args:
        name: Its file's name without the suffix; unique in its split.
        stimulus: The image.
        truth: The source of its map and fixations.
    """

    name: str
    stimulus: Path
    truth: Truth

    def read_map(self) -> NDArray[np.float32]:
        """Read the true map at its own size.

        Returns:
            ``(H, W, 1)`` float32 in 0..1.

        Raises:
            DataError: The map cannot be read.
        """
        return self.truth.read_map()

    def read_fixations(self) -> list[NDArray[np.int64]] | None:
        """Read the fixations; None if they are not known.

        Returns:
            For each observer ``(n, 2)`` int64, row and column of a pixel of the stimulus.

        Raises:
            DataError: They cannot be read.
        """
        fixations = self.truth.read_fixations()
        return None if fixations is None else list(fixations.observers)

    def load(self, size: Size) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Read image and map and fit both to the network's input.

        Args:
            size: Height and width of the input in pixels.

        Returns:
            ``(*size, 3)`` in 0..255 and ``(*size, 1)`` in 0..1, float32.

        Raises:
            DataError: One cannot be read, or their aspect ratios differ.
        """
        image, map = read_image(self.stimulus), self.read_map()
        check_shapes(self, (image.shape[0], image.shape[1]), (map.shape[0], map.shape[1]))
        return fit(image, size, IMAGE_PADDING), fit(map, size, MAP_PADDING)


def check_shapes(sample: Sample, image: Size, map: Size) -> None:
    """Refuse a map whose aspect ratio differs from its image's.

    Args:
        sample: The image.
        image: Its height and width.
        map: Height and width of its map, which may be smaller or larger.

    Raises:
        DataError: The aspect ratios differ by more than rounding to pixels explains.
    """
    expected = placement(image, map)
    if max(map[0] - expected.height, map[1] - expected.width) > 1:
        raise DataError(
            f"The map of {sample.stimulus} is {map[0]}x{map[1]}, but the image is {image[0]}x"
            f"{image[1]} (height x width). Both must have the same aspect ratio and orientation."
        )
