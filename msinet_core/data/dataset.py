"""Open a data set by its name or its folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from msinet_core.data.demo import demo_folder, make_demo
from msinet_core.data.folder import LAYOUT, SALIENCY, STIMULI, Scan, scan_folder
from msinet_core.data.osie import OSIE_LAYOUT, is_osie, scan_osie
from msinet_core.data.published import PUBLISHED, PublishedDataset, split
from msinet_core.data.sample import Sample
from msinet_core.errors import DataError, UsageError, bullet_list, did_you_mean
from msinet_core.network.msinet import DEFAULT_IMAGE_SIZE
from msinet_core.network.ops import Size

DEFAULT_ROOT = Path("data")
"""Where named data sets are looked for when nothing else is said."""

DEMO = "demo"
_PROBLEMS_SHOWN = 200


@dataclass(frozen=True)
class Dataset:
    """Images with true maps, divided into training and validation.

    Args:
        name: What it is called.
        image_size: Height and width in pixels that images are fitted into unless asked otherwise.
        train: For training, in the order in which they are used without shuffling.
        valid: For validation.
        has_own_size: Whether `image_size` belongs to the data set, or is what is used when nobody
            says anything.
    """

    name: str
    image_size: Size
    train: tuple[Sample, ...]
    valid: tuple[Sample, ...]
    has_own_size: bool = True


def open_dataset(name_or_folder: str, root: Path | None = None, *, seed: int = 42) -> Dataset:
    """Open a data set and pair its files; the images themselves are not read yet.

    A published name means the folder of that name under `root`, with its published image size and
    split; ``demo`` makes its images when they are not there. Anything else is a folder with
    ``stimuli/`` and ``saliency/``, each with ``train/`` and ``val/`` or flat, and then split 80 to
    20; ``fixations/`` is used where it exists.

    Args:
        name_or_folder: For example ``"osie"``, or the path of a folder.
        root: The folder that named data sets are in; None for ``data``.
        seed: Decides the split of a folder that is not split.

    Raises:
        UsageError: There is no such name or folder, or no data set of that name on this machine.
        DataError: Its files do not fit together; all that do not are listed.
    """
    dataset, problems = survey(name_or_folder, root, seed=seed)
    folder = find_folder(name_or_folder, root)
    if problems and folder is not None and (folder.resolve().parent / STIMULI).is_dir():
        raise UsageError(
            f"{folder} is a part of a data set; --data takes the whole of it. "
            f"Did you mean '{folder.parent}'?"
        )
    if problems:
        count = f"{len(problems)} problem{'s' if problems[1:] else ''}"
        raise DataError(
            f"Data set '{name_or_folder}' cannot be used, {count}:\n"
            f"{bullet_list(problems, _PROBLEMS_SHOWN)}\n"
            f"Every image needs one map of the same name. Add, rename or remove the files listed; "
            f"msinet-run data check {name_or_folder} looks again.\n{LAYOUT}"
        )
    return dataset


def survey(
    name_or_folder: str, root: Path | None = None, *, seed: int = 42
) -> tuple[Dataset, list[str]]:
    """Open what can be used of a data set, and list every file that does not fit.

    Args:
        name_or_folder: As for `open_dataset`.
        root: As for `open_dataset`.
        seed: As for `open_dataset`.

    Raises:
        UsageError: There is no such name or folder, or no data set of that name on this machine.
        DataError: A file that all of it needs cannot be read.
    """
    published = PUBLISHED.get(name_or_folder)
    folder = find_folder(name_or_folder, root)
    if folder is None and name_or_folder == DEMO:
        folder = make_demo(demo_folder(cache_folder()))
    if folder is None:
        raise _not_found(name_or_folder, root)
    scan = scan_folder(folder)
    if is_osie(folder) and (name_or_folder == "osie" or not (folder / SALIENCY).is_dir()):
        scan, published = scan_osie(folder, cache_folder()), PUBLISHED["osie"]
    train, valid, problems = _split(scan, published, seed)
    image_size = published.image_size if published else DEFAULT_IMAGE_SIZE
    name = name_or_folder if folder != Path(name_or_folder) else folder.resolve().name
    own_size = published is not None
    return Dataset(name, image_size, tuple(train), tuple(valid), own_size), problems


def find_folder(name_or_folder: str, root: Path | None = None) -> Path | None:
    """Find where a data set lies; None if it does not.

    Args:
        name_or_folder: As for `open_dataset`.
        root: As for `open_dataset`.
    """
    named = (root or DEFAULT_ROOT) / name_or_folder
    if name_or_folder in PUBLISHED or name_or_folder == DEMO:
        return named if named.is_dir() else None
    candidates = (Path(name_or_folder).expanduser(), named)
    return next((path for path in candidates if path.is_dir()), None)


def cache_folder() -> Path:
    """Return the folder for what can be made again, in the system's place for such things."""
    import platformdirs

    return platformdirs.user_cache_path("msinet", appauthor=False)


def _split(
    scan: Scan, published: PublishedDataset | None, seed: int
) -> tuple[list[Sample], list[Sample], list[str]]:
    samples, count = scan.train, len(scan.train)
    if scan.valid is not None:
        return scan.train, scan.valid, scan.problems
    if published is None:
        n_train, expected, categories = count - max(1, round(count / 5)), None, 1
    else:
        n_train, expected = published.train, published.train + published.valid
        seed, categories = 42, published.categories
    if scan.problems:
        return samples, [], scan.problems
    if published is not None and published.fixed_split:
        problem = f"{STIMULI}/: not divided into train/ and val/, as {published.title} is"
        return samples, [], [problem]
    if published is not None and count != expected:
        problem = (
            f"{STIMULI}/: {count} images, {published.title} has {expected} and its published split "
            f"needs all of them (give the folder another name to use it as a set of your own)"
        )
        return samples, [], [problem]
    if count < 2:
        problem = f"{STIMULI}/: one image cannot be split; one is needed to validate with"
        return samples, [], [problem]
    train, valid = split(count, n_train, seed, categories)
    return [samples[place] for place in train], [samples[place] for place in valid], []


def _not_found(name: str, root: Path | None) -> UsageError:
    expected = (root or DEFAULT_ROOT) / name
    if name in PUBLISHED:
        sources = [f"{source.what}: {source.address}" for source in PUBLISHED[name].sources]
        return UsageError(
            f"Data set '{name}' is not at {expected}. It comes from\n{bullet_list(sources)}\n"
            f"msinet-run data fetch {name} puts it in its place. Or put it there yourself, or name "
            f"the folder that holds {name}/ with --data-root.\n"
            f"{OSIE_LAYOUT if name == 'osie' else LAYOUT}"
        )
    if Path(name).exists():
        return UsageError(f"{name} is a file; --data takes a name or a folder.\n{LAYOUT}")
    return UsageError(
        f"There is no data set and no folder '{name}', nor {expected}.{_known_names(name)}; any "
        f"folder with stimuli/ and saliency/ will do."
    )


def unknown_name(name: str) -> UsageError:
    """Say which data sets have names, to somebody who typed another one.

    Args:
        name: What was typed.
    """
    return UsageError(f"There is no data set '{name}'.{_known_names(name)}.")


def _known_names(name: str) -> str:
    names = [DEMO, *PUBLISHED]
    return f"{did_you_mean(name, names)} Data sets by name: {', '.join(names)}"
