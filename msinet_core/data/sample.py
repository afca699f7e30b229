"""One image of a dataset, with its true map and its fixations."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from msinet_core.data.decode import image_size
from msinet_core.data.digest import content_digest
from msinet_core.data.fixations import Fixations, read_fixation_file
from msinet_core.data.images import IMAGE_PADDING, MAP_PADDING, read_image, read_map
from msinet_core.data.resize import fit, placement
from msinet_core.errors import DataError
from msinet_core.network.ops import Size

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


Source = TypeVar("Source", bound="MapFile")


class Truth(Protocol):
    """The source of an image's true map, of its fixations, or of both."""

    @property
    def has_map(self) -> bool:
        """Whether there is a map."""

    @property
    def stimulus_size(self) -> Size:
        """The image's height and width in pixels."""

    def without_map(self) -> Truth:
        """Return the fixations alone."""

    def content(self) -> str:
        """Return a text that stands for the map's content, for caches."""

    def read_map(self) -> NDArray[np.float32]:
        """Return the map, ``(H, W, 1)`` in 0..1."""

    def read_fixations(self) -> Fixations | None:
        """Return the fixations; None if they are not known."""


@dataclass(frozen=True)
class MapFile:
    """The file with the map of an image, if there is one; subclasses add fixations.

    Args:
        stimulus: The image.
        map: The map.
    """

    stimulus: Path
    map: Path | None

    @property
    def has_map(self) -> bool:
        """Whether there is a map."""
        return self.map is not None

    @property
    def stimulus_size(self) -> Size:
        """The image's height and width in pixels."""
        return image_size(self.stimulus)

    def without_map(self: Source) -> Source:
        """Return the fixations alone."""
        return replace(self, map=None)

    def read_map(self) -> NDArray[np.float32]:
        """Read the map, ``(H, W, 1)`` in 0..1."""
        if self.map is None:
            raise DataError(
                f"{self.stimulus} has no map. Draw the maps of a dataset from its fixations with: "
                f"msinet-run data maps DIR --sigma PX"
            )
        return read_map(self.map)


@dataclass(frozen=True)
class FileTruth(MapFile):
    """A file with the map of an image, one with its fixations, or both.

    Args:
        stimulus: The image.
        map: The map.
        fixations: The fixations.
    """

    fixations: Path | None = None

    def content(self) -> str:
        """Return a text that stands for the content of the map, or of the fixations."""
        source = self.map or self.fixations
        return content_digest(source).hex() if source else ""

    def read_fixations(self) -> Fixations | None:
        """Read the fixations; None without a file."""
        if self.fixations is None:
            return None
        return read_fixation_file(self.fixations, self.stimulus_size)


@dataclass(frozen=True)
class Sample:
    """One image of a dataset.

    Args:
        name: Its file's name without the suffix; unique in its split.
        file: Its file's path in ``stimuli/``, for example ``"val/a.jpg"``; unique in its dataset.
        stimulus: The image.
        truth: The source of its map and fixations.
    """

    name: str
    file: str
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
