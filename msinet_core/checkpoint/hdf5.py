"""Opening HDF5 files that may be damaged or hostile, for every format that is HDF5 inside."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import h5py

from msinet_core.errors import CheckpointError, MsinetError, os_reason

SIGNATURE = b"\x89HDF\r\n\x1a\n"

Parsed = TypeVar("Parsed")

MAX_DEPTH = 32
"""Groups inside groups; far more than any network's names need."""


def is_hdf5(path: Path) -> bool:
    """Tell whether a file begins as HDF5 files do.

    Args:
        path: Any path.
    """
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.read(len(SIGNATURE)) == SIGNATURE


@contextmanager
def open_file(
    path: Path, parse: Callable[[h5py.File], Parsed], content: bytes | None = None
) -> Iterator[Parsed]:
    """Open an HDF5 file for reading; whatever the library raises over it becomes a sentence.

    Args:
        path: The file.
        parse: Makes something of the open file, which stays open to the end of the block.
        content: The file's bytes, where it lies in an archive; `path` is for messages then.

    Raises:
        CheckpointError: It is not HDF5, or truncated, or damaged.
    """
    if not (is_hdf5(path) if content is None else content.startswith(SIGNATURE)):
        raise CheckpointError(
            f"{path} is not an HDF5 file: it does not begin with the HDF5 signature. It was cut "
            f"off or is something else; copy or download it again."
        )
    with ExitStack() as stack:
        with damage(f"{path} cannot be read as HDF5", "Copy or download it again."):
            # Writers replace files in one step, so readers need no lock, and a read-only network
            # folder often has none to give.
            source = path if content is None else io.BytesIO(content)
            options = {"locking": False} if content is None else {}
            file = stack.enter_context(h5py.File(source, "r", **options))
            parsed = parse(file)
        yield parsed


@contextmanager
def damage(subject: str, advice: str = "") -> Iterator[None]:
    """Turn what h5py raises over a damaged file into `CheckpointError`.

    The HDF5 library reports broken structures through many kinds of exceptions, depending on
    where it stumbles, so all of them are taken here; the original one is chained.

    Its text is about the library's insides (object headers, B-trees); MSINET_DEBUG shows it.

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
            kind = os_reason(error)
        elif "truncated file" in str(error):
            kind = "it is truncated"
        else:
            kind = "it is damaged"
        raise CheckpointError(f"{subject}: {kind}. {advice}".rstrip()) from error


def write_text(item: h5py.HLObject, name: str, text: str) -> None:
    """Attach a text of fixed length.

    Texts of variable length would lie in HDF5's global heap, which has no checksum: one flipped bit
    there makes the library loop forever.

    Args:
        item: The file, group or dataset.
        name: The attribute's name.
        text: Its value, not empty.
    """
    data = text.encode()
    item.attrs.create(name, data, dtype=h5py.string_dtype("utf-8", len(data)))


def read_text(item: h5py.HLObject, name: str) -> str | None:
    """Read a text of fixed length; None where the attribute is missing or is anything else.

    Args:
        item: The file, group or dataset.
        name: The attribute's name.
    """
    if name not in item.attrs or not is_text(item.attrs.get_id(name).dtype):
        return None
    return bytes(item.attrs[name]).decode()


def read_integer(item: h5py.HLObject, name: str) -> int | None:
    """Read a whole number; None where the attribute is missing or is anything else.

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
    """Tell whether a type is text of fixed length.

    Args:
        dtype: A dataset's or an attribute's.
    """
    kind = h5py.check_string_dtype(dtype)
    return kind is not None and kind.length is not None


def datasets(group: h5py.Group, path: Path) -> dict[str, h5py.Dataset]:
    """Find every dataset below a group, by its name relative to it, following hard links only.

    Args:
        group: Where to begin.
        path: The file, for messages.

    Raises:
        CheckpointError: There is a link out of the file, a link that is not a plain one, a loop, or
            a dataset whose values lie elsewhere.
    """
    found: dict[str, h5py.Dataset] = {}
    seen: set[Any] = set()

    def walk(parent: h5py.Group, prefix: str, depth: int) -> None:
        for key in parent:
            name = f"{prefix}{key}"
            item = hard_link(parent, key, path)
            address = h5py.h5o.get_info(item.id).addr
            if address in seen:
                raise refusal(path, name, "a loop or a second link to one object")
            if depth == MAX_DEPTH:
                raise refusal(path, name, f"a group inside {MAX_DEPTH} others")
            seen.add(address)
            if isinstance(item, h5py.Group):
                walk(item, f"{name}/", depth + 1)
            elif isinstance(item, h5py.Dataset):
                if item.is_virtual or item.external:
                    raise refusal(path, name, "a dataset whose values lie in other files")
                found[name] = item
            else:
                raise refusal(path, name, "a named datatype")

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
        kind = "an external link" if isinstance(link, h5py.ExternalLink) else "a soft link"
        raise refusal(path, name, kind)
    with damage(f"{path}: '{name}' cannot be opened", "Copy the file again, or use another."):
        return parent[key]


def refusal(path: Path, name: str, what: str) -> CheckpointError:
    """Word the refusal of something that no checkpoint needs and that could reach other files.

    Args:
        path: The file.
        name: Where in it.
        what: What stands there.
    """
    return CheckpointError(
        f"{path} is refused: '{name}' is {what}, which no checkpoint needs. "
        f"Use a file from a source you trust."
    )
