"""Open a dataset by its name or its folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from msinet_core.data.demo import demo_folder, make_demo
from msinet_core.data.folder import FIXATIONS, LAYOUT, PARTS, SALIENCY, STIMULI, Scan, scan_folder
from msinet_core.data.maps import recorded_sigma
from msinet_core.data.osie import OSIE_LAYOUT, OSIE_SIGMA, is_osie, scan_osie
from msinet_core.data.published import PUBLISHED, PublishedDataset, split
from msinet_core.data.sample import Sample
from msinet_core.errors import DataError, UsageError, bullet_list, command, counted, did_you_mean
from msinet_core.network.msinet import DEFAULT_IMAGE_SIZE
from msinet_core.network.ops import Size
from msinet_core.system.files import check_writable, is_stream
from msinet_core.system.settings import SPLIT_SEED

SplitName = Literal["train", "valid", "test"]
SPLIT_NAMES: tuple[SplitName, ...] = get_args(SplitName)

DEFAULT_ROOT = Path("data")
"""The default folder of named datasets."""

DEMO = "demo"
_PROBLEMS_SHOWN = 200


@dataclass(frozen=True)
class Dataset:
    """Images with true maps, fixations or both, divided into training, validation and test.

    Args:
        name: Its name.
        folder: Its folder.
        image_size: The default height and width in pixels that images are fitted to.
        train: For training, in the order without shuffling.
        valid: For validation.
        has_own_size: Whether `image_size` was published with the dataset.
        test: For a final test; empty unless the folder has ``test/``.
        sigma: Standard deviation in pixels of the Gaussian at each fixation of the maps; None if
            it is not known.
        unused: A line for every file and folder that is left out.
    """

    name: str
    folder: Path
    image_size: Size
    train: tuple[Sample, ...]
    valid: tuple[Sample, ...]
    has_own_size: bool = True
    test: tuple[Sample, ...] = ()
    sigma: float | None = None
    unused: tuple[str, ...] = ()

    @property
    def samples(self) -> tuple[Sample, ...]:
        """All images."""
        return self.train + self.valid + self.test

    def part(self, name: SplitName) -> tuple[Sample, ...]:
        """Return the images of one split.

        Args:
            name: ``"train"``, ``"valid"`` or ``"test"``.
        """
        samples: tuple[Sample, ...] = getattr(self, name)
        return samples


def open_dataset(
    name_or_folder: str,
    root: Path | None = None,
    *,
    split_seed: int = SPLIT_SEED,
    sigma: float | None = None,
    need_maps: bool = True,
) -> Dataset:
    """Open a dataset and pair its files; the images themselves are not read yet.

    A published name is the folder of that name in `root`, with its published image size and split;
    ``demo`` is created if it is missing. Anything else is a folder with ``stimuli/`` and
    ``saliency/``, ``fixations/`` or both, each with ``train/``, ``val/`` and optionally ``test/``,
    or flat and then split 80 to 20; or a folder in OSIE's format.

    Args:
        name_or_folder: For example ``"osie"``, or the path of a folder.
        root: The folder that contains named datasets; None for ``data``.
        split_seed: Determines the split of a folder without ``train/`` and ``val/``.
        sigma: Draw the maps from the fixations, with a Gaussian of this standard deviation in
            pixels; None: use the dataset's maps.
        need_maps: Refuse a dataset without maps; otherwise fixations are enough.

    Raises:
        UsageError: No such name or folder, or the named dataset is not on this machine.
        DataError: Its files do not match; all problems are listed.
    """
    dataset, problems = survey(name_or_folder, root, split_seed=split_seed, sigma=sigma)
    folder = dataset.folder
    if problems and (folder.resolve().parent / STIMULI).is_dir():
        raise UsageError(f"{folder} is only a part of a dataset. Did you mean '{folder.parent}'?")
    if problems:
        raise DataError(
            f"Dataset '{name_or_folder}' has {counted(len(problems), 'problem')}:\n"
            f"{bullet_list(problems, _PROBLEMS_SHOWN)}\n"
            f"Every image needs one file of the same name in {SALIENCY}/, or in {FIXATIONS}/ if "
            f"there are no maps. Add, rename or remove the files listed, and run: "
            f"{command('data', 'check', name_or_folder, data_root=root)}\n{LAYOUT}"
        )
    if need_maps and not all(sample.has_map for sample in dataset.samples):
        draw = command("data", "maps", name_or_folder, data_root=root, sigma="PX")
        raise DataError(
            f"Dataset '{name_or_folder}' has fixations but no maps, which training compares with. "
            f"Draw them with: {draw}, where PX is about one degree of visual angle in pixels"
        )
    return dataset


def survey(
    name_or_folder: str,
    root: Path | None = None,
    *,
    split_seed: int = SPLIT_SEED,
    sigma: float | None = None,
) -> tuple[Dataset, list[str]]:
    """Open the usable part of a dataset, and list every file that does not match.

    Args:
        name_or_folder: As for `open_dataset`.
        root: As for `open_dataset`.
        split_seed: As for `open_dataset`.
        sigma: As for `open_dataset`.

    Returns:
        The usable part, and a line for every file that does not match.

    Raises:
        UsageError: No such name or folder, or the named dataset is not on this machine.
        DataError: A file of all images, such as OSIE's fixations, cannot be read.
    """
    published = PUBLISHED.get(name_or_folder)
    folder = find_folder(name_or_folder, root)
    if folder is None and name_or_folder == DEMO:
        folder = make_demo(demo_folder())
    if folder is None:
        raise _not_found(name_or_folder, root)
    known_sigma = sigma or recorded_sigma(folder / SALIENCY)
    if is_osie(folder):
        scan = scan_osie(folder, sigma or OSIE_SIGMA)
        known_sigma = known_sigma or (None if (folder / SALIENCY).is_dir() else OSIE_SIGMA)
    else:
        scan = scan_folder(folder)
    if known_sigma is None and published:
        known_sigma = published.sigma
    if sigma is not None:
        scan = _with_drawn_maps(scan, sigma)
    train, valid, problems = _split(scan, published, split_seed)
    image_size = published.image_size if published else DEFAULT_IMAGE_SIZE
    name = name_or_folder if folder != Path(name_or_folder) else folder.resolve().name
    dataset = Dataset(
        name,
        folder,
        image_size,
        tuple(train),
        tuple(valid),
        has_own_size=published is not None,
        test=tuple(scan.test),
        sigma=known_sigma,
        unused=tuple(scan.unused),
    )
    return dataset, problems


def _with_drawn_maps(scan: Scan, sigma: float) -> Scan:
    samples = (*scan.train, *(scan.valid or ()), *scan.test)
    without = [sample for sample in samples if sample.fixations is None]
    if len(without) == len(samples) and not scan.problems:
        raise UsageError(
            "The dataset has no fixations, which --sigma draws maps from. Leave out --sigma to use "
            "its maps."
        )
    problems = [f"{one.stimulus}: no fixations to draw its map from (--sigma)" for one in without]

    def drawn(part: list[Sample]) -> list[Sample]:
        return [replace(sample, map=None, sigma=sigma) for sample in part]

    valid = None if scan.valid is None else drawn(scan.valid)
    problems = scan.problems + problems
    return Scan(drawn(scan.train), valid, problems, drawn(scan.test), scan.unused)


def find_folder(name_or_folder: str, root: Path | None = None) -> Path | None:
    """Return the folder of a dataset; None if it does not exist.

    Args:
        name_or_folder: As for `open_dataset`.
        root: As for `open_dataset`.
    """
    if not name_or_folder:
        return None  # not the current folder
    named = (root or DEFAULT_ROOT) / name_or_folder
    if name_or_folder in PUBLISHED or name_or_folder == DEMO:
        return named if named.is_dir() else None
    candidates = (Path(name_or_folder).expanduser(), named)
    return next((path for path in candidates if path.is_dir()), None)


def namesake(name_or_folder: str, root: Path | None = None) -> Iterator[str]:
    """Say it if a folder has the name of a dataset, and is not used.

    Args:
        name_or_folder: As for `open_dataset`.
        root: As for `open_dataset`.
    """
    folder, used = Path(name_or_folder), find_folder(name_or_folder, root)
    is_name = name_or_folder in PUBLISHED or name_or_folder == DEMO
    is_used = used is not None and used.resolve() == folder.resolve()
    if is_name and not is_used and (folder / STIMULI).is_dir():
        yield (
            f"'{name_or_folder}' is the name of a dataset, so the folder of this name is not used. "
            f"For the folder, write ./{name_or_folder}"
        )


def check_apart(path: Path, name_or_folder: str, root: Path | None) -> None:
    """Refuse to write among the files of a dataset.

    Args:
        path: The file or folder to write.
        name_or_folder: The dataset, as for `open_dataset`.
        root: As for `open_dataset`.

    Raises:
        UsageError: It is the dataset's folder, or in one of the folders of its files.
    """
    folder = find_folder(name_or_folder, root)
    if folder is None:
        return
    target, parts = path.resolve(), {(folder / part).resolve() for part in PARTS}
    if target == folder.resolve() or not parts.isdisjoint((target, *target.parents)):
        raise UsageError(f"{path} is among the files of the dataset. Choose another folder.")


def check_output(
    path: Path, suffixes: Sequence[str], name_or_folder: str, root: Path | None
) -> None:
    """Refuse a file of results that could replace an image, a map, fixations or weights.

    Args:
        path: The file to create or replace.
        suffixes: Those that such a file may have.
        name_or_folder: The dataset, as for `open_dataset`.
        root: As for `open_dataset`.

    Raises:
        UsageError: It has another suffix, or is in a folder of the dataset's files.
        MsinetError: It cannot be written.
    """
    if path.suffix.lower() not in suffixes and not is_stream(path):
        raise UsageError(
            f"Results go to a file *{suffixes[0]}, not to {path}. Use, for example, "
            f"{path.stem}{suffixes[0]}"
        )
    check_apart(path, name_or_folder, root)
    check_writable(path)


def _split(
    scan: Scan, published: PublishedDataset | None, seed: int
) -> tuple[list[Sample], list[Sample], list[str]]:
    samples, count, problem = scan.train, len(scan.train), ""
    if scan.valid is not None:
        return samples, scan.valid, scan.problems
    train_count, categories = count - max(1, round(count / 5)), 1
    if published is not None:
        train_count, expected = published.train, published.train + published.valid
        seed, categories = SPLIT_SEED, published.categories
        if published.fixed_split:
            problem = f"not divided into train/ and val/, unlike {published.title}"
        elif count != expected:
            problem = (
                f"{count} images, but {published.title} has {expected}, and its published split "
                f"needs all of them (rename the folder to use it as your own dataset)"
            )
    elif count < 2:
        problem = "one image cannot be split into training and validation"
    if scan.problems or problem:
        return samples, [], scan.problems or [f"{STIMULI}/: {problem}"]
    train, valid = split(count, train_count, seed, categories)
    return [samples[index] for index in train], [samples[index] for index in valid], []


def _not_found(name: str, root: Path | None) -> UsageError:
    expected = (root or DEFAULT_ROOT) / name
    if name in PUBLISHED:
        sources = [f"{source.what}: {source.address}" for source in PUBLISHED[name].sources]
        return UsageError(
            f"Dataset '{name}' is not at {expected}. Download it with: "
            f"{command('data', 'fetch', name, data_root=root)}\n"
            f"Or download it by hand from\n{bullet_list(sources)}\n"
            f"If you have it, pass the folder that contains {name}/ as --data-root.\n"
            f"{OSIE_LAYOUT if name == 'osie' else LAYOUT}"
        )
    if name and Path(name).exists():
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
