"""A network with constant weights, compiled by OpenVINO for each image size."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from msinet_core.device import Model, Program
from msinet_core.network.layout import permutation
from msinet_core.network.ops import Size
from msinet_core.network.state import State
from msinet_openvino.in_flight import Maps, Requests
from msinet_openvino.layers import opset

if TYPE_CHECKING:
    from msinet_openvino.device import OpenVINODevice

MOST_COMPILED = 4
"""The networks that are kept: each holds its own memory, and folders seldom have more sizes that
take turns.
"""


class OpenVINOModel(Model):
    """A graph with its weights, for prediction.

    A batch is computed as so many single images: none waits for a batch to fill up, a batch of
    another length needs no other network, and the cores share the images instead of each image.

    Args:
        device: Compiles networks.
        program: The network and its weights, which are copied.
    """

    def __init__(self, device: OpenVINODevice, program: Program) -> None:
        super().__init__(device, program)
        self._compile = device.compile_network
        self._hint = device.options["hint"]
        self._builders = device.layer_builders
        self._weights = self.native(program.state.weights)
        self._compiled: OrderedDict[tuple[Size, str], Requests] = OrderedDict()
        self._lock = threading.Lock()

    def forward(self, images: NDArray[np.float32]) -> Maps:
        shape = self._graph.shapes(images.shape)[self._graph.output.name]
        values = np.empty(shape, np.float32)
        height, width = images.shape[1:3]
        with self._lock:
            hint = self._hint_for(len(images), (height, width))
            requests = self._requests((height, width), hint)
        pieces = [
            requests.start(images[index : index + 1], values[index : index + 1])
            for index in range(len(images))
        ]
        return Maps(values, pieces)

    def state(self) -> State:
        return State(self.canonical(self._weights))

    def network(self, size: Size) -> Any:
        """Build the network for one image, NHWC in and out, not yet compiled.

        Args:
            size: Height and width of the image in pixels.
        """
        shape = [1, *size, self._graph.channels[self._graph.input.name]]
        images = opset.parameter(shape, np.float32, name=self._graph.input.name)
        native = opset.transpose(images, permutation("NHWC", "NCHW"))
        maps = self._graph.apply(self._builders, native, self._weights)
        return ov.Model([opset.transpose(maps, permutation("NCHW", "NHWC"))], [images], "msinet")

    def _hint_for(self, count: int, size: Size) -> str:
        """Choose by the number of images; a single one takes what is compiled already."""
        if self._hint != "auto":
            return self._hint
        return "throughput" if count > 1 or (size, "throughput") in self._compiled else "latency"

    def _requests(self, size: Size, hint: str) -> Requests:
        key = size, hint
        if key not in self._compiled:
            while len(self._compiled) >= MOST_COMPILED:
                self._compiled.popitem(last=False)
            self._compiled[key] = Requests(self._compile(self.network(size), hint))
        self._compiled.move_to_end(key)
        return self._compiled[key]
