"""SHA-256 checksums of tensors and texts, as files that msinet writes hold them."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def tensor_checksum(name: str, tensor: NDArray[np.float32]) -> str:
    """Compute the checksum of a tensor; it covers the name, type and shape as well as the values.

    Args:
        name: Its name in the file, for example ``/weights/conv1/conv1_1/kernel``.
        tensor: float32.
    """
    shape = "x".join(str(axis) for axis in tensor.shape)
    digest = hashlib.sha256(f"{name} float32 {shape}\n".encode())
    digest.update(np.ascontiguousarray(tensor, "<f4").data)
    return digest.hexdigest()


def text_checksum(name: str, text: str) -> str:
    """Compute the checksum of a JSON text and its name.

    Args:
        name: Its name in the file, for example ``/graph``.
        text: The JSON.
    """
    return hashlib.sha256(f"{name} text\n{text}".encode()).hexdigest()
