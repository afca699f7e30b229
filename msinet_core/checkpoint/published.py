"""Published weights, downloaded by name."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from msinet_core.data.download.transfer import download
from msinet_core.data.download.unzip import check_room, open_zip
from msinet_core.data.published import DRIVE
from msinet_core.errors import CheckpointError, MsinetError, UsageError, did_you_mean
from msinet_core.system.files import atomic_folder, cache_folder
from msinet_core.system.progress import Progress

PREFIX = "published:"
"""How the names of published weights begin."""

VGG16_FILE = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
VGG16_ADDRESS = f"https://storage.googleapis.com/tensorflow/keras-applications/vgg16/{VGG16_FILE}"
VGG16_CHECKSUM = "md5:6d6bbae143d832006294945121d1f1fc"
"""Source: keras/src/applications/vgg16.py."""

_MAX_BYTES = 2**30
"""A model has 100 MB."""

MODELS = {
    "salicon": "1Xy9C72pcA8DO4CY0rc6B7wsuE9L9DDZY",
    "mit1003": "1jsESjYtsTvkMqKftA4rdstfB7mSYw5Ec",
    "cat2000": "1XxaEx7xxD6rHasQTa-VY7T7eVpGhMxuV",
    "dutomron": "14tuRZpKi8LMDKRHNVUylu6RuAaXLjHTa",
    "pascals": "1af9IvBqFamKWx64Ror6ALivuKNioOVIf",
    "osie": "1JD1tvAqZGxj_gEGmIfoxb9dTe5HOaHj1",
    "fiwi": "19qj9nAjd5gVHLB71oRn_YfYDw5n4Uf2X",
}
"""The identifiers on Google Drive of the published models for NHWC; no checksums are published.

Source: The reference implementation's download.py.
"""


def folders() -> tuple[Path, ...]:
    """Return the folders that may hold Keras' VGG16 weights: our cache, then Keras' own."""
    keras = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    return cache_folder() / "weights", keras / "models"


def find_vgg16() -> Path | None:
    """Return Keras' VGG16 weights, or None if they are not on this machine."""
    return next((path for folder in folders() if (path := folder / VGG16_FILE).is_file()), None)


def fetch_vgg16(progress: Progress | None = None) -> Path:
    """Download Keras' VGG16 weights into the cache, unless they are in it.

    Args:
        progress: Shows the download.

    Raises:
        MsinetError: The download failed; the message says where to put the file by hand.
    """
    return download(
        VGG16_ADDRESS,
        folders()[0] / VGG16_FILE,
        checksum=VGG16_CHECKSUM,
        limit=_MAX_BYTES,
        progress=progress,
    )


def resolve_weights(name: str | Path, progress: Progress | None = None) -> Path:
    """Return the file behind a name; published weights are downloaded into the cache.

    Args:
        name: ``"published:DATASET"``, or a file, which is returned unchanged.
        progress: Shows the download.

    Returns:
        A file or prefix that `read_weights` takes.

    Raises:
        UsageError: There are no published weights of that name.
        CheckpointError: The archive holds no model.
        MsinetError: The download failed; the message says where to put the file by hand.
    """
    text = str(name)
    if not text.startswith(PREFIX):
        return Path(name)
    dataset = text.removeprefix(PREFIX)
    if dataset not in MODELS:
        hint = did_you_mean(dataset, MODELS).replace("'", f"'{PREFIX}", 1)
        raise UsageError(
            f"Unknown published weights: '{text}'.{hint} Published are "
            f"{', '.join(PREFIX + known for known in MODELS)}."
        )
    folder = folders()[0] / f"published-{dataset}"
    archive = folder.with_suffix(".zip")
    if not folder.is_dir():
        download(DRIVE + MODELS[dataset], archive, limit=_MAX_BYTES, progress=progress)
        _unpack(archive, folder)
    with suppress(OSError):  # also one that an interrupted command left
        archive.unlink()
    return _model(folder)


def _unpack(archive: Path, folder: Path) -> None:
    """Extract the model: a TensorFlow checkpoint, a frozen graph, or both."""
    wanted = re.compile(r"(?:^|/)(model_\w+\.(?:pb|ckpt\.(?:index|data-\d{5}-of-\d{5})))$")
    try:
        with atomic_folder(folder) as new, open_zip(archive) as members:
            found = [
                (member, name[1]) for member in members if (name := wanted.search(member.name))
            ]
            check_room(sum(member.size for member, _ in found), archive, folder.parent)
            for member, file in found:
                member.write(new / file)
            if not found:
                raise CheckpointError(
                    f"{archive} holds no MSI-Net model (model_*.pb or model_*.ckpt.*). Delete it "
                    f"to download it again."
                )
    except MsinetError:
        if not folder.is_dir():  # else another process has unpacked it meanwhile
            raise


def _model(folder: Path) -> Path:
    """Prefer the checkpoint: the names in it are the variables' own."""
    for path in sorted(folder.glob("*.ckpt.index")):
        return path.with_suffix("")
    for path in sorted(folder.glob("*.pb")):
        return path
    raise CheckpointError(
        f"{folder} holds no MSI-Net model (model_*.pb or model_*.ckpt.*). Delete the folder to "
        f"download it again."
    )
