"""Results that a device may still be computing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike, NDArray


class Deferred:
    """A result that is read on demand, as a float or an array; reading it waits for the device.

    Args:
        read: Waits for the values and copies them to the host; called once, by whichever thread
            comes first.
        shape: The shape of the result, if it is known before the values are.
    """

    def __init__(self, read: Callable[[], ArrayLike], shape: tuple[int, ...] | None = None) -> None:
        self._read: Callable[[], ArrayLike] | None = read
        self._values: Any = None
        self._lock = threading.Lock()
        if shape is not None:
            self.shape = shape

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        import numpy as np

        with self._lock:
            if self._read is not None:
                self._values = np.asarray(self._read())
                self._read = None  # release what the device holds
        values: NDArray[Any] = self._values
        converted = values if dtype is None else values.astype(dtype, copy=False)
        return converted.copy() if copy and converted is values else converted

    def __float__(self) -> float:
        return float(self.__array__().item())

    def __len__(self) -> int:
        return len(self.__array__())
