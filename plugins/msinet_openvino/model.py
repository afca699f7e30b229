"""A network with constant weights, compiled by OpenVINO for each image size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from msinet_core import Deferred, Model, Program, Recent, State, ops, permutation
from msinet_openvino.layers import opset
from msinet_openvino.requests import RequestPool

if TYPE_CHECKING:
    from msinet_openvino.device import OpenVINODevice


class OpenVINOModel(Model):
    """A graph with its weights, for prediction.

    A batch is computed as single images: no image waits for a batch to fill, batches of any length
    use the same network, and cores share the images rather than each image.

    Args:
        device: The device.
        program: The network and its weights, which are copied.
    """

    def __init__(self, device: OpenVINODevice, program: Program) -> None:
        super().__init__(device, program)
        self._compile = device.compile_network
        self._hint = device.options["hint"]
        self._builders = device.layer_builders
        self._weights = self.native(program.state.weights)
        self._pools: Recent[tuple[ops.Size, str], RequestPool] = Recent(self._compile_pool)

    def forward(self, images: NDArray[np.float32]) -> Deferred:
        shape = self._graph.shapes(images.shape)[self._graph.output.name]
        values = np.empty(shape, np.float32)
        height, width = images.shape[1:3]
        pool = self._pool(len(images), (height, width))
        requests = [
            pool.start(images[index : index + 1], values[index : index + 1])
            for index in range(len(images))
        ]

        def read() -> NDArray[np.float32]:
            for request in requests:
                request.wait()
            return values

        return Deferred(read, shape)

    def state(self) -> State:
        return State(self.canonical(self._weights))

    def network(self, size: ops.Size) -> Any:
        """Build the network for one image, NHWC in and out, not yet compiled.

        Args:
            size: Height and width of the image in pixels.
        """
        shape = [1, *size, self._graph.channels[self._graph.input.name]]
        images = opset.parameter(shape, np.float32, name=self._graph.input.name)
        native = opset.transpose(images, permutation("NHWC", "NCHW"))
        maps = self._graph.apply(self._builders, native, self._weights)
        return ov.Model([opset.transpose(maps, permutation("NCHW", "NHWC"))], [images], "msinet")

    def _pool(self, count: int, size: ops.Size) -> RequestPool:
        """Return the requests for `count` images of a size, compiling the network if needed."""
        hint = self._hint
        if hint == "auto":  # a single image uses whatever is compiled
            batched = count > 1 or (size, "throughput") in self._pools
            hint = "throughput" if batched else "latency"
        return self._pools[size, hint]

    def _compile_pool(self, key: tuple[ops.Size, str]) -> RequestPool:
        size, hint = key
        return RequestPool(self._compile(self.network(size), hint))
