"""Zip archives that hold tensors: checked from their directory before anything is unpacked."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from msinet_core.checkpoint.wire.limits import MAX_ENTRIES
from msinet_core.checkpoint.wire.mapped import map_file
from msinet_core.errors import CheckpointError

_ENTRY = b"PK\x01\x02"
"""Begins each member's entry in the directory."""

_CHUNK = 2**20

Members = Mapping[str, zipfile.ZipInfo]


@contextmanager
def open_stored(path: Path) -> Iterator[tuple[zipfile.ZipFile, Members]]:
    """Open an archive in which no member is compressed.

    Keras and PyTorch never compress, and a compressed member could unpack to any size.

    Args:
        path: The file.

    Yields:
        The archive, and its members by name.

    Raises:
        CheckpointError: Members are compressed, too many, too large or have the same name.
        zipfile.BadZipFile: It is damaged.
    """
    # Opening makes an object of a kilobyte for each entry, which takes 47 bytes in the file.
    data = map_file(path)
    chunks = (bytes(data[begin : begin + _CHUNK]) for begin in range(0, len(data), _CHUNK))
    if sum(chunk.count(_ENTRY) for chunk in chunks) > MAX_ENTRIES:
        raise CheckpointError(
            f"{path} is refused: it has more than {MAX_ENTRIES:,} members. Use a file from a "
            f"source you trust."
        )
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        by_name = {member.filename: member for member in members}
        if (
            len(by_name) < len(members)
            or any(member.compress_type != zipfile.ZIP_STORED for member in members)
            or sum(member.file_size for member in members) > path.stat().st_size
        ):
            raise CheckpointError(
                f"{path} is refused: its {len(members):,} members are compressed, have the same "
                f"name or claim more bytes than the file has. Use a file from a source you trust."
            )
        yield archive, by_name
