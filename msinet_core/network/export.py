"""The settings of a network in another format; the options of ``convert`` derive from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from msinet_core.network.layout import CANONICAL_DATA_FORMAT, DataFormat
from msinet_core.network.msinet import IMAGE_SIZE
from msinet_core.network.ops import Size
from msinet_core.system.kinds import choice
from msinet_core.system.settings import check_settings, setting


@dataclass(frozen=True)
class OnnxSettings:
    """How to write a network as an ONNX model.

    Raises:
        UsageError: Lists the settings whose values are not accepted.
    """

    precision: str = setting(
        choice(("float32", "float16")),
        "Precision of the weights in an ONNX model; float16 rounds them and halves the file. The "
        "model computes in float32 either way.",
        "float32",
    )
    image_size: Size | None = setting(
        IMAGE_SIZE,
        "Size of the images that an ONNX model takes.",
        None,
        "any size",
    )
    input_format: DataFormat = setting(
        choice(get_args(DataFormat)),
        "Order of the axes of an ONNX model's images and maps.",
        CANONICAL_DATA_FORMAT,
    )
    input_type: str = setting(
        choice(("float32", "uint8")), "Type of an ONNX model's images, in 0..255.", "float32"
    )

    def __post_init__(self) -> None:
        check_settings(self)
