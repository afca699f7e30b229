"""HDF5 files: opened as if they were damaged or hostile, and written from memory."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import h5py

from msinet_core.errors import CheckpointError, MsinetError, os_reason

SIGNATURE = b"\x89HDF\r\n\x1a\n"
_MAX_DEPTH = 32
"""Groups inside groups; far more than any network's names need."""

Parsed = TypeVar("Parsed")


def is_hdf5(path: Path) -> bool:
    """Return whether a file begins with the HDF5 signature.

    Args:
        path: Any path.
    """
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.read(len(SIGNATURE)) == SIGNATURE


def looks_like(path: Path, test: Callable[[h5py.File], bool]) -> bool:
    """Return whether a file is HDF5 and passes a test.

    Args:
        path: Any path.
        test: Looks at the open file.

    Raises:
        CheckpointError: It is HDF5, but damaged.
    """
    if not is_hdf5(path):
        return False
    with open_file(path, test) as found:
        return found


@contextmanager
def open_file(
    path: Path, parse: Callable[[h5py.File], Parsed], content: bytes | None = None
) -> Iterator[Parsed]:
    """Open an HDF5 file for reading, and turn the library's errors into `CheckpointError`.

    Args:
        path: The file.
        parse: Makes something of the open file, which stays open until the end of the block.
        content: The file's bytes, if it is inside an archive; `path` is for messages then.

    Raises:
        CheckpointError: It is not HDF5, truncated or damaged.
    """
    if not (is_hdf5(path) if content is None else content.startswith(SIGNATURE)):
        raise CheckpointError(
            f"{path} is not an HDF5 file. It may have been cut off; copy or download it again."
        )
    with damage(f"{path} cannot be read as HDF5", "Copy or download it again."):
        # Writers replace files in one step, so readers need no lock, and read-only network folders
        # often have none to give.
        file = (
            h5py.File(path, "r", locking=False)
            if content is None
            else h5py.File(io.BytesIO(content), "r")
        )
    with file:
        with damage(f"{path} cannot be read as HDF5", "Copy or download it again."):
            parsed = parse(file)
        yield parsed


@contextmanager
def damage(subject: str, advice: str = "") -> Iterator[None]:
    """Turn what h5py raises for a damaged file into `CheckpointError`.

    HDF5 reports broken structures through many kinds of exceptions, with texts about its internals
    (object headers, B-trees); the original one is chained.

    Args:
        subject: What was read, with its verb: "x.h5 cannot be read".
        advice: What to do next.

    Raises:
        CheckpointError: Anything but `MsinetError` was raised inside.
    """
    try:
        yield
    except MsinetError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno and not isinstance(error, BlockingIOError):
            reason = os_reason(error)
        else:
            reason = "truncated file" if "truncated file" in str(error) else "damaged file"
        raise CheckpointError(f"{subject}: {reason}. {advice}".rstrip()) from error


def read_text(item: h5py.HLObject, name: str) -> str | None:
    """Read an attribute: a text of fixed length; None if it is missing or anything else.

    Args:
        item: The file, group or dataset.
        name: The attribute's name.
    """
    if name not in item.attrs or not is_text(item.attrs.get_id(name).dtype):
        return None
    return bytes(item.attrs[name]).decode()


def read_integer(item: h5py.HLObject, name: str) -> int | None:
    """Read an attribute: an integer; None if it is missing or anything else.

    Args:
        item: The file, group or dataset.
        name: The attribute's name.
    """
    if name not in item.attrs:
        return None
    attribute = item.attrs.get_id(name)
    if attribute.dtype.kind not in "iu" or attribute.shape != ():
        return None
    return int(item.attrs[name])


def is_text(dtype: Any) -> bool:
    """Return whether a type is text of fixed length.

    Args:
        dtype: Of a dataset or an attribute.
    """
    kind = h5py.check_string_dtype(dtype)
    return kind is not None and kind.length is not None


def datasets(group: h5py.Group, path: Path) -> dict[str, h5py.Dataset]:
    """Find every dataset below a group, by its name relative to it, following hard links only.

    Args:
        group: Where to begin.
        path: The file, for messages.

    Raises:
        CheckpointError: There is a soft or external link, a loop, or a dataset whose values are in
            other files.
    """
    found: dict[str, h5py.Dataset] = {}
    seen: set[Any] = set()

    def walk(parent: h5py.Group, prefix: str, depth: int) -> None:
        for key in parent:
            name = f"{prefix}{key}"
            item = hard_link(parent, key, path)
            address = h5py.h5o.get_info(item.id).addr
            if address in seen:
                raise _refusal(path, name, "a loop or a second link to one object")
            if depth == _MAX_DEPTH:
                raise _refusal(path, name, f"a group inside {_MAX_DEPTH} others")
            seen.add(address)
            if isinstance(item, h5py.Group):
                walk(item, f"{name}/", depth + 1)
            elif not isinstance(item, h5py.Dataset):
                raise _refusal(path, name, "a named datatype")
            elif item.is_virtual or item.external:
                raise _refusal(path, name, "a dataset whose values are in other files")
            else:
                found[name] = item

    walk(group, "", 0)
    return found


def hard_link(parent: h5py.Group, key: str, path: Path) -> Any:
    """Return a group's member, refusing soft and external links before they are followed.

    Args:
        parent: The group.
        key: The member's name.
        path: The file, for messages.

    Raises:
        CheckpointError: It is not a hard link.
    """
    name = f"{parent.name.rstrip('/')}/{key}"
    link = parent.get(key, getlink=True)
    if not isinstance(link, h5py.HardLink):
        is_external = isinstance(link, h5py.ExternalLink)
        raise _refusal(path, name, "an external link" if is_external else "a soft link")
    with damage(f"{path}: '{name}' cannot be opened", "Copy the file again, or use another."):
        return parent[key]


def _refusal(path: Path, name: str, what: str) -> CheckpointError:
    return CheckpointError(
        f"{path} is refused: '{name}' is {what}, which no checkpoint needs. "
        f"Use a file from a source you trust."
    )


def file_image(fill: Callable[[h5py.File], None], libver: str | tuple[str, str]) -> memoryview:
    """Make an HDF5 file in memory.

    The library never writes to the disk: after a failed write (a full disk) it leaves its own
    structures broken and crashes the process later.

    Args:
        fill: Puts the content into the open file.
        libver: The version of HDF5 whose structures the file has.
    """
    image = io.BytesIO()
    with h5py.File(image, "w", libver=libver) as file:
        fill(file)
    return image.getbuffer()


def write_text(item: h5py.HLObject, name: str, text: str) -> None:
    """Attach a text of fixed length.

    Texts of variable length would be in HDF5's global heap, which has no checksum: one flipped bit
    there makes the library loop forever.

    Args:
        item: The file, group or dataset.
        name: The attribute's name.
        text: Its value, not empty.
    """
    data = text.encode()
    item.attrs.create(name, data, dtype=h5py.string_dtype("utf-8", len(data)))
