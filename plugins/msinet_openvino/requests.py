"""Several images at a time through one compiled network."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

Array = NDArray[np.float32]


class RequestPool:
    """The requests of a compiled network, as many as it keeps busy, each with a thread that waits.

    Args:
        compiled: The network for one image, NHWC in and out.
    """

    def __init__(self, compiled: Any) -> None:
        count = int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        self._idle: SimpleQueue[Any] = SimpleQueue()
        for _ in range(count):
            self._idle.put(compiled.create_infer_request())
        self._threads = ThreadPoolExecutor(count)

    def start(self, image: Array, values: Array) -> Future[None]:
        """Start to compute an image; the result raises OpenVINO's error if it failed on it.

        Args:
            image: ``(1, H, W, C)``; it is copied.
            values: ``(1, H', W', C')``, C-contiguous; receives the map.
        """
        request = self._idle.get()  # here, so that a caller cannot run far ahead
        return self._threads.submit(self._compute, request, image.copy(), values)

    def _compute(self, request: Any, image: Array, values: Array) -> None:
        try:
            request.get_input_tensor().data[:] = image
            request.set_output_tensor(ov.Tensor(values, shared_memory=True))
            request.start_async()
            request.wait()
        finally:
            self._idle.put(request)
