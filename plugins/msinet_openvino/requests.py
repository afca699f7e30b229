"""Several images at a time through one compiled network."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

Array = NDArray[np.float32]


class Request:
    """One image that OpenVINO is computing.

    Args:
        infer_request: OpenVINO's request, which is idle.
        image: ``(1, H, W, C)``; it is copied.
        values: ``(1, H', W', C')``, C-contiguous; receives the map.
    """

    def __init__(self, infer_request: Any, image: Array, values: Array) -> None:
        self.infer_request = infer_request
        self._output = ov.Tensor(values, shared_memory=True)
        self._lock = threading.Lock()
        self._running = True
        self._error: Exception | None = None
        infer_request.get_input_tensor().data[:] = image
        infer_request.set_output_tensor(self._output)
        infer_request.start_async()

    def finish(self) -> None:
        """Wait until OpenVINO's request can be reused, whether it succeeds or fails."""
        with self._lock:
            if self._running:
                try:
                    self.infer_request.wait()
                except Exception as error:
                    self._error = error
                self._running = False

    def wait(self) -> None:
        """Wait for the map.

        Raises:
            RuntimeError: OpenVINO failed on this image.
        """
        self.finish()
        if self._error is not None:
            raise self._error


class RequestPool:
    """The requests of a compiled network, as many as it keeps busy, used in turn.

    Args:
        compiled: The network for one image, NHWC in and out.
    """

    def __init__(self, compiled: Any) -> None:
        count = int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        self._idle = [compiled.create_infer_request() for _ in range(count)]
        self._busy: deque[Request] = deque()
        self._lock = threading.Lock()

    def start(self, image: Array, values: Array) -> Request:
        """Start to compute an image; if every request is busy, wait for the oldest.

        Args:
            image: ``(1, H, W, C)``; it is copied.
            values: ``(1, H', W', C')``, C-contiguous; receives the map.
        """
        with self._lock:
            if not self._idle:
                oldest = self._busy.popleft()
                oldest.finish()
                self._idle.append(oldest.infer_request)
            request = Request(self._idle[-1], image, values)
            self._idle.pop()  # only now: a request that did not start stays idle
            self._busy.append(request)
            return request
