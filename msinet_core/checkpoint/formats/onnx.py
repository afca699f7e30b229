"""ONNX models (``*.onnx``): the network in standard operators, with its weights inside.

The weights are initializers with the network's own names, and the model's metadata hold the
network and a checksum of each weight, so that our files are read back bit for bit.

Source: https://onnx.ai/onnx/repo-docs/IR.html.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from msinet_core.checkpoint.archive import Archive, Checkpoint, StoredTensor
from msinet_core.checkpoint.formats.onnx_ops import GraphWriter, OnnxLayers
from msinet_core.checkpoint.origin import origin_texts, read_origin
from msinet_core.checkpoint.tensors import prepare_tensors, stored_tensor
from msinet_core.errors import CheckpointError
from msinet_core.network.export import OnnxSettings
from msinet_core.network.layout import DataFormat, permutation
from msinet_core.network.state import State
from msinet_core.system.files import atomic_path
from msinet_core.system.version import __version__

NAME, SUFFIX = "onnx", ".onnx"
KERNEL_LAYOUT = "OIHW"
INNER_FORMAT: DataFormat = "NCHW"
OPERATOR_SET = 18
"""The oldest in which all reductions take their axes as an input, as the newest ones do."""

IR_VERSION = 8
"""The oldest that has this operator set, so that old runtimes read the file."""

INPUT, OUTPUT, BATCH = "images", "maps", "batch"
"""The names of the model's input, its output, and the number of images."""

_DTYPES = {1: "float32", 10: "float16"}
"""The names of the types that weights can have (``TensorProto.DataType``)."""


DEFAULTS = OnnxSettings()


def open_archive(path: Path) -> Archive:
    """Open an ONNX model that msinet wrote.

    Args:
        path: The file.

    Raises:
        CheckpointError: It is damaged, or another program wrote it; or onnx is not installed.
    """
    model = _import_onnx().load(path, load_external_data=False)
    texts = {entry.key: entry.value for entry in model.metadata_props}
    graph, metadata = read_origin(texts, path)
    if graph is None:
        raise CheckpointError(
            f"{path} was not written by msinet: it does not hold the description of its network. "
            f"Convert the checkpoint that it was made from."
        )
    known = {parameter.name for parameter in graph.parameters}
    weights = {
        tensor.name: _stored(tensor, texts.get(f"sha256:{tensor.name}"))
        for tensor in model.graph.initializer
        if tensor.name in known
    }
    return Archive(path, weights, graph=graph, metadata=metadata)


def write(path: Path, checkpoint: Checkpoint, settings: OnnxSettings = DEFAULTS) -> None:
    """Write a network with its weights as an ONNX model.

    Args:
        path: The file to make or replace.
        checkpoint: The network and its weights.
        settings: Sizes, types and axes.

    Raises:
        CheckpointError: onnx is not installed, or an op of the network has no counterpart.
        UsageError: Maps would not have the size of the images.
        MsinetError: The disk is full or read-only; the old file is unchanged.
    """
    if settings.image_size is not None:
        checkpoint.graph.check_image_size(settings.image_size)
    model = onnx_model(checkpoint, settings)
    _import_onnx().checker.check_model(model, full_check=True)
    with atomic_path(path) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))


def round_weights(checkpoint: Checkpoint, settings: OnnxSettings) -> Checkpoint:
    """Return the checkpoint that `write` can write bit for bit.

    Args:
        checkpoint: The network and its weights.
        settings: Their precision.

    Raises:
        CheckpointError: A weight is too large for float16.
    """
    if settings.precision == "float32":
        return checkpoint
    weights = {}
    with np.errstate(over="ignore"):
        for name, tensor in checkpoint.state.weights.items():
            weights[name] = tensor.astype(np.float16).astype(np.float32)
            if np.any(np.isinf(weights[name]) & np.isfinite(tensor)):
                raise CheckpointError(
                    f"{name} has values above 65504, the largest of float16. "
                    f"Leave out --precision float16."
                )
    return replace(checkpoint, state=State(weights))


def onnx_model(checkpoint: Checkpoint, settings: OnnxSettings = DEFAULTS) -> Any:
    """Build the ONNX model of a network, with shapes inferred for every value.

    Args:
        checkpoint: The network and its weights.
        settings: Sizes, types and axes.

    Returns:
        An ``onnx.ModelProto``: from images 0..255 with any batch size to maps.

    Raises:
        CheckpointError: onnx is not installed.
        GraphError: An op has no counterpart in ONNX, or does not accept its input's size.
    """
    onnx = _import_onnx()
    graph = checkpoint.graph
    size = settings.image_size
    writer = GraphWriter(None if size is None else graph.sizes(size))
    prepared = prepare_tensors(checkpoint.state.weights, KERNEL_LAYOUT)
    parameters = {
        name: _parameter(writer, name, tensor, settings) for name, (tensor, _) in prepared.items()
    }
    images = _native_images(writer, settings)
    maps = graph.apply(OnnxLayers(writer).builders(), images, parameters, writer.enter)
    _canonical_maps(writer, maps, settings)
    ends = [
        onnx.helper.make_tensor_value_info(name, kind, shape)
        for name, kind, shape in _ends(onnx, checkpoint, settings)
    ]
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            writer.nodes,
            "msinet",
            ends[:1],
            ends[1:],
            writer.initializers,
            doc_string=_describe(settings),
        ),
        opset_imports=[onnx.helper.make_opsetid("", OPERATOR_SET)],
        ir_version=IR_VERSION,
        producer_name="msinet",
        producer_version=__version__,
    )
    checksums = {f"sha256:{name}": checksum for name, (_, checksum) in prepared.items()}
    onnx.helper.set_model_props(model, {**origin_texts(checkpoint, KERNEL_LAYOUT), **checksums})
    inferred = onnx.shape_inference.infer_shapes(
        model, check_type=True, strict_mode=True, data_prop=True
    )
    for value in inferred.graph.value_info:
        batch = value.type.tensor_type.shape.dim[0]
        if batch.dim_param:  # Resize multiplies it by 1, which inference does not follow
            batch.dim_param = BATCH
    return inferred


def _import_onnx() -> Any:
    try:
        import onnx
        import onnx.checker
        import onnx.shape_inference
    except ImportError as error:
        raise CheckpointError(
            f"ONNX models need the package onnx, which is not installed ({error}). "
            f'Run: pip install "msinet[onnx]"'
        ) from error
    return onnx


def _stored(tensor: Any, checksum: str | None) -> StoredTensor:
    declared = _DTYPES.get(tensor.data_type)
    stored = stored_tensor(
        tensor.name,
        tuple(tensor.dims),
        "float32" if declared else f"type {tensor.data_type}",  # float16 is read as float32
        partial(_read, tensor),
        layout=KERNEL_LAYOUT,
        checksum=checksum,
    )
    return replace(stored, dtype=declared or stored.dtype)


def _read(tensor: Any) -> NDArray[np.float32]:
    from onnx import numpy_helper

    if tensor.external_data:
        raise CheckpointError("the values are in another file")
    return np.asarray(numpy_helper.to_array(tensor), np.float32)


def _parameter(
    writer: GraphWriter, name: str, tensor: NDArray[np.float32], settings: OnnxSettings
) -> str:
    stored = writer.constant(name, tensor.astype(settings.precision))
    if settings.precision == "float32":
        return stored
    writer.node_name = name
    return writer.add("Cast", [stored], "float32", to=1)


def _native_images(writer: GraphWriter, settings: OnnxSettings) -> str:
    """Add the nodes from the model's input to float32 images in NCHW."""
    writer.node_name, name = INPUT, INPUT
    if settings.input_type == "uint8":
        name = writer.add("Cast", [name], "float32", to=1)
    if settings.input_format != INNER_FORMAT:
        axes = permutation(settings.input_format, INNER_FORMAT)
        name = writer.add("Transpose", [name], INNER_FORMAT, perm=axes)
    return name


def _canonical_maps(writer: GraphWriter, name: str, settings: OnnxSettings) -> None:
    writer.node_name = OUTPUT
    if settings.input_format == INNER_FORMAT:
        writer.add("Identity", [name])
    else:
        axes = permutation(INNER_FORMAT, settings.input_format)
        writer.add("Transpose", [name], perm=axes)


def _ends(
    onnx: Any, checkpoint: Checkpoint, settings: OnnxSettings
) -> Iterator[tuple[str, int, list[int | str]]]:
    """Yield the name, type and shape of the input and the output."""
    graph, size = checkpoint.graph, settings.image_size
    types = {"float32": onnx.TensorProto.FLOAT, "uint8": onnx.TensorProto.UINT8}
    sizes: list[tuple[Any, Any]] = [("height", "width"), ("map_height", "map_width")]
    if size is not None:
        sizes = [size, graph.sizes(size)[graph.output.name]]
    for name, kind, node, (height, width) in (
        (INPUT, types[settings.input_type], graph.input, sizes[0]),
        (OUTPUT, types["float32"], graph.output, sizes[1]),
    ):
        by_axis = {"N": BATCH, "H": height, "W": width, "C": graph.channels[node.name]}
        yield name, kind, [by_axis[axis] for axis in settings.input_format]


def _describe(settings: OnnxSettings) -> str:
    axes = ", ".join(settings.input_format)
    return (
        f"MSI-Net: from RGB images ({axes}) in 0..255, {settings.input_type}, to saliency maps "
        f"({axes}) in 0..1."
    )
