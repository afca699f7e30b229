"""What steps answer with before the device has finished."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from msinet_torch.loading import load_torch

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

torch = load_torch()


class Unread:
    """Values on a device; reading them as a float or an array waits for them.

    Args:
        values: On the device; left alone by later steps.
    """

    def __init__(self, values: Any) -> None:
        self._values = values

    def __float__(self) -> float:
        return float(self._read())

    def __array__(
        self, dtype: DTypeLike | None = None, copy: bool | None = None
    ) -> NDArray[np.float32]:
        values: NDArray[np.float32] = self._read().numpy()
        return values if dtype is None else values.astype(dtype, copy=False)

    def __len__(self) -> int:
        return len(self._values)

    def _read(self) -> Any:
        return self._values.cpu()


class Fetched(Unread):
    """Values on their way from a GPU of CUDA; reading them waits for these and not for later ones.

    Args:
        values: On the GPU.
    """

    def __init__(self, values: Any) -> None:
        super().__init__(torch.empty(values.shape, dtype=values.dtype, pin_memory=True))
        self._values.copy_(values, non_blocking=True)
        self._arrived = torch.cuda.Event()
        self._arrived.record()

    def _read(self) -> Any:
        self._arrived.synchronize()
        return self._values
