"""Where the fixations of a dataset lie, which tells coordinates in a wrong unit."""

from __future__ import annotations

from msinet_core.data.fixations import Fixations
from msinet_core.network.ops import Size

MAX_OUTSIDE = 0.05
"""The largest share of fixations outside their images that is not a problem."""

_LOWEST_REACH = 0.6
"""The least part of the images, from the left and from the top, that real fixations reach."""

_ENOUGH = 30
"""Of fewer fixations, all may lie in a corner by chance."""


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
