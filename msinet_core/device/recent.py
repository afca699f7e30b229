"""What a model compiled for the image sizes that it saw last."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")

LIMIT = 4
"""Each value holds memory of its own, and folders rarely mix more sizes."""


class Recent(Generic[Key, Value]):
    """Values that are made when first used, of which the last few are kept.

    Args:
        make: Makes the value for a key.
        limit: The number of values that are kept.
    """

    def __init__(self, make: Callable[[Key], Value], limit: int = LIMIT) -> None:
        self._make = make
        self._limit = limit
        self._values: OrderedDict[Key, Value] = OrderedDict()
        self._lock = threading.Lock()

    def __contains__(self, key: Key) -> bool:
        return key in self._values

    def __getitem__(self, key: Key) -> Value:
        with self._lock:
            if key not in self._values:
                while len(self._values) >= self._limit:  # first, since two may not fit in memory
                    self._values.popitem(last=False)
                self._values[key] = self._make(key)
            self._values.move_to_end(key)
            return self._values[key]
