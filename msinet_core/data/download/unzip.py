"""Zip archives from the network: only what is wanted comes out, and only where it may."""

from __future__ import annotations

import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from msinet_core.data.download.transfer import in_megabytes
from msinet_core.errors import DataError

MOST_MEMBERS = 2**19
LARGEST_MEMBER = 2**29
LARGEST_TOTAL = 2**34
"""What an honest archive of images can have; in bytes after unpacking."""

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Python unpacks the others in pieces of any size, so that a small file could fill the memory."""

_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    struct.error,
    ValueError,
    OverflowError,
    NotImplementedError,
    OSError,
)
"""What `zipfile` raises about bent archives; OSError where it looks before the file's beginning."""

_READ = 2**18


@dataclass(frozen=True)
class Member:
    """A file in an archive.

    Args:
        name: Its path in there, checked, with ``/`` between folders.
        size: Bytes after unpacking.
    """

    name: str
    size: int
    _archive: zipfile.ZipFile = field(repr=False)
    _info: zipfile.ZipInfo = field(repr=False)

    def write(self, target: Path) -> None:
        """Unpack it to a new file.

        Never more than `size` bytes come out, and their checksum is compared.

        Args:
            target: The file; its folder is made when it is missing.

        Raises:
            DataError: It is damaged, encrypted, a link, too large, compressed in an unusual way, or
                there is such a file already.
            OSError: The disk refuses.
        """
        path = self._archive.filename
        if stat.S_ISLNK(self._info.external_attr >> 16):
            raise DataError(f"{path} is refused: {self.name} in it is a link.")
        if self._info.flag_bits & 1:
            raise DataError(f"{path} cannot be unpacked: {self.name} in it is encrypted.")
        if self._info.compress_type not in _METHODS:
            raise DataError(
                f"{path} cannot be unpacked: {self.name} in it is compressed in another way than "
                f"deflate (method {self._info.compress_type})."
            )
        if self.size > LARGEST_MEMBER:
            raise DataError(
                f"{path} is refused: {self.name} in it would be unpacked to "
                f"{in_megabytes(self.size)}."
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            stream = target.open("xb")
        except FileExistsError as error:
            raise DataError(
                f"{path} is refused: it has {self.name} twice, or another file of that name."
            ) from error
        with stream:
            for chunk in self._chunks():
                stream.write(chunk)

    def _chunks(self) -> Iterator[bytes]:
        try:
            with self._archive.open(self._info) as source:
                while chunk := source.read(_READ):
                    yield chunk
        except _DAMAGE as error:
            path = Path(self._archive.filename or "")
            raise DataError(_damaged(path, f"{self.name}: {error}")) from error


@contextmanager
def open_zip(path: Path) -> Iterator[list[Member]]:
    """List the files in an archive.

    Folders, and the notes that macOS adds, are left out.

    Args:
        path: The archive.

    Raises:
        DataError: It is damaged, no zip archive, or made to write outside its folder.
    """
    with path.open("rb") as stream:
        try:
            archive = zipfile.ZipFile(stream)
        except _DAMAGE as error:
            raise DataError(_damaged(path, str(error))) from error
        infos = archive.infolist()
        if len(infos) > MOST_MEMBERS:
            raise DataError(f"{path} is refused: it has {len(infos):,} files in it.")
        members = []
        for info in infos:
            name = _checked(info.filename, path)
            if name.parts and not info.is_dir() and not _is_noise(name):
                members.append(Member(name.as_posix(), info.file_size, archive, info))
        yield members


def check_room(members: list[Member], archive: Path, folder: Path) -> None:
    """Refuse to unpack what does not fit or cannot be meant.

    Args:
        members: What is to be unpacked.
        archive: Where they are; for the message.
        folder: Where they go.

    Raises:
        DataError: They are more than an archive of images holds, or than the disk has room for.
    """
    total = sum(member.size for member in members)
    if total > LARGEST_TOTAL:
        raise DataError(f"{archive} is refused: it would be unpacked to {in_megabytes(total)}.")
    free = shutil.disk_usage(folder).free
    if total > free:
        raise DataError(
            f"{archive} cannot be unpacked: that takes {in_megabytes(total)}, and only "
            f"{in_megabytes(free)} are free in {folder}. Make room, or choose another folder."
        )


def _checked(name: str, archive: Path) -> PurePosixPath:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or any(":" in part for part in path.parts[:1]):
        raise DataError(
            f"{archive} is refused: {name!r} in it leads out of the folder it is unpacked in. Such "
            f"archives are made to do harm; remove it."
        )
    return path


def _is_noise(path: PurePosixPath) -> bool:
    return path.name.startswith(".") or "__MACOSX" in path.parts


def _damaged(path: Path, reason: str) -> str:
    return (
        f"{path} is damaged or no zip archive ({reason}). Remove it, and the next call downloads "
        f"it again."
    )
