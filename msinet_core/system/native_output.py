"""Redirect or hide what the native code of frameworks prints."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


@contextmanager
def redirected(stream: TextIO, target: int) -> Iterator[int | None]:
    """Redirect what Python and native code write to stdout or stderr.

    Args:
        stream: ``sys.stdout`` or ``sys.stderr``.
        target: The file descriptor to write to instead.

    Yields:
        A descriptor of where the stream wrote before; None if it is closed, as in a daemon.
    """
    number = 1 if stream is sys.stdout else 2
    stream.flush()
    try:
        saved = os.dup(number)
    except OSError:
        yield None
        return
    os.dup2(target, number)
    try:
        yield saved
    finally:
        stream.flush()
        os.dup2(saved, number)
        os.close(saved)


@contextmanager
def suppress_native_stderr() -> Iterator[None]:
    """Hide what native code writes to stderr, and show it only if the block raises.

    While TensorFlow is being imported, some of its libraries ignore ``TF_CPP_MIN_LOG_LEVEL``.

    Source: https://github.com/tensorflow/tensorflow/issues/100442
    """
    if sys.stderr is None:  # closed before Python started, as in a daemon
        yield
        return
    with tempfile.TemporaryFile() as hidden, redirected(sys.stderr, hidden.fileno()) as terminal:
        try:
            yield
        except BaseException:
            sys.stderr.flush()
            hidden.seek(0)
            if terminal is not None:
                os.write(terminal, hidden.read())
            raise
