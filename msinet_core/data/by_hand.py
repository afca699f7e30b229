"""Use archives, or their unpacked files, that were obtained by hand."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from msinet_core.data.download.transfer import checksum_problem
from msinet_core.data.download.unzip import is_extra
from msinet_core.data.published import PublishedDataset
from msinet_core.errors import DataError, UsageError
from msinet_core.system.progress import Progress


@dataclass(frozen=True)
class File:
    """A file in a folder, in the role of a member of an archive.

    Args:
        name: Its path in the folder, with ``/`` between folders.
        path: The file.
    """

    name: str
    path: Path

    @property
    def size(self) -> int:
        """Its bytes."""
        return self.path.stat().st_size

    def write(self, target: Path) -> None:
        """Copy it to a new file.

        Args:
            target: The file; its folder is created if it is missing.

        Raises:
            DataError: The file exists: two files have the same role.
            OSError: The file system refused.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            raise DataError(f"{self.path} exists in two folders. Remove one of them.")
        shutil.copyfile(self.path, target)


@contextmanager
def open_folder(folder: Path) -> Iterator[list[File]]:
    """List the files of an unpacked archive.

    Args:
        folder: The folder.
    """
    yield [
        File(path.relative_to(folder).as_posix(), path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not is_extra(path)
    ]


def find_archives(known: PublishedDataset, path: Path) -> tuple[Path, ...] | None:
    """Return the archives of a dataset in a folder, or the one that a path names.

    Args:
        known: The dataset.
        path: An archive, or a folder.

    Returns:
        The archives in the order of the dataset's sources; None if the folder has none of them, so
        that it must be their content.

    Raises:
        UsageError: The path does not exist, or not all archives are there.
    """
    names = [source.file for source in known.sources]
    if path.is_file():
        if len(names) == 1:
            return (path,)
        if path.name not in names:
            raise UsageError(
                f"{known.title} has {len(names)} archives: {', '.join(names)}. Put them into one "
                f"folder, and pass the folder."
            )
        path = path.parent
    if not path.is_dir():
        raise UsageError(f"No such file or folder: {path}")
    missing = [name for name in names if not (path / name).is_file()]
    if len(missing) == len(names):
        return None
    if missing:
        raise UsageError(f"{path} is missing {', '.join(missing)}, which {known.title} also needs.")
    return tuple(path / name for name in names)


def check_archives(
    known: PublishedDataset, files: tuple[Path, ...], any_checksum: bool, progress: Progress
) -> None:
    """Compare archives with the published checksums, and say what is known.

    Args:
        known: The dataset.
        files: The archives, in the order of the dataset's sources.
        any_checksum: Say that a checksum differs, but use the archive.
        progress: Shows messages.

    Raises:
        DataError: A checksum differs.
    """
    for source, file in zip(known.sources, files, strict=True):
        problem = checksum_problem(file, source.checksum)
        if problem and not any_checksum:
            raise DataError(
                f"{file} is not the published archive: {problem}. Download {source.address} "
                f"again, or use it anyway with --any-checksum."
            )
        algorithm = source.checksum.partition(":")[0]
        said = f"{problem}; used anyway" if problem else f"its {algorithm} is as published"
        progress.message(f"{file.name}: {said if algorithm else 'no checksum is published'}")
