"""Download a published dataset and arrange its files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from msinet_core.data.by_hand import File, check_archives, find_archives, open_folder
from msinet_core.data.dataset import DEFAULT_ROOT, DEMO, find_folder, unknown_name
from msinet_core.data.download.transfer import download
from msinet_core.data.download.unzip import Member, check_room, open_zip
from msinet_core.data.folder import STIMULI, scan_folder
from msinet_core.data.osie import is_osie, scan_osie
from msinet_core.data.published import PUBLISHED, PublishedDataset
from msinet_core.data.recipes import RECIPES, Rule
from msinet_core.errors import DataError, InterruptedRunError, UsageError, bullet_list
from msinet_core.system.files import atomic_folder, cache_folder, check_writable_folder
from msinet_core.system.progress import Progress


@dataclass(frozen=True)
class Fetched:
    """A dataset on this machine.

    Args:
        folder: Its folder.
        images: The number of its images; 0 if it existed already.
        archives: The archives that were kept.
    """

    folder: Path
    images: int = 0
    archives: tuple[Path, ...] = ()


def fetch_dataset(
    name: str,
    root: Path | None = None,
    *,
    source: Path | None = None,
    any_checksum: bool = False,
    keep: bool = False,
    progress: Progress | None = None,
) -> Fetched:
    """Download the archives of a published dataset and unpack its files.

    The folder appears when it is complete. Until then the archives are kept in the cache, also if
    something fails, and an archive that was saved there by hand is used.

    Args:
        name: A name in `PUBLISHED`.
        root: The folder that contains named datasets; None for ``data``.
        source: What was obtained by hand, instead of a download: the archive, or a folder with the
            archives or with their unpacked files. It is not changed.
        any_checksum: Use an archive whose checksum is not the published one.
        keep: Keep downloaded archives.
        progress: Shows progress.

    Raises:
        UsageError: The name is unknown, or the dataset needs no download.
        DataError: An archive is damaged or not the published one, or too large for the disk.
        MsinetError: An archive cannot be downloaded; says where to save it by hand. Or `root`
            cannot be written.
        InterruptedRunError: Ctrl-C; says what was kept.
    """
    if name == DEMO:
        raise UsageError(
            "The demo dataset needs no download; use it with: msinet-run train --data demo"
        )
    if name not in PUBLISHED:
        raise unknown_name(name)
    known, progress = PUBLISHED[name], progress or Progress()
    folder = find_folder(name, root)
    if folder is not None and any(folder.iterdir()):
        return Fetched(folder)
    folder = (root or DEFAULT_ROOT) / name
    check_writable_folder(folder.parent)
    if source is not None:
        found = find_archives(known, source)
        if found is not None:
            check_archives(known, found, any_checksum, progress)
        advice = f"Check what {source} contains."
        return Fetched(folder, _unpack(known, found or (source,), folder, progress, advice))
    cache = cache_folder() / "downloads" / name
    archives = tuple(
        download(one.address, cache / one.file, checksum=one.checksum, progress=progress)
        for one in known.sources
    )
    advice = f"The archives are in {cache}; remove or replace them, and run the command again."
    images = _unpack(known, archives, folder, progress, advice)
    if keep:
        return Fetched(folder, images, archives)
    for archive in archives:
        archive.unlink()
    if not any(cache.iterdir()):
        cache.rmdir()
    return Fetched(folder, images)


def _unpack(
    known: PublishedDataset,
    archives: tuple[Path, ...],
    folder: Path,
    progress: Progress,
    advice: str,
) -> int:
    """Return the number of images; `advice` is for content that is not the published one."""
    try:
        with atomic_folder(folder) as new:
            for archive in archives:
                _unpack_archive(archive, RECIPES[known.name], new, progress)
            return _check(known, new, advice)
    except KeyboardInterrupt as error:
        raise InterruptedRunError(
            f"Interrupted while unpacking; {folder} was not created. The archives are kept; run "
            f"the same command again to unpack them."
        ) from error


def _unpack_archive(
    archive: Path, rules: tuple[Rule, ...], folder: Path, progress: Progress
) -> None:
    members: Sequence[Member | File]
    with open_folder(archive) if archive.is_dir() else open_zip(archive) as members:
        wanted: list[tuple[Member | File, str, Rule]] = []
        for member in members:
            targets = ((rule.target_of(member.name), rule) for rule in rules)
            wanted += [(member, target, rule) for target, rule in targets if target][:1]
        check_room(sum(member.size for member, _, _ in wanted), archive, folder)
        with progress.task(f"unpack {archive.name}", len(wanted), "files") as task:
            for member, target, rule in wanted:
                member.write(folder / target)
                if rule.finish:
                    rule.finish(folder / target)
                task.advance()


def _check(known: PublishedDataset, folder: Path, advice: str) -> int:
    """Return the number of images of a complete dataset; refuse an incomplete one."""
    scan = scan_osie(folder) if is_osie(folder) else scan_folder(folder)
    count = len(scan.train) + len(scan.valid or ())
    problems = scan.problems[:]
    if count != known.train + known.valid:
        problems.append(
            f"{STIMULI}/: {count} images with maps, expected {known.train + known.valid}"
        )
    if problems:
        raise DataError(
            f"These are not the files of {known.title} as published:\n{bullet_list(problems)}\n"
            f"Nothing was unpacked. {advice}"
        )
    return count
