"""Published weights, downloaded when they are asked for by name."""

from __future__ import annotations

import re
from pathlib import Path

from msinet_core.checkpoint import keras_vgg16
from msinet_core.data.download.transfer import download
from msinet_core.data.download.unzip import check_room, open_zip
from msinet_core.errors import CheckpointError, MsinetError, UsageError, did_you_mean, os_reason
from msinet_core.system.files import atomic_folder
from msinet_core.system.progress import Progress

PREFIX = "published:"
"""What the names of published weights begin with, where a file is expected."""

VGG16_CHECKSUM = "md5:6d6bbae143d832006294945121d1f1fc"
VGG16_SIZE = 58_889_256
"""Source: keras/src/applications/vgg16.py, and what Keras shows when it downloads the file."""

_LARGEST = 2**30
"""Bytes; a model has 100 MB."""

_DRIVE = "https://drive.google.com/uc?export=download&id="
MODELS = {
    "salicon": "1Xy9C72pcA8DO4CY0rc6B7wsuE9L9DDZY",
    "mit1003": "1jsESjYtsTvkMqKftA4rdstfB7mSYw5Ec",
    "cat2000": "1XxaEx7xxD6rHasQTa-VY7T7eVpGhMxuV",
    "dutomron": "14tuRZpKi8LMDKRHNVUylu6RuAaXLjHTa",
    "pascals": "1af9IvBqFamKWx64Ror6ALivuKNioOVIf",
    "osie": "1JD1tvAqZGxj_gEGmIfoxb9dTe5HOaHj1",
    "fiwi": "19qj9nAjd5gVHLB71oRn_YfYDw5n4Uf2X",
}
"""Where on Google Drive the published models are, those for NHWC. No checksums are published.

Source: The reference implementation's download.py.
"""


def fetch_vgg16(progress: Progress | None = None) -> Path:
    """Download Keras' VGG16 weights into the cache unless they are there.

    Args:
        progress: Shows what happens.

    Raises:
        MsinetError: They cannot be had; says where to put them by hand.
    """
    return download(
        keras_vgg16.ADDRESS,
        keras_vgg16.folders()[0] / keras_vgg16.FILE_NAME,
        checksum=VGG16_CHECKSUM,
        size=VGG16_SIZE,
        progress=progress,
    )


def resolve_weights(name: str | Path, progress: Progress | None = None) -> Path:
    """Give the file behind a name; published weights are downloaded unless they are here.

    Args:
        name: ``"published:DATASET"``, or a file, which is returned as it is.
        progress: Shows what happens.

    Returns:
        A file or prefix that `read_weights` takes.

    Raises:
        UsageError: No weights of that name were published.
        CheckpointError: The archive holds no model.
        MsinetError: The archive cannot be had or used; says where to put it by hand.
    """
    text = str(name)
    if not text.startswith(PREFIX):
        return Path(name)
    dataset = text.removeprefix(PREFIX)
    if dataset not in MODELS:
        hint = did_you_mean(dataset, MODELS).replace("'", f"'{PREFIX}", 1)
        raise UsageError(
            f"No weights were published as '{text}'.{hint} There are "
            f"{', '.join(PREFIX + known for known in MODELS)}."
        )
    folder = keras_vgg16.folders()[0] / f"published-{dataset}"
    if not folder.is_dir():
        archive = folder.with_suffix(".zip")
        download(_DRIVE + MODELS[dataset], archive, limit=_LARGEST, progress=progress)
        _unpack(archive, folder)
        archive.unlink()
    return _model(folder)


def _unpack(archive: Path, folder: Path) -> None:
    """Take the model out of the archive: a TensorFlow checkpoint, a frozen graph, or both."""
    wanted = re.compile(r"(?:^|/)(model_\w+\.(?:pb|ckpt\.(?:index|data-\d{5}-of-\d{5})))$")
    try:
        with open_zip(archive) as members, atomic_folder(folder) as new:
            found = [
                (member, name[1]) for member in members if (name := wanted.search(member.name))
            ]
            check_room([member for member, _ in found], archive, folder.parent)
            for member, file in found:
                member.write(new / file)
            if not found:
                raise CheckpointError(
                    f"{archive} holds no MSI-Net model (model_*.pb or model_*.ckpt.*). Remove it, "
                    f"and the next call downloads it again."
                )
    except OSError as error:
        raise MsinetError(
            f"{archive} cannot be unpacked: {os_reason(error)}. Make room, and run the "
            f"command again."
        ) from error


def _model(folder: Path) -> Path:
    """Prefer the checkpoint: the names in it are the variables' own."""
    for path in sorted(folder.glob("*.ckpt.index")):
        return path.with_suffix("")
    for path in sorted(folder.glob("*.pb")):
        return path
    raise CheckpointError(
        f"{folder} holds no MSI-Net model (model_*.pb or model_*.ckpt.*). Remove the folder, and "
        f"the next call downloads it again."
    )
