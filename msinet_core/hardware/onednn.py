"""A defect of oneDNN, the library behind TensorFlow's and PyTorch's convolutions on processors."""

from __future__ import annotations

_BLOCK = 16
"""The channels that oneDNN computes together in bfloat16."""


def missing_channels(channels: int, dilation: int) -> int:
    """Return how many zero channels a bfloat16 convolution needs for a correct weight gradient.

    On processors with AVX512-BF16, oneDNN's weight gradient of a dilated bfloat16 convolution is
    wrong, and writes out of bounds, if the input has more than 16 channels and their number is not
    a multiple of 16. Undilated convolutions and float16 are correct.

    Args:
        channels: The input channels.
        dilation: The dilation rate.
    """
    return -channels % _BLOCK if dilation > 1 and channels > _BLOCK else 0
