"""Files made to exhaust time or memory, to mislead, or to reach what no reader expects."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
from hostile import (
    LAYOUT,
    NAME,
    attribute,
    big_pb,
    constant,
    crc_bomb,
    doubled,
    false_size,
    hdf5,
    legacy_npz,
    long_layer_name,
    long_path,
    many_attributes,
    many_groups,
    metadata_of,
    native_graph,
    native_text,
    raw_table,
    renamed,
    repeated,
    safetensors,
    table,
    tensor,
    torch_dtype,
    torch_file,
    torch_legacy,
    torch_tensor,
    unpacked,
    variable,
    zip_file,
)

from msinet_core.checkpoint.wire import protobuf

_LONG = b"\x8a\x08"
_DEEP = b"K\x01" + b"K\x01\x86" * 190_000
_2_40 = _LONG + struct.pack("<q", 2**40)

ATTACKS: dict[str, Callable[[Path], Path]] = {
    ".keras: a false size in the directory": false_size,
    ".keras: LZMA": zip_file("x.keras", {"model.weights.h5": bytes(3 * 10**7)}, zipfile.ZIP_LZMA),
    ".keras: 25,000 members": zip_file("x.keras", {f"assets/{n}": b"" for n in range(25_000)}),
    ".keras: control characters": zip_file("x.keras", {NAME: b""}),
    "native: image_size of 40,000 x 40,000": metadata_of({"image_size": [40_000, 40_000]}),
    "native: NaN and control characters": metadata_of(
        '{"step": NaN, "epoch": 1e999, "\\u001b[2J\\n": "\\u202e\\ud800\\u001b]0;x\\u0007"}'
    ),
    "native: metadata of 390,000 lists": metadata_of({"a": [[] for _ in range(195_000)]}),
    "native: metadata of a million lists": metadata_of({"a": [[] for _ in range(10**6)]}),
    "native: metadata of one long text": metadata_of({"a": "x" * 5_000_000}),
    "native: nested metadata": metadata_of("[" * 200_000 + "]" * 200_000),
    "native: a step of 2^64 - 1": native_text("optimizer/step", str(2**64 - 1)),
    "native: a step of 5,000 digits": native_text("optimizer/step", "9" * 5_000),
    "native: a Resize of 4,096": attribute("Resize", scale=4096),
    "native: a pool of 10^9 pixels": attribute("MaxPool2D", pool_size=10**9, padding="SAME"),
    "native: strides of 10^9": attribute("MaxPool2D", strides=10**9),
    "native: dilation of 10^9": attribute("Conv2D", dilation=10**9),
    "native: an epsilon of infinity": attribute("MinMaxNormalize", epsilon=1e999),
    "native: a number as text": attribute("Conv2D", filters="1"),
    "native: a fraction of channels": attribute("Conv2D", filters=1.5),
    "native: 10^18 channels": attribute("Conv2D", filters=10**18),
    "native: a list as a number": attribute("Conv2D", dilation=[[1]]),
    "native: concatenations doubled 60 times": native_graph(doubled),
    "native: control characters in a node's name": native_graph(renamed),
    "HDF5: 21,000 groups": hdf5(many_groups),
    "HDF5: 15,000 groups in one with a long name": hdf5(long_path),
    "HDF5: 8,000 tensors of a layer with a long name": hdf5(long_layer_name),
    "HDF5: 5,000 attributes": hdf5(many_attributes),
    "HDF5: complex numbers": hdf5(variable(np.complex64)),
    "HDF5: big-endian numbers": hdf5(variable(">f4")),
    "HDF5: float16": hdf5(variable(np.float16)),
    "HDF5: compound values": hdf5(variable([("a", "f4"), ("b", "f4")])),
    "HDF5: bytes": hdf5(variable("S4")),
    "HDF5: opaque values": hdf5(variable("V4")),
    "HDF5: Booleans": hdf5(variable(bool)),
    "HDF5: texts of variable length": hdf5(
        lambda file: file.create_dataset("layers/c/vars/0", (3,), h5py.string_dtype())
    ),
    "HDF5: shapes of 0 and 2^40": hdf5(
        lambda file: file.create_dataset("layers/c/vars/0", (0, 2**40), "f4")
    ),
    "HDF5: a name with control characters": hdf5(lambda file: file.create_group(f"layers/{NAME}")),
    "safetensors: 150,000 empty tensors": safetensors(
        {str(n): tensor([0]) for n in range(150_000)}
    ),
    "safetensors: 18,000 empty tensors": safetensors(
        {"__metadata__": LAYOUT, **{str(n): tensor([0]) for n in range(18_000)}}
    ),
    "safetensors: 100,000 texts": safetensors(
        {"__metadata__": {**LAYOUT, **{str(n): "" for n in range(100_000)}}}
    ),
    "safetensors: shapes of 0 and 2^40": safetensors(
        {"__metadata__": LAYOUT, "conv1.conv1_1.weight": tensor([0, 2**40, 2**20, 1])}
    ),
    "safetensors: a shape of a million ones": safetensors(
        {"__metadata__": LAYOUT, "a": tensor([1] * 1_000_000, 0, 4)}, bytes(4)
    ),
    "safetensors: surrogates and control characters": safetensors(
        b'{"__metadata__": {"kernel_layout": "OIHW", "msinet_format": "\\ud800\\u001b"}, '
        b'"\\ud800": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}'
    ),
    "safetensors: control characters in names": safetensors(
        {"__metadata__": LAYOUT, NAME: tensor([0]), f"{NAME}.weight": tensor([0])}
    ),
    "safetensors: a name of 7,000,000 control characters": safetensors(
        b'{"__metadata__": {"kernel_layout": "OIHW"}, "' + b"\xc2\x9b" * 3_500_000 + b'": '
        b'{"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}'
    ),
    **{
        f"safetensors: {dtype}": safetensors(
            {"__metadata__": LAYOUT, "conv1.conv1_1.bias": tensor([1], 0, size, dtype)}, bytes(size)
        )
        for dtype, size in (("F8_E4M3", 1), ("C64", 8), ("BOOL", 1), ("U64", 8), ("F4", 1))
    },
    "PyTorch: a million opcodes": torch_file(b"\x80\x02" + b"]" * 1_000_000 + b"."),
    "PyTorch: 300,000 dictionaries": torch_file(b"\x80\x02" + b"}" * 300_000 + b"."),
    "PyTorch: a pickle of 60 MB": torch_file(
        b"\x80\x02X" + struct.pack("<I", 6 * 10**7) + bytes(6 * 10**7) + b"."
    ),
    "PyTorch: nested tuples": torch_file(b"\x80\x02)" + b"\x85" * 100_000 + b"."),
    "PyTorch: a list that holds itself": torch_file(b"\x80\x02]q\0h\0a."),
    "PyTorch: a key that is a tuple 190,000 deep": torch_file(b"\x80\x02}" + _DEEP + b"Ns."),
    "PyTorch: 190,000 numbers with the same hash": torch_file(
        b"\x80\x02}("
        + b"".join(
            b"\x8a\x0a" + (number * (2**61 - 1)).to_bytes(10, "little") + b"N"
            for number in range(190_000)
        )
        + b"u."
    ),
    "PyTorch: a storage's name is a tuple 190,000 deep": torch_legacy(
        b"\x80\x02(X\x07\0\0\0storagectorch\nFloatStorage\n" + _DEEP + b"X\0\0\0\0K\x01NtQ.",
        b"\x80\x02].",
    ),
    "PyTorch: a list of storages with a tuple 190,000 deep": torch_legacy(
        b"\x80\x02}.", b"\x80\x02]" + _DEEP + b"a."
    ),
    "PyTorch: os.system": torch_file(b"cos\nsystem\n(S'touch /tmp/x'\ntR."),
    "PyTorch: negative strides": torch_file(
        torch_tensor(b"FloatStorage", 4, b"K\x04\x85", b"J\xff\xff\xff\xff\x85")
    ),
    "PyTorch: a shape of 2^40 with strides of 0": torch_file(
        torch_tensor(b"FloatStorage", 4, _2_40 + b"\x85", b"K\0\x85")
    ),
    "PyTorch: shapes of 0 and 2^40": torch_file(
        torch_tensor(b"FloatStorage", 4, b"K\0" + _2_40 + b"\x86", b"K\0K\0\x86")
    ),
    "PyTorch: a storage of 2^40 values": torch_file(
        torch_tensor(b"FloatStorage", 2**40, b"K\x04\x85", b"K\x01\x85")
    ),
    "PyTorch: a wrong CRC-32": crc_bomb,
    "PyTorch: an .npz": legacy_npz,
    **{
        f"PyTorch: {kind}": torch_dtype(kind.encode())
        for kind in (
            "ComplexFloatStorage",
            "QInt8Storage",
            "Float8_e4m3fnStorage",
            "UntypedStorage",
        )
    },
    "TensorFlow index: names that share prefixes": raw_table(
        b"\0"
        + protobuf.varint(60_000)
        + b"\0"
        + b"k" * 60_000
        + b"".join(protobuf.varint(60_000) + b"\1\0" + bytes([n % 256]) for n in range(100_000))
    ),
    "TensorFlow index: long names in many blocks": raw_table(
        b"\0"
        + protobuf.varint(800)
        + b"\0"
        + b"k" * 800
        + b"".join(protobuf.varint(800) + b"\2\0" + struct.pack(">H", n) for n in range(15_000)),
        60,
    ),
    "TensorFlow index: 500,000 entries": raw_table(b"\1\0\0" * 500_000),
    "TensorFlow index: one block 20,000 times": raw_table(b"\0\1\0a" * 15_000, 20_000),
    "TensorFlow index: control characters": table({NAME: protobuf.integer(1, 1)}),
    "TensorFlow index: a shape of 2^40": table(
        {
            "conv1/conv1_1/kernel": protobuf.integer(1, 1)
            + protobuf.text(2, protobuf.text(2, protobuf.integer(1, 2**40)))
        }
    ),
    **{
        f"TensorFlow index: type {dtype}": table({"conv1/conv1_1/bias": protobuf.integer(1, dtype)})
        for dtype in (7, 8, 18, 20, 21, 24, 99)
    },
    "TensorFlow index: a step of -1": table({"a/kernel": b"", "global_step": b""}),
    "frozen graph: a million floats in fields of their own": unpacked,
    "frozen graph: 40 times the same constants": repeated,
    "frozen graph: 10 MB of empty constants": big_pb(constant("a", b""), 300_000),
    "frozen graph: 10 MB of empty nodes": big_pb(b"\x0a\x00", 5_000_000),
    "frozen graph: 10 MB of numbers": big_pb(b"\x18\x00", 5_000_000),
    "frozen graph: a shape of 2^40": big_pb(
        constant("conv1/conv1_1/kernel", b"", (2**40, 2**40)), 1
    ),
    "frozen graph: control characters": big_pb(constant(f"{NAME}/conv1/conv1_1/kernel", b""), 2),
    **{
        f"frozen graph: type {dtype}": big_pb(constant("conv1/conv1_1/bias", b"", (1,), dtype), 1)
        for dtype in (7, 8, 18, 20, 21, 24, 99)
    },
}
"""Each writes a file into an empty folder and returns what is to be read."""
