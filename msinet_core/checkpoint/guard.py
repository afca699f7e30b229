"""The one place where anything unexpected in a file becomes a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from msinet_core.errors import CheckpointError, MsinetError, describe_error, error_text, os_reason


class UnsupportedError(Exception):
    """Say what msinet does not read, and what to do: the rest of a sentence after a file's name."""


BIG_ENDIAN = (
    "was written on a big-endian machine, which is not supported. Load it there, and save it in "
    "another format, such as *.safetensors or *.weights.h5."
)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever a file makes Python or a library raise into `CheckpointError`.

    Tensors and the training record are read after a format's ``open`` has returned, so the block
    must include what is done with the `Archive`.

    Args:
        path: The file.

    Raises:
        CheckpointError: Anything but `MsinetError` was raised inside; the message names the file.
    """
    try:
        yield
    except MsinetError:
        raise
    except UnsupportedError as error:
        raise CheckpointError(f"{path} {error}") from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {os_reason(error)}.") from error
    except Exception as error:
        raise CheckpointError(
            f"{path} is damaged, or not what its name says: {reason(error)} "
            f"Copy or download it again."
        ) from error


def reason(error: Exception) -> str:
    """Return why a part of a file cannot be read, as a sentence.

    Args:
        error: Whatever was raised.
    """
    if isinstance(error, MemoryError):
        return "not enough memory."
    if isinstance(error, OSError) and error.strerror:
        return f"{os_reason(error)}."
    text = error_text(error)
    # Readers say with a ValueError what is wrong; other types only make sense with their names.
    if type(error) is ValueError and text:
        return f"{text}."
    return describe_error(error)
