"""Import TensorFlow: only if its versions fit, and without its chatter on the terminal."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from msinet_tensorflow.versions import check_versions

LOG_VARIABLE = "TF_CPP_MIN_LOG_LEVEL"
"""TensorFlow's own switch; whoever sets it decides alone what is shown."""

STDERR = 2


def load_tensorflow() -> ModuleType:
    """Import TensorFlow and return it; the only place that does.

    Raises:
        DeviceUnavailableError: It cannot be imported, told from metadata before trying.
    """
    if "tensorflow" in sys.modules:
        return sys.modules["tensorflow"]
    check_versions()
    if LOG_VARIABLE in os.environ:
        return importlib.import_module("tensorflow")
    os.environ[LOG_VARIABLE] = "2"  # errors only
    with native_messages_held_back():
        tensorflow = importlib.import_module("tensorflow")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    logging.getLogger("absl").setLevel(logging.ERROR)
    return tensorflow


@contextmanager
def native_messages_held_back() -> Iterator[None]:
    """Keep what native code writes to stderr, and show it only if the block fails.

    While TensorFlow is imported, `LOG_VARIABLE` does not reach all of its libraries yet.

    Source: https://github.com/tensorflow/tensorflow/issues/100442
    """
    sys.stderr.flush()
    try:
        terminal = os.dup(STDERR)
    except OSError:  # closed, as in a daemon: there is nothing to keep clean
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), STDERR)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(terminal, held.read())
            raise
        finally:
            os.dup2(terminal, STDERR)
            os.close(terminal)
