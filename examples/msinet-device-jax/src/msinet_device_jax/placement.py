"""Where arrays are: batches are split over JAX's devices, all else is copied to each of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from numpy.typing import NDArray

AXIS = "images"


class Placement:
    """Data parallelism over one or more devices, by JAX's own sharding.

    Steps are written for the whole batch. From the placement of their arguments, XLA derives that
    each device computes its part of the images, and where gradients are summed over the devices.

    Args:
        devices: JAX's devices.
    """

    def __init__(self, devices: Sequence[Any]) -> None:
        mesh = Mesh(np.array(devices), (AXIS,))
        self.count = len(devices)
        self.copied = NamedSharding(mesh, PartitionSpec())
        self.split = NamedSharding(mesh, PartitionSpec(AXIS))

    def copy(self, arrays: Any) -> Any:
        """Copy arrays to every device.

        Args:
            arrays: A tree of arrays or numbers; JAX reads a copy of them later.
        """
        copies = jax.tree.map(lambda array: np.array(array, np.float32), arrays)
        return jax.device_put(copies, self.copied)

    def split_images(self, images: Any) -> Any:
        """Split arrays along their first axis; the first row pads them to equal parts.

        Args:
            images: A tree of arrays with one row per image.
        """
        padded = jax.tree.map(lambda array: array[self._rows(len(array))], images)
        return jax.device_put(jax.tree.map(np.float32, padded), self.split)

    def split_shares(self, count: int, total: int) -> Any:
        """Return each image's share in the mean loss; zero for padding.

        Args:
            count: The number of images in this batch.
            total: The number of images in the step.
        """
        shares = (np.arange(self.padded(count)) < count) / total
        return jax.device_put(np.float32(shares), self.split)

    def padded(self, count: int) -> int:
        """Return the number of rows for a number of images."""
        return -(-count // self.count) * self.count

    def _rows(self, count: int) -> NDArray[np.intp]:
        rows = np.arange(self.padded(count))
        return np.where(rows < count, rows, 0)
