"""Unpack zip archives from the network, which may be damaged or malicious."""

from __future__ import annotations

import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePath, PurePosixPath

from msinet_core.data.download.transfer import in_megabytes
from msinet_core.errors import DataError

MOST_MEMBERS = 2**19
LARGEST_MEMBER = 2**29
LARGEST_TOTAL = 2**34
"""Limits of an archive of images; in bytes after unpacking."""

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Others are unpacked in pieces of any size, so that a small file could fill the memory."""

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
"""What `zipfile` raises for damaged archives; OSError if an offset is before the beginning."""

_READ = 2**18


@dataclass(frozen=True)
class Member:
    """A file in an archive.

    Args:
        name: Its path in the archive, checked, with ``/`` between folders.
        size: Bytes after unpacking.
    """

    name: str
    size: int
    _archive: zipfile.ZipFile = field(repr=False)
    _info: zipfile.ZipInfo = field(repr=False)

    def write(self, target: Path) -> None:
        """Unpack it to a new file, at most `size` bytes, and compare their checksum.

        Args:
            target: The file; its folder is created if it is missing.

        Raises:
            DataError: It is damaged, encrypted, a link, too large, compressed by an unsupported
                method, or the file exists.
            OSError: The file system refused.
        """
        method = self._info.compress_type
        for refused, reason in (
            (stat.S_ISLNK(self._info.external_attr >> 16), "is a link"),
            (self._info.flag_bits & 1, "is encrypted"),
            (method not in _METHODS, f"uses the unsupported compression method {method}"),
            (self.size > LARGEST_MEMBER, f"is too large ({in_megabytes(self.size)})"),
        ):
            if refused:
                raise self._error(reason)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            stream = target.open("xb")
        except FileExistsError as error:
            raise self._error("occurs twice") from error
        with stream:
            for chunk in self._chunks():
                stream.write(chunk)

    def _error(self, reason: str) -> DataError:
        return DataError(f"Could not unpack {self._archive.filename}: {self.name} {reason}.")

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
    """List the files in an archive, without folders and the extra files of macOS.

    Args:
        path: The archive.

    Raises:
        DataError: It is damaged, not a zip archive, or has paths outside its folder.
    """
    with path.open("rb") as stream:
        try:
            archive = zipfile.ZipFile(stream)
        except _DAMAGE as error:
            raise DataError(_damaged(path, str(error))) from error
        infos = archive.infolist()
        if len(infos) > MOST_MEMBERS:
            raise DataError(f"Could not unpack {path}: {len(infos):,} files are too many.")
        members = []
        for info in infos:
            name = _checked(info.filename, path)
            if name.parts and not info.is_dir() and not is_extra(name):
                members.append(Member(name.as_posix(), info.file_size, archive, info))
        yield members


def check_room(total: int, archive: Path, folder: Path) -> None:
    """Check the size of files before they are unpacked.

    Args:
        total: The bytes of all files together.
        archive: The archive, for the message.
        folder: The folder to unpack to.

    Raises:
        DataError: They are too large for an archive of images, or for the disk.
    """
    if total > LARGEST_TOTAL:
        raise DataError(f"Could not unpack {archive}: {in_megabytes(total)} are too large.")
    free = shutil.disk_usage(folder).free
    if total > free:
        raise DataError(
            f"Could not unpack {archive}: not enough disk space in {folder} "
            f"({in_megabytes(total)} needed, {in_megabytes(free)} free). Free some space, or "
            f"choose another folder."
        )


def _checked(name: str, archive: Path) -> PurePosixPath:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or any(":" in part for part in path.parts[:1]):
        raise DataError(
            f"Could not unpack {archive}: the path {name!r} leads outside the folder. The archive "
            f"may be malicious; remove it."
        )
    return path


def is_extra(path: PurePath) -> bool:
    """Return whether a file is hidden, or one that macOS adds to archives.

    Args:
        path: Its path in the archive or the folder.
    """
    return path.name.startswith(".") or "__MACOSX" in path.parts


def _damaged(path: Path, reason: str) -> str:
    return f"{path} is damaged or not a zip archive ({reason}). Remove it, and download it again."
