"""Download a published data set and arrange it as every other data set is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from msinet_core.data.dataset import DEFAULT_ROOT, DEMO, cache_folder, find_folder, unknown_name
from msinet_core.data.download import Patience, download
from msinet_core.data.download.unzip import Member, check_room, open_zip
from msinet_core.data.folder import STIMULI, scan_folder
from msinet_core.data.osie import is_osie, scan_osie
from msinet_core.data.published import PUBLISHED, PublishedDataset
from msinet_core.data.recipes import RECIPES, Rule
from msinet_core.errors import DataError, InterruptedRunError, UsageError, bullet_list, os_reason
from msinet_core.system.files import atomic_folder
from msinet_core.system.progress import Progress


@dataclass(frozen=True)
class Fetched:
    """A data set that is here now.

    Args:
        folder: Where.
        images: How many images it has; 0 if it was there before and nobody counted.
        is_new: Whether it was not there before.
        archives: What is kept of the downloads.
    """

    folder: Path
    images: int = 0
    is_new: bool = False
    archives: tuple[Path, ...] = ()


def fetch_dataset(
    name: str,
    root: Path | None = None,
    *,
    keep: bool = False,
    progress: Progress | None = None,
    patience: Patience | None = None,
) -> Fetched:
    """Download the archives of a published data set and unpack what belongs to it.

    The folder appears when it is complete. Archives are kept in the cache until then, also when
    something fails, and an archive that was put there by hand is used.

    Args:
        name: A name in `PUBLISHED`.
        root: The folder that named data sets are in; None for ``data``.
        keep: Keep the archives.
        progress: Shows what happens.
        patience: How long to try.

    Raises:
        UsageError: There is no such data set, or it needs no download.
        DataError: An archive is not what it should be, or does not fit on the disk.
        MsinetError: An archive cannot be downloaded; says where to put it by hand.
        InterruptedRunError: Ctrl-C; says what is kept.
    """
    if name == DEMO:
        raise UsageError("The demo set is made, not downloaded: msinet-run train --data demo.")
    if name not in PUBLISHED:
        raise unknown_name(name)
    known, progress = PUBLISHED[name], progress or Progress()
    folder = find_folder(name, root)
    if folder is not None and any(folder.iterdir()):
        return Fetched(folder)
    folder = (root or DEFAULT_ROOT) / name
    cache = cache_folder() / "downloads" / name
    archives = tuple(
        download(
            source.address,
            cache / source.file,
            checksum=source.checksum,
            progress=progress,
            patience=patience,
        )
        for source in known.sources
    )
    images = _unpack(known, archives, folder, progress)
    if keep:
        return Fetched(folder, images, True, archives)
    for archive in archives:
        archive.unlink()
    if not any(cache.iterdir()):
        cache.rmdir()
    return Fetched(folder, images, True)


def _unpack(
    known: PublishedDataset, archives: tuple[Path, ...], folder: Path, progress: Progress
) -> int:
    cache = archives[0].parent
    try:
        with atomic_folder(folder) as new:
            for archive in archives:
                _unpack_archive(archive, RECIPES[known.name], new, progress)
            return _check(known, new, cache)
    except OSError as error:
        raise DataError(
            f"{folder} cannot be made: {os_reason(error)}. The archives are kept in "
            f"{cache}; make room or name another folder with --data-root, and run the command "
            f"again."
        ) from error
    except KeyboardInterrupt as error:
        raise InterruptedRunError(
            f"Interrupted while unpacking; {folder} was not made. The archives are kept in "
            f"{cache}, and the same command unpacks them."
        ) from error


def _unpack_archive(
    archive: Path, rules: tuple[Rule, ...], folder: Path, progress: Progress
) -> None:
    with open_zip(archive) as members:
        wanted: list[tuple[Member, str, Rule]] = []
        for member in members:
            places = ((rule.place(member.name), rule) for rule in rules)
            wanted += [(member, place, rule) for place, rule in places if place][:1]
        check_room([member for member, _, _ in wanted], archive, folder)
        with progress.task(f"unpack {archive.name}", len(wanted), "files") as task:
            for member, place, rule in wanted:
                target = folder / place
                member.write(target)
                if rule.finish:
                    rule.finish(target)
                task.advance()


def _check(known: PublishedDataset, folder: Path, cache: Path) -> int:
    """Count the images; what is incomplete or does not fit together does not become a data set."""
    scan = scan_osie(folder, cache_folder()) if is_osie(folder) else scan_folder(folder)
    count = len(scan.train) + len(scan.valid or ())
    problems = scan.problems[:]
    if count != known.train + known.valid:
        problems.append(
            f"{STIMULI}/: {count} images with maps, {known.title} has {known.train + known.valid}"
        )
    if problems:
        raise DataError(
            f"What was downloaded is not {known.title} as it was published:\n"
            f"{bullet_list(problems)}\n"
            f"Nothing was unpacked. The archives are in {cache}: look at them, or remove them and "
            f"run the command again."
        )
    return count
