"""Open a dataset by its name or its folder."""

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
"""The default folder of named datasets."""

DEMO = "demo"
_PROBLEMS_SHOWN = 200


@dataclass(frozen=True)
class Dataset:
    """Images with true maps, divided into training and validation.

    Args:
        name: Its name.
        image_size: The default height and width in pixels that images are fitted to.
        train: For training, in the order without shuffling.
        valid: For validation.
        has_own_size: Whether `image_size` was published with the dataset.
    """

    name: str
    image_size: Size
    train: tuple[Sample, ...]
    valid: tuple[Sample, ...]
    has_own_size: bool = True


def open_dataset(name_or_folder: str, root: Path | None = None, *, seed: int = 42) -> Dataset:
    """Open a dataset and pair its files; the images themselves are not read yet.

    A published name is the folder of that name in `root`, with its published image size and split;
    ``demo`` is created if it is missing. Anything else is a folder with ``stimuli/`` and
    ``saliency/``, each with ``train/`` and ``val/``, or flat and then split 80 to 20;
    ``fixations/`` is optional.

    Args:
        name_or_folder: For example ``"osie"``, or the path of a folder.
        root: The folder that contains named datasets; None for ``data``.
        seed: Determines the split of a folder without ``train/`` and ``val/``.

    Raises:
        UsageError: No such name or folder, or the named dataset is not on this machine.
        DataError: Its files do not match; all problems are listed.
    """
    dataset, problems = survey(name_or_folder, root, seed=seed)
    folder = find_folder(name_or_folder, root)
    if problems and folder is not None and (folder.resolve().parent / STIMULI).is_dir():
        raise UsageError(f"{folder} is only a part of a dataset. Did you mean '{folder.parent}'?")
    if problems:
        count = f"{len(problems)} problem{'s' if problems[1:] else ''}"
        raise DataError(
            f"Dataset '{name_or_folder}' has {count}:\n"
            f"{bullet_list(problems, _PROBLEMS_SHOWN)}\n"
            f"Every image needs one map of the same name. Add, rename or remove the files listed, "
            f"and run: msinet-run data check {name_or_folder}\n{LAYOUT}"
        )
    return dataset


def survey(
    name_or_folder: str, root: Path | None = None, *, seed: int = 42
) -> tuple[Dataset, list[str]]:
    """Open the usable part of a dataset, and list every file that does not match.

    Args:
        name_or_folder: As for `open_dataset`.
        root: As for `open_dataset`.
        seed: As for `open_dataset`.

    Raises:
        UsageError: No such name or folder, or the named dataset is not on this machine.
        DataError: A file of all images, such as OSIE's fixations, cannot be read.
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
    """Return the folder of a dataset; None if it does not exist.

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
    """Return the user's cache folder: for files that can be created again."""
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
        problem = f"{STIMULI}/: not divided into train/ and val/, unlike {published.title}"
        return samples, [], [problem]
    if published is not None and count != expected:
        problem = (
            f"{STIMULI}/: {count} images, but {published.title} has {expected}, and its published "
            f"split needs all of them (rename the folder to use it as your own dataset)"
        )
        return samples, [], [problem]
    if count < 2:
        problem = f"{STIMULI}/: one image cannot be split into training and validation"
        return samples, [], [problem]
    train, valid = split(count, n_train, seed, categories)
    return [samples[index] for index in train], [samples[index] for index in valid], []


def _not_found(name: str, root: Path | None) -> UsageError:
    expected = (root or DEFAULT_ROOT) / name
    if name in PUBLISHED:
        sources = [f"{source.what}: {source.address}" for source in PUBLISHED[name].sources]
        return UsageError(
            f"Dataset '{name}' is not at {expected}. Download it with: msinet-run data fetch {name}"
            f"\nOr download it by hand from\n{bullet_list(sources)}\n"
            f"If you have it, pass the folder that contains {name}/ as --data-root.\n"
            f"{OSIE_LAYOUT if name == 'osie' else LAYOUT}"
        )
    if Path(name).exists():
        return UsageError(f"{name} is a file, but --data takes a name or a folder.\n{LAYOUT}")
    return UsageError(
        f"No such dataset or folder: '{name}' (nor {expected}).{_known_names(name)}. Any folder "
        f"with stimuli/ and saliency/ is a dataset too."
    )


def unknown_name(name: str) -> UsageError:
    """Return the error for an unknown name of a dataset.

    Args:
        name: The name.
    """
    return UsageError(f"No such dataset: '{name}'.{_known_names(name)}.")


def _known_names(name: str) -> str:
    names = [DEMO, *PUBLISHED]
    return f"{did_you_mean(name, names)} Named datasets: {', '.join(names)}"
