"""Tensors on their way into and out of foreign files: axes, types and checksums."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from msinet_core.checkpoint.archive import StoredTensor
from msinet_core.errors import CheckpointError
from msinet_core.network.layout import CANONICAL_KERNEL_LAYOUT, permutation, transpose
from msinet_core.system.threads import each


def stored_tensor(
    name: str,
    shape: tuple[int, ...],
    dtype: str,
    read: Callable[[], NDArray[np.float32]],
    *,
    layout: str = CANONICAL_KERNEL_LAYOUT,
    checksum: str | None = None,
) -> StoredTensor:
    """Describe a tensor of a file in canonical terms.

    Args:
        name: In the file; the checksum covers it.
        shape: In the file.
        dtype: As NumPy names it, or as the file does if NumPy has no such type.
        read: Reads the values as they are in the file: float32, of `shape`.
        layout: The order of a kernel's axes in the file.
        checksum: Stored with the tensor; None if there is none.
    """

    def read_canonical() -> NDArray[np.float32]:
        if dtype != "float32":
            raise CheckpointError(f"dtype is {dtype}; weights are float32")
        tensor = read()
        if checksum is not None and tensor_checksum(name, tensor) != checksum:
            raise CheckpointError("wrong checksum")
        if tensor.ndim == 4:
            return transpose(tensor, layout, CANONICAL_KERNEL_LAYOUT)
        return np.ascontiguousarray(tensor)

    if len(shape) == 4:
        axes = permutation(layout, CANONICAL_KERNEL_LAYOUT)
        shape = tuple(shape[axis] for axis in axes)
    return StoredTensor(shape, dtype, checksum is not None, read_canonical)


def prepare_tensors(
    tensors: Mapping[str, NDArray[np.float32]], layout: str
) -> dict[str, tuple[NDArray[np.float32], str]]:
    """Return canonical tensors as a file has them, each with its checksum.

    Args:
        tensors: By name in the file.
        layout: The order of a kernel's axes in the file.
    """

    def prepare(item: tuple[str, NDArray[np.float32]]) -> tuple[NDArray[np.float32], str]:
        key, tensor = item
        if tensor.ndim == 4:
            tensor = transpose(tensor, CANONICAL_KERNEL_LAYOUT, layout)
        tensor = np.ascontiguousarray(tensor, "<f4")
        return tensor, tensor_checksum(key, tensor)

    return dict(zip(tensors, each(prepare, tensors.items()), strict=True))


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
