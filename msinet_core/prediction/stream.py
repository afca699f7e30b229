"""Run a model over many images: decode ahead of the device, compute in batches, finish behind."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

import numpy as np

from msinet_core.data.images import IMAGE_PADDING
from msinet_core.data.resize import fit, restore_map
from msinet_core.errors import DataError, MsinetError, counted, describe_error
from msinet_core.network.ops import Size
from msinet_core.registry.diagnosis import advice

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from msinet_core.device import Model

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Prediction:
    """The network's output for one image.

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
    """An item that was predicted.

    Args:
        item: As passed in.
        result: What `finish` returned.
    """

    item: Item
    result: Result


@dataclass(frozen=True)
class Failed(Generic[Item]):
    """An item that could not be used.

    Args:
        item: As passed in.
        error: The reason.
    """

    item: Item
    error: Exception

    @property
    def reason(self) -> str:
        """The reason as a sentence."""
        return describe_error(self.error)


Outcome: TypeAlias = Done[Item, Result] | Failed[Item]


@dataclass(frozen=True)
class _Loaded(Generic[Item]):
    item: Item
    image: NDArray[np.float32]
    original: Size


@dataclass(frozen=True)
class Stream(Generic[Item, Result]):
    """Overlap loading, computing and finishing.

    Args:
        model: The network on its device.
        network_size: Returns the size at which the network sees an image of a given size.
        load: Returns an item's image, ``(H, W, 3)`` RGB in 0..255; called in threads.
        finish: Makes the result from the prediction; called in threads.
        batch_size: The maximum number of images in a batch; all of a batch have one size.
        workers: Threads that load and finish.
        survives_device_errors: Whether an error of the device only fails the images of its batch;
            for images of different sizes, of which smaller ones may fit.
    """

    model: Model
    network_size: Callable[[Size], Size]
    load: Callable[[Item], NDArray[Any]]
    finish: Callable[[Item, Prediction], Result]
    batch_size: int
    workers: int
    survives_device_errors: bool = False

    def run(self, items: Iterable[Item]) -> Generator[Outcome[Item, Result], None, None]:
        """Yield the outcome of each item, in any order.

        Args:
            items: Read lazily. If reading them raises an exception, it is raised after the outcomes
                of the items before it.
        """
        errors: list[Exception] = []

        def until_error() -> Iterator[Item]:
            try:
                yield from items
            except Exception as error:
                errors.append(error)

        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="msinet-images")
        try:
            loaded = self._load(until_error(), pool)
            yield from self._finish(self._predict(self._batches(loaded)), pool)
            if errors:
                raise errors[0]
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    @property
    def _ahead(self) -> int:
        return 2 * self.batch_size + self.workers

    def _load(
        self, items: Iterable[Item], pool: ThreadPoolExecutor
    ) -> Iterator[_Loaded[Item] | Failed[Item]]:
        def read(item: Item) -> _Loaded[Item]:
            image = self.load(item)
            original = image.shape[0], image.shape[1]
            return _Loaded(item, fit(image, self.network_size(original), IMAGE_PADDING), original)

        def begin(item: Item) -> tuple[Item, Future[_Loaded[Item]]]:
            return item, pool.submit(read, item)

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

    def _batches(
        self, images: Iterable[_Loaded[Item] | Failed[Item]]
    ) -> Iterator[Sequence[_Loaded[Item]] | Failed[Item]]:
        """Collect batches of one size; no image waits for more than `_ahead` later ones."""
        groups: dict[tuple[int, ...], tuple[int, list[_Loaded[Item]]]] = {}
        for number, loaded in enumerate(images):
            if isinstance(loaded, Failed):
                yield loaded
            else:
                shape = loaded.image.shape
                _, group = groups.setdefault(shape, (number, []))
                group.append(loaded)
                if len(group) == self.batch_size:
                    del groups[shape]
                    yield group
            oldest = next(iter(groups), None)
            if oldest is not None and number - groups[oldest][0] >= self._ahead:
                yield groups.pop(oldest)[1]
        yield from (group for _, group in groups.values())

    def _predict(
        self, batches: Iterable[Sequence[_Loaded[Item]] | Failed[Item]]
    ) -> Iterator[tuple[Item, Prediction] | Failed[Item]]:
        """Read a batch's maps after the next batch was submitted: results may be lazy."""
        submitted: tuple[Sequence[_Loaded[Item]], ArrayLike | MsinetError] | None = None
        for batch in batches:
            if isinstance(batch, Failed):
                yield batch
                continue
            ready, submitted = submitted, (batch, self._submit(batch))
            if ready is not None:
                yield from self._read(*ready)
        if submitted is not None:
            yield from self._read(*submitted)

    def _submit(self, batch: Sequence[_Loaded[Item]]) -> ArrayLike | MsinetError:
        try:
            return self.model.predict(np.stack([loaded.image for loaded in batch]))
        except Exception as error:
            return self._device_error(batch, error)

    def _read(
        self, batch: Sequence[_Loaded[Item]], result: ArrayLike | MsinetError
    ) -> Iterator[tuple[Item, Prediction] | Failed[Item]]:
        if not isinstance(result, MsinetError):
            try:
                result = np.asarray(result, dtype=np.float32)
            except Exception as error:
                result = self._device_error(batch, error)
        if isinstance(result, MsinetError):
            yield from (Failed(loaded.item, result) for loaded in batch)
            return
        for loaded, output in zip(batch, np.asarray(result), strict=True):
            yield loaded.item, Prediction(output[..., 0], loaded.original)

    def _device_error(self, batch: Sequence[_Loaded[Item]], error: Exception) -> MsinetError:
        height, width, _ = batch[0].image.shape
        # A device's own sentence has its own advice.
        hint = "" if isinstance(error, MsinetError) else f" {advice(error, self.model.device_name)}"
        device_error = MsinetError(
            f"Device '{self.model.device_name}' failed on {counted(len(batch), 'image')} of "
            f"{height}x{width}: "
            f"{describe_error(error)}{hint}"
        )
        device_error.__cause__ = error
        if not self.survives_device_errors:
            raise device_error
        return device_error

    def _finish(
        self,
        predictions: Iterable[tuple[Item, Prediction] | Failed[Item]],
        pool: ThreadPoolExecutor,
    ) -> Iterator[Outcome[Item, Result]]:
        waiting: deque[tuple[Item, Future[Result]]] = deque()
        for predicted in predictions:
            if isinstance(predicted, Failed):
                yield predicted
                continue
            waiting.append((predicted[0], pool.submit(self.finish, *predicted)))
            while waiting and (len(waiting) > self._ahead or waiting[0][1].done()):
                yield _outcome(*waiting.popleft())
        while waiting:
            yield _outcome(*waiting.popleft())


def in_order(
    outcomes: Iterable[Outcome[tuple[int, Item], Result]],
) -> Iterator[Outcome[Item, Result]]:
    """Sort the outcomes of numbered items, and remove their numbers.

    Args:
        outcomes: Of items numbered from 0.
    """
    early: dict[int, Outcome[Item, Result]] = {}
    following = 0
    for outcome in outcomes:
        index, item = outcome.item
        if isinstance(outcome, Done):
            early[index] = Done(item, outcome.result)
        else:
            early[index] = Failed(item, outcome.error)
        while following in early:
            yield early.pop(following)
            following += 1


def _outcome(item: Item, future: Future[Result]) -> Outcome[Item, Result]:
    try:
        return Done(item, future.result())
    except DataError as error:  # anything else, such as a full disk, would happen to every image
        return Failed(item, error)
