"""The messages of HDF5's object headers: shapes, types, where values are, and attributes.

Source: HDF5 File Format Specification 3.0, section IV.A.2, "Disk Format: Level 2A2".
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

DATASPACE, DATATYPE, EXTERNAL_FILES, LAYOUT = 0x01, 0x03, 0x07, 0x08
LINK_INFO, LINK, ATTRIBUTE, CONTINUATION, SYMBOL_TABLE = 0x02, 0x06, 0x0C, 0x10, 0x11
SHARED = 0x02
"""The flag of a message whose content is elsewhere in the file."""

_INTEGER, _FLOAT, _STRING, _VARIABLE_LENGTH = 0, 1, 3, 9
_KINDS = (
    *("integer", "floating point", "time", "string", "bit field", "opaque", "compound"),
    *("reference", "enumeration", "variable-length", "array"),
)
_COMPACT, _CONTIGUOUS = 0, 1
_MAX_AXES = 32


def _ieee(sign: int, exponent: int, mantissa: int) -> bytes:
    """Return the type message of a little-endian IEEE number, without its version and class."""
    size = (sign + 1) // 8
    head = struct.pack("<BBBI", 0x20, sign, 0, size)
    bias = 2 ** (exponent - 1) - 1
    return head + struct.pack("<HHBBBBI", 0, sign + 1, mantissa, exponent, 0, mantissa, bias)


_NUMBERS = {
    _ieee(15, 5, 10): "float16",
    _ieee(15, 8, 7): "bfloat16",
    _ieee(31, 8, 23): "float32",
    _ieee(63, 11, 52): "float64",
}


@dataclass(frozen=True)
class Datatype:
    """The type of values.

    Args:
        name: As NumPy names it if it is one of the usual floating-point types, else in words.
        size: Of one value in bytes.
        is_text: Whether values are texts of fixed length.
        is_text_reference: Whether values are references to texts of variable length.
        signed: Whether a little-endian integer is signed; None for any other type.
    """

    name: str
    size: int
    is_text: bool = False
    is_text_reference: bool = False
    signed: bool | None = None


@dataclass(frozen=True)
class Attribute:
    """The value of an attribute, not decoded yet."""

    datatype: Datatype | None
    shape: tuple[int, ...]
    content: memoryview

    @property
    def is_text(self) -> bool:
        """Whether it is one text of fixed length."""
        return self.datatype is not None and self.datatype.is_text and not self.shape


def read_dataspace(body: memoryview) -> tuple[int, ...]:
    """Return a shape.

    Raises:
        ValueError: It is damaged, or there is no value at all.
    """
    version, rank, _, kind = body[:4]
    if version not in (1, 2) or rank > _MAX_AXES or (version == 2 and kind == 2):
        raise ValueError("damaged shape")
    return struct.unpack_from(f"<{rank}Q", body, 8 if version == 1 else 4)


def read_datatype(body: memoryview) -> Datatype:
    """Return a type.

    Raises:
        ValueError: It is damaged.
    """
    kind, flags = body[0] & 0x0F, body[1]
    (size,) = struct.unpack_from("<I", body, 4)
    if kind >= len(_KINDS) or not size:
        raise ValueError("unknown type")
    name = _NUMBERS.get(bytes(body[1:20])) if kind == _FLOAT else None
    return Datatype(
        name=name or f"{8 * size}-bit {_KINDS[kind]}",
        size=size,
        is_text=kind == _STRING,
        is_text_reference=kind == _VARIABLE_LENGTH and flags & 0x0F == 1,
        signed=bool(flags & 0x08) if kind == _INTEGER and not flags & 1 else None,
    )


def read_layout(body: memoryview) -> tuple[int, int] | bytes | memoryview | None:
    """Return where values are: offset and size in bytes, or the values; None if in many pieces.

    Raises:
        ValueError: It is damaged.
    """
    version, kind = body[0], body[1]
    if version not in (3, 4):
        raise ValueError(f"unknown layout version {version}")
    if kind == _COMPACT:
        (size,) = struct.unpack_from("<H", body, 2)
        return body[4 : 4 + size]
    if kind == _CONTIGUOUS:
        offset, size = struct.unpack_from("<QQ", body, 2)
        return offset, size
    return None


def read_attribute(body: memoryview) -> tuple[str, Attribute]:
    """Return an attribute and its name.

    Raises:
        ValueError: It is damaged.
    """
    version, flags, name_size, type_size, space_size = struct.unpack_from("<BBHHH", body)
    if version not in (1, 2, 3):
        raise ValueError(f"unknown attribute version {version}")
    position = 9 if version == 3 else 8  # version 3 adds the character set of the name
    parts = []
    for size in (name_size, type_size, space_size):
        parts.append(body[position : position + size])
        position += (size + 7) // 8 * 8 if version == 1 else size
    name = bytes(parts[0]).split(b"\0")[0].decode()
    shape = read_dataspace(parts[2])
    # Types may be stored elsewhere in the file; nobody who writes weights does that.
    datatype = None if version > 1 and flags else read_datatype(parts[1])
    size = math.prod(shape) * datatype.size if datatype else 0
    if position + size > len(body):
        raise ValueError(f"attribute '{name}' is cut off")
    return name, Attribute(datatype, shape, body[position : position + size])
