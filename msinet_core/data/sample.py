"""One image of a dataset, with its true map and its fixations."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from msinet_core.data.decode import image_size
from msinet_core.data.fixations import Fixations, read_fixation_file
from msinet_core.data.images import (
    IMAGE_PADDING,
    MAP_PADDING,
    content_digest,
    read_image,
    read_map,
)
from msinet_core.data.maps import drawn_map
from msinet_core.data.resize import fit, placement
from msinet_core.errors import DataError
from msinet_core.network.ops import Size

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Observers = tuple[NDArray[np.float64], ...]
    """For each observer ``(n, 2)``, row and column in pixels from 0."""


@dataclass(frozen=True)
class Sample:
    """One image of a dataset.

    Args:
        name: Its file's name without the suffix; unique in its split.
        file: Its file's path in ``stimuli/``, for example ``"val/a.jpg"``; unique in its dataset.
        stimulus: The image.
        map: Its map.
        fixations: The file with its fixations, or its part of a file for all images.
        sigma: Standard deviation in pixels of the Gaussian at each fixation, with which the map is
            drawn if there is no file.
    """

    name: str
    file: str
    stimulus: Path
    map: Path | None = None
    fixations: Path | Observers | None = field(default=None, compare=False, repr=False)
    sigma: float | None = None

    @property
    def has_map(self) -> bool:
        """Whether there is a map, in a file or drawn from the fixations."""
        return self.map is not None or self.sigma is not None

    @property
    def size(self) -> Size:
        """The image's height and width in pixels."""
        return image_size(self.stimulus)

    def content(self) -> str:
        """Return a text that stands for the map's content, for caches."""
        source = self.map or self.fixations
        if isinstance(source, Path):
            content = content_digest(source).hex()
        else:
            points = [one.tobytes() for one in source or ()]
            content = hashlib.sha256(b"|".join(points)).hexdigest()
        return content if self.sigma is None else f"{content} sigma {self.sigma!r}"

    def read_map(self) -> NDArray[np.float32]:
        """Read the true map at its own size, or draw it from the fixations.

        Returns:
            ``(H, W, 1)`` float32 in 0..1.

        Raises:
            DataError: There is no map, or it cannot be read.
        """
        if self.map is not None:
            return read_map(self.map)
        fixations = self.read_fixations()
        if fixations is None or self.sigma is None:
            raise DataError(
                f"{self.stimulus} has no map. Draw the maps of a dataset from its fixations with: "
                f"msinet-run data maps DIR --sigma PX"
            )
        return drawn_map(fixations, self.size, self.sigma)

    def read_fixations(self) -> Fixations | None:
        """Read the fixations; None if they are not known.

        Raises:
            DataError: They cannot be read.
        """
        if self.fixations is None:
            return None
        if isinstance(self.fixations, Path):
            return read_fixation_file(self.fixations, self.size)
        return Fixations.from_points(self.fixations, self.size)

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
