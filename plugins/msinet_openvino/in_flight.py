"""Several images on their way through one compiled network, and maps that wait for them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import DTypeLike, NDArray

Array = NDArray[np.float32]


class Maps:
    """A batch of maps that requests are still writing; reading it waits for them.

    Args:
        values: ``(N, H, W, C)``, written into by the requests.
        pieces: What writes them.
    """

    def __init__(self, values: Array, pieces: Sequence[Piece]) -> None:
        self._values = values
        self._pieces = pieces

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        for piece in self._pieces:
            piece.wait()
        values = self._values if dtype is None else self._values.astype(dtype, copy=False)
        return values.copy() if copy and values is self._values else values


class Piece:
    """One image on its way.

    Args:
        request: Computes it.
        values: ``(1, H, W, C)``, C-contiguous; the map is written here.
    """

    def __init__(self, request: Any, values: Array) -> None:
        self._request = request
        self._output = ov.Tensor(values, shared_memory=True)
        self._lock = threading.Lock()
        self._running = False
        self._error: Exception | None = None

    def start(self, image: Array) -> None:
        """Begin to compute.

        Args:
            image: ``(1, H, W, C)``; it is copied.
        """
        self._request.get_input_tensor().data[:] = image
        self._request.set_output_tensor(self._output)
        self._request.start_async()
        self._running = True

    def finish(self) -> None:
        """Let the request end, whatever comes of it: it can be used for another image then."""
        with self._lock:
            if self._running:
                try:
                    self._request.wait()
                except Exception as error:
                    self._error = error
                self._running = False

    def wait(self) -> None:
        """Let the request end.

        Raises:
            RuntimeError: OpenVINO failed on this image.
        """
        self.finish()
        if self._error is not None:
            raise self._error


class Requests:
    """The requests of a compiled network, as many as it keeps busy; used in turn.

    Args:
        compiled: The network for one image, NHWC in and out.
    """

    def __init__(self, compiled: Any) -> None:
        count = int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        self._idle = [compiled.create_infer_request() for _ in range(count)]
        self._busy: deque[tuple[Any, Piece]] = deque()
        self._lock = threading.Lock()

    def start(self, image: Array, values: Array) -> Piece:
        """Begin to compute an image; waits for the oldest one when every request is busy.

        Args:
            image: ``(1, H, W, C)``; it is copied.
            values: ``(1, H', W', C')``, C-contiguous; the map is written here.
        """
        with self._lock:
            if self._idle:
                request = self._idle.pop()
            else:
                request, oldest = self._busy.popleft()
                oldest.finish()
            piece = Piece(request, values)
            try:
                piece.start(image)
            except Exception:
                self._idle.append(request)
                raise
            self._busy.append((request, piece))
            return piece
