"""PyTorch's state_dict files, ``*.pt`` and ``*.pth``: pickles, so only PyTorch's own reader for
weights opens them, and never the pickle machine of Python.

Source: https://docs.pytorch.org/docs/stable/notes/serialization.html
"""

from __future__ import annotations

import importlib
import math
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from msinet_core.checkpoint import names, origin
from msinet_core.checkpoint.archive import Archive, Checkpoint, StoredTensor
from msinet_core.checkpoint.safetensors import LAYOUTS, written_tensors
from msinet_core.errors import CheckpointError
from msinet_core.network.layout import CANONICAL_KERNEL_LAYOUT, permutation, transpose
from msinet_core.system.files import atomic_path

if TYPE_CHECKING:
    from numpy.typing import NDArray

SUFFIXES = (".pt", ".pth")
LAYOUT = LAYOUTS["torch"]
"""The order of a convolution's kernel in PyTorch, whatever its memory format."""

_ORIGIN = "msinet"
"""The entry of a state_dict's ``_metadata``, which modules ignore."""


def matches(path: Path) -> bool:
    """Tell whether a file is named as PyTorch's are.

    Args:
        path: Any path.
    """
    return path.name.endswith(SUFFIXES) and path.is_file()


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Open a state_dict, or a dictionary with one under ``state_dict``.

    Args:
        path: The file.

    Raises:
        CheckpointError: PyTorch is not installed, or the file is damaged or refused.
    """
    state, texts = load(path)
    graph, metadata = origin.read_origin(texts, path)
    keys = names.unique(((names.from_torch_name(key, graph), key) for key in state), path)
    weights = {
        name: stored(key, state[key], texts.get(f"sha256:{key}")) for name, key in keys.items()
    }
    yield Archive(path, weights, graph=graph, metadata=metadata)


def write(path: Path, checkpoint: Checkpoint) -> None:
    """Write a state_dict.

    Args:
        path: The file to make or replace.
        checkpoint: Whose weights are written.

    Raises:
        CheckpointError: PyTorch is not installed, or the network's names do not fit.
        MsinetError: The disk refuses; the old file is whole.
    """
    torch = _torch(path)
    texts = origin.origin_texts(checkpoint, LAYOUT)
    state: Any = OrderedDict()
    keys = names.torch_names(checkpoint.graph)
    weights = {key: checkpoint.state.weights[name] for name, key in keys.items()}
    for key, (tensor, checksum) in written_tensors(weights, LAYOUT).items():
        texts[f"sha256:{key}"] = checksum
        state[key] = torch.from_numpy(tensor)
    state._metadata = OrderedDict({_ORIGIN: texts})
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        torch.save(state, stream)


def load(path: Path) -> tuple[Mapping[str, Any], Mapping[str, str]]:
    """Read a state_dict's tensors, and the texts that `write` put beside them.

    Args:
        path: The file.

    Raises:
        CheckpointError: PyTorch is not installed, or the file is damaged or refused.
    """
    torch = _torch(path)
    _check_archive(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged or hostile pickle makes PyTorch raise
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"{path} is refused or damaged: PyTorch does not read it as weights alone ({reason}). "
            f"Save the model's state_dict, from a source you trust, and nothing else."
        ) from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not state:
        raise CheckpointError(f"{path} holds no state_dict. Save model.state_dict().")
    odd = [key for key, value in state.items() if not _is_weight(torch, key, value)]
    if odd:
        raise CheckpointError(
            f"{path} holds more than weights: {', '.join(map(repr, odd[:5]))}. "
            f"Save model.state_dict() alone."
        )
    texts = getattr(state, "_metadata", {}).get(_ORIGIN, {})
    return state, texts if isinstance(texts, dict) else {}


def stored(key: str, tensor: Any, checksum: str | None = None) -> StoredTensor:
    """Describe a tensor of PyTorch's as canonical.

    Args:
        key: Its key in the state_dict.
        tensor: A torch.Tensor on the processor.
        checksum: The one stored with it.
    """
    shape = tuple(tensor.shape)
    if len(shape) == 4:
        shape = tuple(shape[axis] for axis in permutation(LAYOUT, CANONICAL_KERNEL_LAYOUT))
    return StoredTensor(
        shape=shape,
        dtype=str(tensor.dtype).removeprefix("torch."),
        has_checksum=checksum is not None,
        read=partial(_read_tensor, key, tensor, checksum),
    )


def _read_tensor(key: str, tensor: Any, checksum: str | None) -> NDArray[np.float32]:
    if str(tensor.dtype) != "torch.float32":
        raise CheckpointError(f"it is {tensor.dtype}, and weights are torch.float32")
    array: NDArray[np.float32] = np.ascontiguousarray(tensor.detach().numpy())
    origin.verify(key, array, checksum)
    if array.ndim == 4:
        return transpose(array, LAYOUT, CANONICAL_KERNEL_LAYOUT)
    return array.copy()


def _is_weight(torch: Any, key: Any, value: Any) -> bool:
    # A tensor can claim a shape of any size over a small storage, by strides of zero.
    return (
        isinstance(key, str)
        and isinstance(value, torch.Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and math.prod(value.shape) * value.element_size() <= value.untyped_storage().nbytes()
    )


def _check_archive(path: Path) -> None:
    """Refuse compressed members, which PyTorch never writes and which could be of any size."""
    if not zipfile.is_zipfile(path):
        return  # PyTorch's format before 1.6, as torchvision's VGG16 still is
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, EOFError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged: {error}. Copy or download it again.") from error
    whole = path.stat().st_size
    if (
        any(member.compress_type != zipfile.ZIP_STORED for member in members)
        or sum(member.file_size for member in members) > whole
    ):
        raise CheckpointError(
            f"{path} is refused: its members are compressed, which PyTorch's are not, and would "
            f"unpack to any size. Use a file from a source you trust."
        )


def _torch(path: Path) -> Any:
    try:
        # PyTorch is no dependency: what it gives is Any here.
        return importlib.import_module("torch")
    except ImportError as error:
        raise CheckpointError(
            f"{path} is in PyTorch's own format, a pickle, which only PyTorch reads and writes "
            f"safely, and PyTorch is not here ({error}). Run: pip install torch. "
            f"Or use *.safetensors, which need none."
        ) from error
