"""Zip archives that hold tensors: checked from their directory before anything is unpacked."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

from msinet_core.errors import CheckpointError

_MAX_MEMBERS = 100_000


def stored_members(archive: zipfile.ZipFile, path: Path) -> Mapping[str, zipfile.ZipInfo]:
    """Return the members of an archive by name; none is compressed.

    Keras and PyTorch never compress, and a compressed member could unpack to any size.

    Args:
        archive: The open archive.
        path: The file.

    Raises:
        CheckpointError: Members are compressed, too many, too large or have the same name.
    """
    members = archive.infolist()
    by_name = {member.filename: member for member in members}
    if (
        len(members) > _MAX_MEMBERS
        or len(by_name) < len(members)
        or any(member.compress_type != zipfile.ZIP_STORED for member in members)
        or sum(member.file_size for member in members) > path.stat().st_size
    ):
        raise CheckpointError(
            f"{path} is refused: its {len(members):,} members are compressed, have the same name "
            f"or claim more bytes than the file has. Use a file from a source you trust."
        )
    return by_name
