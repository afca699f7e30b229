"""The fixations of a whole dataset: negatives of shuffled AUC, and the empirical center bias."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from msinet_core.data.fixations import Coverage, Fixations
from msinet_core.data.sample import Sample
from msinet_core.errors import DataError
from msinet_core.metrics.standard import density
from msinet_core.system.progress import Progress
from msinet_core.system.threads import in_threads

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from msinet_core.metrics.maps import Floats, Points
    from msinet_core.network.ops import Size

    Observers = tuple[NDArray[np.int64], ...]

FEWEST_OTHER_IMAGES = 3
"""The least number of other images with fixations from which the center bias is estimated."""

_SIZES_KEPT = 8


class FixationBank:
    """The fixations of all images of a dataset, read once; every method leaves one image out.

    Args:
        samples: All images of the dataset, whichever of them are scored.
        progress: Shows progress.

    Attributes:
        unread: The images whose fixations cannot be read.
        coverage: Where the fixations lie.
    """

    def __init__(self, samples: Sequence[Sample], progress: Progress | None = None) -> None:
        self._observers: dict[Sample, Observers | None] = {}
        relative: list[Floats] = []
        self.unread: set[Sample] = set()
        self.coverage = Coverage()
        results = in_threads(_read, samples, "read fixations", progress)
        for sample, found in zip(samples, results, strict=True):
            if isinstance(found, DataError):
                self.unread.add(sample)
            elif found is None:
                self._observers[sample] = None
            else:
                fixations, size = found
                self._observers[sample] = fixations.observers
                self.coverage.add(fixations, size)
                relative.append((self._own(sample) + 0.5) / np.array(size))
        self._points = np.concatenate([np.empty((0, 2)), *relative])
        self._images = sum(len(points) > 0 for points in relative)
        self._total = lru_cache(_SIZES_KEPT)(self._compute_total)

    def observers(self, sample: Sample) -> Observers | None:
        """Return the fixations of each observer, ``(n, 2)`` rows and columns; None if unknown.

        Raises:
            DataError: They cannot be read.
        """
        if sample not in self._observers:  # an error is raised again, for the image itself
            found = sample.read_fixations()
            self._observers[sample] = None if found is None else found.observers
        return self._observers[sample]

    def others(self, sample: Sample, size: Size) -> tuple[Floats | None, Floats | None]:
        """Return the fixations of other images, scaled to a size.

        Args:
            sample: The image that is left out.
            size: Its height and width in pixels.

        Returns:
            ``(*size)``, how many of them each pixel has, and the center bias: their kernel density
            with a uniform share. None, None if too few other images have fixations.
        """
        own = self._own(sample)
        if self._images - (len(own) > 0) < FEWEST_OTHER_IMAGES:
            return None, None
        total, blurred = self._total(size)
        counts = count(own, size)
        return total - counts, density(np.maximum(blurred - blur(counts, self.bandwidth(size)), 0))

    def bandwidth(self, size: Size) -> tuple[float, float]:
        """Return the standard deviations of the kernel in pixels, by Scott's rule.

        Args:
            size: Height and width in pixels.

        Source: Scott: Multivariate density estimation, 1992.
        """
        factor = len(self._points) ** (-1 / 6)
        rows, columns = self._points.std(axis=0) * np.array(size) * factor
        return max(1.0, float(rows)), max(1.0, float(columns))

    def _own(self, sample: Sample) -> NDArray[np.int64]:
        return np.concatenate([np.empty((0, 2), np.int64), *(self._observers[sample] or ())])

    def _compute_total(self, size: Size) -> tuple[Floats, Floats]:
        counts = count((self._points * np.array(size)).astype(np.int64), size)
        return counts, blur(counts, self.bandwidth(size))


def count(points: Points, size: Size) -> Floats:
    """Return how many points each pixel has.

    Args:
        points: ``(n, 2)`` rows and columns.
        size: Height and width in pixels.
    """
    counts = np.zeros(size)
    np.add.at(counts, tuple(points.T), 1)
    return counts


def blur(counts: Floats, sigmas: tuple[float, float]) -> Floats:
    """Blur with a Gaussian that is mirrored at the edges.

    A product of cosine transforms, which takes as long for a wide Gaussian as for a narrow one.

    Args:
        counts: ``(H, W)``.
        sigmas: Standard deviations in pixels, down and across.
    """
    from scipy.fft import dctn, idctn

    axes = [
        np.exp(-0.5 * (np.pi * np.arange(length) / length * sigma) ** 2)
        for length, sigma in zip(counts.shape, sigmas, strict=True)
    ]
    return np.asarray(idctn(dctn(counts) * np.outer(*axes).astype(counts.dtype)))


def _read(sample: Sample) -> tuple[Fixations, Size] | DataError | None:
    try:
        fixations = sample.read_fixations()
        return None if fixations is None else (fixations, sample.size)
    except DataError as error:
        return error
