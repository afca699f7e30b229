"""Hide what the native code of frameworks prints."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

_STDERR = 2


@contextmanager
def suppress_native_stderr() -> Iterator[None]:
    """Hide what native code writes to stderr, and show it only if the block raises.

    While TensorFlow is being imported, some of its libraries ignore ``TF_CPP_MIN_LOG_LEVEL``.

    Source: https://github.com/tensorflow/tensorflow/issues/100442
    """
    sys.stderr.flush()
    try:
        terminal = os.dup(_STDERR)
    except OSError:  # closed, as in a daemon
        yield
        return
    with tempfile.TemporaryFile() as hidden:
        os.dup2(hidden.fileno(), _STDERR)
        try:
            yield
        except BaseException:
            hidden.seek(0)
            os.write(terminal, hidden.read())
            raise
        finally:
            os.dup2(terminal, _STDERR)
            os.close(terminal)
