"""Load weights onto a device, and predict where people look in images."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, overload

import numpy as np

from msinet_core.data.images import IMAGE_PADDING, as_image
from msinet_core.data.pipeline import default_workers
from msinet_core.data.resize import fit
from msinet_core.network.msinet import DEFAULT_IMAGE_SIZE, IMAGE_SIZE
from msinet_core.network.ops import Coordinates, Size
from msinet_core.prediction.stream import (
    Done,
    Failed,
    Item,
    Outcome,
    Prediction,
    Result,
    Stream,
    in_order,
)
from msinet_core.system.kinds import integer
from msinet_core.system.progress import Progress
from msinet_core.system.progress_bars import as_progress
from msinet_core.system.settings import check_argument

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

    from msinet_core.device import Model
    from msinet_core.network.graph import Graph

__all__ = ["DEFAULT_BATCH_SIZE", "Done", "Failed", "Prediction", "Predictor", "load"]

DEFAULT_BATCH_SIZE = 8

ImageLike: TypeAlias = "str | os.PathLike[str] | NDArray[Any] | Image"
"""A file, an array ``(H, W, 3)``, uint8 or float, RGB in 0..255, or a PIL image."""


def load(
    weights: str | os.PathLike[str],
    device: str | None = None,
    *,
    precision: str = "auto",
    image_size: Size | Literal["original"] | None = None,
    resize: Coordinates | None = None,
    batch_size: int | None = None,
    device_options: Mapping[str, str] | None = None,
    workers: int | None = None,
    progress: bool | Progress = False,
) -> Predictor:
    """Load a network onto a device, ready to predict.

    Args:
        weights: A checkpoint in any format that `convert` reads, or ``"published:salicon"`` (or
            another dataset), which is downloaded once.
        device: A device's name, or ``"auto"`` for the best one that is available; None for the
            variable ``MSINET_DEVICE``, else ``"auto"``.
        precision: ``"auto"``, ``"float32"``, ``"bfloat16"`` or ``"float16"``.
        image_size: Height and width in pixels that images are fitted to; ``"original"``: each image
            at its own size; None: as in training, else 240x320.
        resize: ``"asymmetric"`` or ``"half_pixel"`` resize coordinates; None: those in the file. A
            file that does not store them gets a note (without `progress` a warning) that
            asymmetric is assumed.
        batch_size: The maximum number of images in a batch; None: 8, or 1 with ``"original"``.
        device_options: Values for the device's own options, by name.
        workers: Threads that read images; None: by the number of cores.
        progress: Whether to show downloads and the chosen device on stderr.

    Raises:
        CheckpointError: The weights cannot be read, do not fit the network, or were trained with
            other resize coordinates.
        DeviceUnavailableError: The device is not available on this machine.
        UsageError: An argument cannot be used as given.

    Example:
        >>> model = load("best.msinet.h5", device="cpu")
        >>> saliency = model.predict("photo.jpg")
    """
    from msinet_core.checkpoint.published import resolve_weights
    from msinet_core.checkpoint.read import check_resize, read_weights
    from msinet_core.registry.registry import open_device

    progress = as_progress(progress)
    # Files first: importing the device's framework takes seconds.
    resize = check_resize(os.fspath(weights), resize)
    path = resolve_weights(os.fspath(weights), progress)
    checkpoint = read_weights(path, resize=resize, progress=progress)
    trained = checkpoint.image_size
    size: Size | None = None
    if not (isinstance(image_size, str) and image_size == "original"):
        chosen = (trained or DEFAULT_IMAGE_SIZE) if image_size is None else image_size
        size = check_argument("image_size", IMAGE_SIZE, chosen)
        checkpoint.graph.check_image_size(size)
    opened = open_device(device, precision, device_options, progress.message)
    return Predictor(
        opened.compile(checkpoint.graph, checkpoint.state),
        checkpoint.graph,
        size,
        batch_size,
        workers,
        precision=opened.precision,
        trained_image_size=trained,
    )


def _own(image: ImageLike) -> ImageLike:
    """Return an image that does not change any more: a copy, unless it is a path."""
    if isinstance(image, str | os.PathLike):
        return Path(image).absolute()
    return np.array(as_image(image))


class Predictor:
    """A network on a device; `load` returns one.

    Args:
        model: The compiled network.
        graph: The same network as data.
        image_size: Height and width of the network's input in pixels; None: each image at its own
            size, rounded up to what the network accepts.
        batch_size: The maximum number of images in a batch; None: 8, or 1 without `image_size`.
        workers: Threads that read and write images; None: by the number of cores.
        precision: The precision of the model, for reports.
        trained_image_size: The image size that the weights were trained with, if it is known.

    Raises:
        UsageError: The network does not accept the size, or a number is below 1.
    """

    def __init__(
        self,
        model: Model,
        graph: Graph,
        image_size: Size | None = DEFAULT_IMAGE_SIZE,
        batch_size: int | None = None,
        workers: int | None = None,
        *,
        precision: str = "auto",
        trained_image_size: Size | None = None,
    ) -> None:
        if image_size is not None:
            graph.check_image_size(image_size)
        self.model = model
        self.graph = graph
        self.image_size = image_size
        self.precision = precision
        self.trained_image_size = trained_image_size
        default_batch = 1 if image_size is None else DEFAULT_BATCH_SIZE
        batch_size = default_batch if batch_size is None else batch_size
        workers = max(2, default_workers()) if workers is None else workers
        self.batch_size: int = check_argument("batch_size", integer(), batch_size)
        self.workers: int = check_argument("workers", integer(), workers)

    def __repr__(self) -> str:
        size = "x".join(map(str, self.image_size or ())) or "original"
        return f"<Predictor on {self.device}, {self.precision}, image size {size}>"

    @property
    def device(self) -> str:
        """The device's name."""
        return self.model.device_name

    def network_size(self, original: Size) -> Size:
        """Return the size at which the network sees an image.

        Args:
            original: The image's height and width in pixels.
        """
        if self.image_size is not None:
            return self.image_size
        multiple = self.graph.size_multiple
        height, width = (-(-axis // multiple) * multiple for axis in original)
        return height, width

    @overload
    def predict(  # type: ignore[overload-overlap]  # a str is an iterable of str, too
        self, images: ImageLike
    ) -> NDArray[np.float32]: ...

    @overload
    def predict(
        self, images: Iterable[ImageLike]
    ) -> Generator[NDArray[np.float32], None, None]: ...

    def predict(
        self, images: ImageLike | Iterable[ImageLike]
    ) -> NDArray[np.float32] | Generator[NDArray[np.float32], None, None]:
        """Predict where people look in one image or in many.

        Args:
            images: A path, an array ``(H, W, 3)`` (uint8 or float, RGB in 0..255) or a PIL image;
                or an iterable of them, which is read lazily, in batches, while the device works: up
                to ``2 * batch_size + workers`` images ahead. It may yield the same array or PIL
                image again with other pixels, as readers of videos do.

        Returns:
            ``(H, W)`` float32 in 0..1, at the image's own size; for an iterable a generator of such
            maps in the same order.

        Raises:
            DataError: An image cannot be read, or an array is not an image. The generator raises
                it in that image's turn, and ends.
            UsageError: The argument is none of these.
        """
        single = (str, bytes, os.PathLike, np.ndarray)
        if isinstance(images, Iterable) and not isinstance(images, single):
            return self._predict_many(images)
        image = as_image(images)  # without threads, which take longer than a small network
        original = image.shape[0], image.shape[1]
        fitted = fit(image, self.network_size(original), IMAGE_PADDING)
        output = np.asarray(self.model.predict(fitted[None]), dtype=np.float32)
        return Prediction(output[0, ..., 0], original).restored()

    def _predict_many(
        self, images: Iterable[ImageLike]
    ) -> Generator[NDArray[np.float32], None, None]:
        def read(image: ImageLike) -> NDArray[Any]:
            return image if isinstance(image, np.ndarray) else as_image(image)

        def restore(item: ImageLike, prediction: Prediction) -> NDArray[np.float32]:
            return prediction.restored()

        with closing(self.stream(map(_own, images), read, restore)) as outcomes:
            for outcome in outcomes:
                if isinstance(outcome, Failed):
                    raise outcome.error
                yield outcome.result

    def stream(
        self,
        items: Iterable[Item],
        load: Callable[[Item], NDArray[Any]],
        finish: Callable[[Item, Prediction], Result],
    ) -> Generator[Outcome[Item, Result], None, None]:
        """Predict many images, so that the device need not wait for the host.

        Threads load images ahead of the device and finish predictions behind it, both within
        bounds. An item whose image cannot be loaded, or finished (`DataError`), fails alone; so
        does one that is too large for the device if each image has its own size. Closing the
        generator drops what has not begun and waits for the rest.

        Args:
            items: Anything that stands for an image; read lazily.
            load: Returns an item's image, ``(H, W, 3)`` RGB in 0..255; called in threads.
            finish: Makes the result from the prediction; called in threads.

        Yields:
            The outcome of each item, in order.

        Raises:
            MsinetError: The device failed; or whatever else `finish` raised.
        """
        stream: Stream[tuple[int, Item], Result] = Stream(
            self.model,
            self.network_size,
            lambda numbered: load(numbered[1]),
            lambda numbered, prediction: finish(numbered[1], prediction),
            self.batch_size,
            self.workers,
            survives_device_errors=self.image_size is None,
        )
        with closing(stream.run(enumerate(items))) as outcomes:
            yield from in_order(outcomes)
