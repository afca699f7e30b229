"""Run the network over many images: decode ahead, compute in batches, write behind."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from msinet_core.data import fit, restore_map
from msinet_core.data.images import IMAGE_PADDING
from msinet_core.errors import CheckpointError, DataError, MsinetError, UsageError, describe_error
from msinet_core.network.msinet import DEFAULT_IMAGE_SIZE
from msinet_core.network.ops import Size
from msinet_core.registry.diagnosis import advice

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from msinet_core.checkpoint import Checkpoint
    from msinet_core.device import Model
    from msinet_core.network.graph import Graph

DEFAULT_BATCH_SIZE = 8

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Prediction:
    """What the network says about one image.

    Args:
        output: ``(h, w)`` float32 in 0..1, at the network's size, padding included.
        original: Height and width of the image in pixels.
    """

    output: NDArray[np.float32]
    original: Size

    def restored(self) -> NDArray[np.float32]:
        """Return the map at the image's size: ``(H, W)`` float32 in 0..1."""
        return restore_map(self.output, self.original)


@dataclass(frozen=True)
class Done(Generic[Item, Result]):
    """An item that went through.

    Args:
        item: What was asked for.
        result: What came of it.
    """

    item: Item
    result: Result


@dataclass(frozen=True)
class Failed(Generic[Item]):
    """An item that could not be used.

    Args:
        item: What was asked for.
        error: Why.
    """

    item: Item
    error: Exception

    @property
    def reason(self) -> str:
        """The reason in words."""
        return describe_error(self.error)


@dataclass(frozen=True)
class _Loaded(Generic[Item]):
    item: Item
    image: NDArray[np.float32]
    original: Size


class Predictor:
    """A network on a device, with the size that images are brought to.

    Args:
        model: The compiled network.
        graph: The same network as data.
        image_size: Height and width of the network's input; None: each image at its own size,
            rounded up to what the network takes.
        batch_size: The most images in one batch; a batch has one size.
        workers: Threads that decode and write; None: by the number of cores.

    Raises:
        UsageError: The network does not take the size, or a number is below 1.
    """

    def __init__(
        self,
        model: Model,
        graph: Graph,
        image_size: Size | None = DEFAULT_IMAGE_SIZE,
        batch_size: int = DEFAULT_BATCH_SIZE,
        workers: int | None = None,
    ) -> None:
        if image_size is not None:
            graph.check_image_size(image_size)
        self.workers = max(2, min(8, os.cpu_count() or 2)) if workers is None else workers
        for name, value in (("batch_size", batch_size), ("workers", self.workers)):
            if value < 1:
                raise UsageError(f"{name} must be at least 1. Received: {value}")
        self.model = model
        self.graph = graph
        self.image_size = image_size
        self.batch_size = batch_size

    def network_size(self, original: Size) -> Size:
        """Give the size at which the network sees an image.

        Args:
            original: The image's height and width in pixels.
        """
        if self.image_size is not None:
            return self.image_size
        multiple = self.graph.size_multiple
        height, width = (-(-axis // multiple) * multiple for axis in original)
        return height, width

    def predict(self, image: NDArray[Any]) -> NDArray[np.float32]:
        """Predict where people look in one image.

        Args:
            image: ``(H, W, 3)``, RGB in 0..255.

        Returns:
            ``(H, W)`` float32 in 0..1.

        Raises:
            DataError: The image has another shape.
        """
        loaded = self._fit(None, image)
        output = np.asarray(self.model.predict(loaded.image[None]), dtype=np.float32)[0, ..., 0]
        return restore_map(output, loaded.original)

    def stream(
        self,
        items: Iterable[Item],
        load: Callable[[Item], NDArray[np.float32]],
        finish: Callable[[Item, Prediction], Result],
    ) -> Generator[Done[Item, Result] | Failed[Item], None, None]:
        """Run many images through the network, so that the device need not wait for the host.

        Threads load images ahead of the device and finish predictions behind it, both within
        bounds. An item whose image cannot be loaded, or finished (`DataError`), fails alone; so
        does one that is too much for the device where each image has its own size. Closing the
        iterator drops what has not begun and waits for the rest.

        Args:
            items: What the images are; read lazily.
            load: Returns an item's image, ``(H, W, 3)`` RGB in 0..255; called in threads.
            finish: Makes the result from the prediction; called in threads.

        Yields:
            Each item once, in the order of completion.

        Raises:
            MsinetError: The device failed; or whatever else `finish` raised.
        """
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="msinet-images")
        try:
            loaded = self._load(items, load, pool)
            yield from self._finish(self._compute(self._group(loaded)), finish, pool)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    @property
    def _ahead(self) -> int:
        return 2 * self.batch_size + self.workers

    def _fit(self, item: Item, image: NDArray[Any]) -> _Loaded[Item]:
        if image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
            raise DataError(f"An image has the shape (H, W, 3). Received: {image.shape}")
        original = image.shape[0], image.shape[1]
        return _Loaded(item, fit(image, self.network_size(original), IMAGE_PADDING), original)

    def _load(
        self,
        items: Iterable[Item],
        load: Callable[[Item], NDArray[np.float32]],
        pool: ThreadPoolExecutor,
    ) -> Iterator[_Loaded[Item] | Failed[Item]]:
        def begin(item: Item) -> tuple[Item, Future[_Loaded[Item]]]:
            return item, pool.submit(lambda: self._fit(item, load(item)))

        remaining = iter(items)
        waiting = deque(map(begin, islice(remaining, self._ahead)))
        while waiting:
            item, future = waiting.popleft()
            try:
                loaded: _Loaded[Item] | Failed[Item] = future.result()
            except Exception as error:  # whatever a decoder raises, it is about this file
                loaded = Failed(item, error)
            waiting.extend(map(begin, islice(remaining, 1)))
            yield loaded

    def _group(
        self, stream: Iterable[_Loaded[Item] | Failed[Item]]
    ) -> Iterator[Sequence[_Loaded[Item]] | Failed[Item]]:
        """Collect batches of one size; when too many images wait, the fullest batch goes."""
        groups: dict[Size, list[_Loaded[Item]]] = {}
        for loaded in stream:
            if isinstance(loaded, Failed):
                yield loaded
                continue
            size = loaded.image.shape[0], loaded.image.shape[1]
            groups.setdefault(size, []).append(loaded)
            if len(groups[size]) == self.batch_size:
                yield groups.pop(size)
            elif sum(map(len, groups.values())) > self._ahead:
                yield groups.pop(max(groups, key=lambda key: len(groups[key])))
        yield from groups.values()

    def _compute(
        self, batches: Iterable[Sequence[_Loaded[Item]] | Failed[Item]]
    ) -> Iterator[tuple[Item, Prediction] | Failed[Item]]:
        """Fetch a batch's maps after the next batch is on its way: results may be lazy."""
        on_its_way: tuple[Sequence[_Loaded[Item]], ArrayLike | MsinetError] | None = None
        for batch in batches:
            if isinstance(batch, Failed):
                yield batch
                continue
            ready, on_its_way = on_its_way, (batch, self._dispatch(batch))
            if ready is not None:
                yield from self._fetch(*ready)
        if on_its_way is not None:
            yield from self._fetch(*on_its_way)

    def _dispatch(self, batch: Sequence[_Loaded[Any]]) -> ArrayLike | MsinetError:
        try:
            return self.model.predict(np.stack([loaded.image for loaded in batch]))
        except Exception as error:
            return self._device_failure(batch, error)

    def _fetch(
        self, batch: Sequence[_Loaded[Item]], result: ArrayLike | MsinetError
    ) -> Iterator[tuple[Item, Prediction] | Failed[Item]]:
        if not isinstance(result, MsinetError):
            try:
                result = np.asarray(result, dtype=np.float32)
            except Exception as error:
                result = self._device_failure(batch, error)
        if isinstance(result, MsinetError):
            yield from (Failed(loaded.item, result) for loaded in batch)
            return
        for loaded, output in zip(batch, np.asarray(result), strict=True):
            yield loaded.item, Prediction(output[..., 0], loaded.original)

    def _device_failure(self, batch: Sequence[_Loaded[Any]], error: Exception) -> MsinetError:
        """Word a failure of the device; raise it where every batch would meet the same."""
        height, width = batch[0].image.shape[:2]
        failure = MsinetError(
            f"The device failed on {len(batch)} image(s) of {height}x{width}: "
            f"{describe_error(error)} {advice(error, self.model.device_name)}"
        )
        failure.__cause__ = error
        if self.image_size is not None:
            raise failure
        return failure

    def _finish(
        self,
        stream: Iterable[tuple[Item, Prediction] | Failed[Item]],
        finish: Callable[[Item, Prediction], Result],
        pool: ThreadPoolExecutor,
    ) -> Iterator[Done[Item, Result] | Failed[Item]]:
        waiting: deque[tuple[Item, Future[Result]]] = deque()
        for predicted in stream:
            if isinstance(predicted, Failed):
                yield predicted
                continue
            waiting.append((predicted[0], pool.submit(finish, *predicted)))
            while waiting and (len(waiting) > self._ahead or waiting[0][1].done()):
                yield _outcome(*waiting.popleft())
        while waiting:
            yield _outcome(*waiting.popleft())


def trained_image_size(checkpoint: Checkpoint, default: Size = DEFAULT_IMAGE_SIZE) -> Size:
    """Give the image size that a checkpoint was trained with.

    Args:
        checkpoint: Its metadata may say it.
        default: The size where they do not.

    Raises:
        CheckpointError: What they say is no size.
    """
    return image_size_of(checkpoint.metadata) or default


def image_size_of(metadata: Mapping[str, Any]) -> Size | None:
    """Give the image size that a checkpoint's metadata tell; None where they do not.

    Args:
        metadata: Of the checkpoint.

    Raises:
        CheckpointError: What they say is no size.
    """
    size = metadata.get("image_size")
    if size is None:
        return None
    try:
        height, width = size
        return int(height), int(width)
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"The checkpoint gives its image size as {size!r}, which is none. Use --image-size."
        ) from error


def _outcome(item: Item, future: Future[Result]) -> Done[Item, Result] | Failed[Item]:
    try:
        return Done(item, future.result())
    except DataError as error:  # anything else, such as a full disk, would meet every image
        return Failed(item, error)
