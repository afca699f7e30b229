"""Faults that depend on the images and batches: their number, size, values and memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from msinet_core.network.state import Batch
from msinet_core.reference.device import ReferenceModel
from msinet_core.reference.tape import Array
from tests.faults.change import spoiled
from tests.faults.fault import Faults, Images

FAULTS = Faults()


# Which images.


def _wrong_if(test: Callable[[Images], Any]) -> type[ReferenceModel]:
    class WrongMaps(ReferenceModel):
        def forward(self, images: Images) -> Array:
            maps = super().forward(images)
            return spoiled(maps) if test(images) else maps

    return WrongMaps


for _name, _row, _test in (
    ("square images", "forward/square-images", lambda images: images.shape[1] == images.shape[2]),
    (
        "as many images as rows",
        "forward/equal-axes",
        lambda images: images.shape[0] == images.shape[1],
    ),
    (
        "as many images as columns",
        "forward/equal-axes",
        lambda images: images.shape[0] == images.shape[2],
    ),
    ("batches of 6", "forward/batch-6", lambda images: len(images) == 6),
    ("batches of 7", "forward/batch-7", lambda images: len(images) == 7),
    ("batches of 12", "forward/batch-12", lambda images: len(images) == 12),
    ("batches of 24", "forward/batch-24", lambda images: len(images) == 24),
    ("batches above 64", "forward/batch-130", lambda images: len(images) > 64),
    ("batches of 16", "forward/batch-16", lambda images: len(images) == 16),
    ("batches above 32", "forward/batch-33", lambda images: len(images) > 32),
    ("images wider than 4,096", "forward/long-images", lambda images: images.shape[2] > 4096),
    ("images higher than 4,096", "forward/tall-images", lambda images: images.shape[1] > 4096),
    (
        "large batches of large images",
        "forward/large-batch",
        lambda images: len(images) > 2 and images[0].size > 2**17,
    ),
    (
        "channels in reverse",
        "use/kinds-of-images",
        lambda images: images.strides[3] < 0,
    ),
    ("repeated images", "use/kinds-of-images", lambda images: images.strides[0] == 0),
    ("repeated channels", "use/kinds-of-images", lambda images: images.strides[3] == 0),
    (
        "three of four channels",
        "use/kinds-of-images",
        lambda images: images.strides[2] == 4 * images.strides[3] > 0,
    ),
    (
        "more than 2**20 pixels",
        "forward/megapixels",
        lambda images: images.shape[1] * images.shape[2] > 2**20,
    ),
    (
        "equal images in a batch",
        "use/kinds-of-images",
        lambda images: len(images) > 1 and (images == images[:1]).all(),
    ),
    ("values above 255", "use/kinds-of-images", lambda images: images.max() > 255),
    ("values below -3", "use/kinds-of-images", lambda images: images.min() < -3),
    ("whole numbers", "use/kinds-of-images", lambda images: (images == np.rint(images)).all()),
    ("images with ones", "use/kinds-of-images", lambda images: (images == 1).any()),
    (
        "images in 0..1",
        "use/kinds-of-images",
        lambda images: images.min() >= 0 and images.max() <= 1,
    ),
    (
        "gray images",
        "use/kinds-of-images",
        lambda images: (images[..., :1] == images).all() and images.std() > 0,
    ),
):
    FAULTS.model(f"Maps wrong for {_name}", _row)(_wrong_if(_test))


class _Cached(ReferenceModel):
    """Returns an earlier map for images that it takes for the same."""

    def forward(self, images: Images) -> Array:
        cache = vars(self).setdefault("_cache", {})
        key = images.shape, self.key(images)
        if key not in cache:
            # Images are kept, so that no other array gets their address.
            cache[key] = (super().forward(images), images)
        return np.array(cache[key][0])

    def key(self, images: Images) -> Any:
        """Return what it remembers images by."""
        raise NotImplementedError


@FAULTS.model("Maps remembered by the address of the images", "use/changed-images")
class CachedByAddress(_Cached):
    """Does not notice that an array was filled again."""

    def key(self, images: Images) -> Any:
        return id(images)


@FAULTS.model("Maps remembered by the first image", "use/changed-images")
class CachedByFirstImage(_Cached):
    """Compares the first image of a batch only."""

    def key(self, images: Images) -> Any:
        return images[0].tobytes()


@FAULTS.model("Maps remembered by the first row", "use/changed-images")
class CachedByFirstRow(_Cached):
    """Compares the first row of the first image only."""

    def key(self, images: Images) -> Any:
        return images[0, 0].tobytes()


# Which batches.


@FAULTS.model("Batches remembered by their address", "use/changed-batches")
class UploadedOnce(ReferenceModel):
    """Uploads an array once, and does not notice that it was filled again."""

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        uploaded = vars(self).setdefault("_uploaded", {})
        for batch in batches:
            uploaded.setdefault(id(batch), (batch, Batch(batch.images.copy(), batch.maps.copy())))
        return super().update([uploaded[id(batch)][1] for batch in batches], learning_rate)


@FAULTS.model("NaN spreads to the next image of the batch", "use/one-image-not-finite")
class Spreads(ReferenceModel):
    """Multiplies what lies between images by zero."""

    def forward(self, images: Images) -> Array:
        maps = super().forward(images)
        for index in range(1, len(images)):
            if not np.isfinite(images[index - 1]).all():
                maps[index] = np.nan
        return maps


@FAULTS.model("Strides of zero misread in true maps", "use/changed-batches")
class ZeroStrides(ReferenceModel):
    """Reads one true map, and zeros for the others."""

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        changed = []
        for batch in batches:
            maps = batch.maps.copy()
            if batch.maps.strides[0] == 0:
                maps[1:] = 0
            changed.append(Batch(batch.images, maps))
        return super().update(changed, learning_rate)


@FAULTS.model("Only the first 16 batches count", "use/changed-batches", "gradient/accumulated-many")
class SixteenBatches(ReferenceModel):
    """Has buffers for sixteen."""

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        return super().update(batches[:16], learning_rate)


@FAULTS.model("Only the first eight batches count", "use/changed-batches")
class EightBatches(ReferenceModel):
    """Ignores batches beyond the eighth."""

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        return super().update(batches[:8], learning_rate)


def _start_of(array: Array) -> Array:
    base = array if array.base is None else array.base
    return base.ravel()[: array.size].reshape(array.shape)


@FAULTS.model("Strides of true maps ignored in evaluation", "use/changed-batches")
class StridesOfMapsIgnored(ReferenceModel):
    """Reads the memory of a view as if it were contiguous."""

    def losses(self, batch: Batch) -> Array:
        return super().losses(Batch(batch.images, _start_of(batch.maps)))


class _HalfRate(ReferenceModel):
    """Makes some steps with half the learning rate."""

    _steps = 0

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        self._steps += 1
        factor = 0.5 if self.applies(batches) else 1.0
        return super().update(batches, learning_rate * factor)

    def applies(self, batches: Sequence[Batch]) -> bool:
        """Whether the step is wrong."""
        raise NotImplementedError


@FAULTS.model("Half the learning rate for empty true maps", "use/changed-batches")
class EmptyMaps(_HalfRate):
    """Takes an empty map for a missing one."""

    def applies(self, batches: Sequence[Batch]) -> bool:
        return not all(bool(one.any()) for batch in batches for one in batch.maps)


@FAULTS.model("Half the learning rate for square images", "use/changed-batches")
class SquareTraining(_HalfRate):
    """Confuses height and width."""

    def applies(self, batches: Sequence[Batch]) -> bool:
        height, width = batches[0].images.shape[1:3]
        return bool(height == width)


@FAULTS.model("Half the learning rate in every 25th step", "use/many-steps")
class Every25th(_HalfRate):
    """Does something every 25 steps."""

    def applies(self, batches: Sequence[Batch]) -> bool:
        return self._steps % 25 == 0


@FAULTS.model("A learning rate that changes by less than 1% is not set", "use/many-steps")
class SmallChangesIgnored(ReferenceModel):
    """Compares with the step before, to save a transfer."""

    _set = _last = 0.0

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        if abs(learning_rate - self._last) > 0.01 * self._last:
            self._set = learning_rate
        self._last = learning_rate
        return super().update(batches, self._set)


@FAULTS.model("Steps of a model counted in 8 bits", "use/many-steps")
class EightBits(ReferenceModel):
    """Corrects the bias of the 257th step as that of the first."""

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        step = self._moments.step
        self._moments.step = step % 256
        loss = super().update(batches, learning_rate)
        self._moments.step = step + 1
        return loss


@FAULTS.model("Every 200th step uses the first batch again", "use/many-steps")
class FirstBatchAgain(ReferenceModel):
    """Has two hundred buffers, and forgets to fill the first one again."""

    _steps = 0
    _first: Sequence[Batch] = ()

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        self._first = self._first or batches
        self._steps += 1
        again = self._steps > 200 and self._steps % 200 == 1
        return super().update(self._first if again else batches, learning_rate)


@FAULTS.model("The last of three large images has the loss of the first", "loss/batch-3-large")
class LastOfThree(ReferenceModel):
    """Computes images in pairs."""

    def losses(self, batch: Batch) -> Array:
        losses = super().losses(batch)
        if len(losses) % 2 and len(losses) > 1 and batch.images.shape[2] > 128:
            losses[-1] = losses[0]
        return losses


@FAULTS.model("Half the learning rate after 100 steps", "use/many-steps")
class After100(_HalfRate):
    """Has a schedule of its own."""

    def applies(self, batches: Sequence[Batch]) -> bool:
        return self._steps > 100


@FAULTS.model("Learning rate at most 0.1", "adam/learning-rate-digits")
class RateLimited(ReferenceModel):
    """Limits the learning rate."""

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        return super().update(batches, min(learning_rate, 0.1))


@FAULTS.model("Gradient of the first 16 images only", "gradient/batch-33")
class SixteenImages(ReferenceModel):
    """Trains with the first 16 images of a batch."""

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        cut = [Batch(images[:16], maps[:16]) for images, maps in batches]
        return super().update(cut, learning_rate)


@FAULTS.model("Gradient of the first 64 images only", "gradient/batch-130")
class SixtyFourImages(ReferenceModel):
    """Has threads for 64."""

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        cut = [Batch(batch.images[:64], batch.maps[:64]) for batch in batches]
        return super().update(cut, learning_rate)


@FAULTS.model("Losses wrong after 64 images", "loss/batch-130")
class SixtyFourLosses(ReferenceModel):
    """Has threads for 64."""

    def losses(self, batch: Batch) -> Array:
        losses = super().losses(batch)
        losses[64:] = 0
        return losses


@FAULTS.model("Gradient of two large images only", "gradient/large-batch")
class TwoLargeImages(ReferenceModel):
    """Has memory for two."""

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        cut = [
            Batch(*(part[:2] for part in batch)) if batch.images[0].size > 2**17 else batch
            for batch in batches
        ]
        return super().update(cut, learning_rate)


@FAULTS.model("Losses wrong after 16 images", "loss/batch-33")
class SixteenLosses(ReferenceModel):
    """Computes the first 16 losses only."""

    def losses(self, batch: Batch) -> Array:
        losses = super().losses(batch)
        losses[16:] = losses[0]
        return losses


@FAULTS.model("No gradient for a batch with an empty true map", "gradient/empty-true")
class EmptyMapSkipsGradient(ReferenceModel):
    """Drops images without a map from the mean."""

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        kept = [
            Batch(*(array[batch.maps.any(axis=(1, 2, 3))] for array in batch)) for batch in batches
        ]
        return super().update(kept, learning_rate)
