"""A network with constant weights, as a session of ONNX Runtime for each image size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from msinet_core import (
    Checkpoint,
    Model,
    OnnxSettings,
    Program,
    Recent,
    State,
    onnx_model,
    ops,
)

if TYPE_CHECKING:
    from msinet_onnxruntime.device import OnnxRuntimeDevice


class OnnxRuntimeModel(Model):
    """A graph with its weights, for prediction.

    Sessions are for one image size, since most accelerators refuse networks whose sizes are not
    known in advance.

    Args:
        device: The device.
        program: The network and its weights, which are copied.
    """

    def __init__(self, device: OnnxRuntimeDevice, program: Program) -> None:
        super().__init__(device, program)
        self._open_session = device.open_session
        self._single = device.provider.static  # images are computed one at a time
        weights = {name: value.copy() for name, value in program.state.weights.items()}
        self._checkpoint = Checkpoint(program.graph, State(weights))
        self._sessions: Recent[ops.Size, Any] = Recent(self._session)

    def forward(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        height, width = images.shape[1:3]
        session = self._sessions[height, width]
        name = session.get_inputs()[0].name
        parts = np.split(images, len(images)) if self._single else [images]
        return np.concatenate([session.run(None, {name: part})[0] for part in parts])

    def state(self) -> State:
        weights = self._checkpoint.state.weights
        return State({name: value.copy() for name, value in weights.items()})

    def _session(self, size: ops.Size) -> Any:
        model = onnx_model(self._checkpoint, OnnxSettings(image_size=size))
        return self._open_session(model.SerializeToString())
