"""Keep the chatter of frameworks' native code off the terminal."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = [
    "suppress_native_stderr",
]

_STDERR = 2


@contextmanager
def suppress_native_stderr() -> Iterator[None]:
    """Keep what native code writes to stderr, and show it only if the block fails.

    While TensorFlow is imported, ``TF_CPP_MIN_LOG_LEVEL`` does not reach all of its libraries yet.

    Source: https://github.com/tensorflow/tensorflow/issues/100442
    """
    sys.stderr.flush()
    try:
        terminal = os.dup(_STDERR)
    except OSError:  # closed, as in a daemon: there is nothing to keep clean
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), _STDERR)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(terminal, held.read())
            raise
        finally:
            os.dup2(terminal, _STDERR)
            os.close(terminal)
