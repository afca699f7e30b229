"""HDF5's objects, and the messages in their headers: shapes, types, places, and attributes.

Source: HDF5 File Format Specification 3.0, section IV.A.2, "Disk Format: Level 2A2".
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

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

_FLOATS = {
    bytes.fromhex("200f0002000000000010000a05000a0f000000"): "float16",
    bytes.fromhex("200f000200000000001000070800077f000000"): "bfloat16",
    bytes.fromhex("201f000400000000002000170800177f000000"): "float32",
    bytes.fromhex("203f000800000000004000340b0034ff030000"): "float64",
}
"""The type messages of little-endian IEEE numbers, without their version and class."""


@dataclass(frozen=True)
class Datatype:
    """The type of values.

    Args:
        name: As NumPy names it if it is one of the usual floating-point types, else in words.
        size: Of one value in bytes.
        is_text: Whether values are texts of fixed length.
        is_text_reference: Whether values are references to texts of variable length.
        is_integer: Whether values are little-endian integers.
    """

    name: str
    size: int
    is_text: bool = False
    is_text_reference: bool = False
    is_integer: bool = False


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


@dataclass(frozen=True)
class Item:
    """What groups and datasets have in common.

    Args:
        name: From the root: ``/weights/conv1/conv1_1/kernel``; the root's is empty.
        attributes: By name.
    """

    name: str
    attributes: Mapping[str, Attribute]

    def text(self, name: str) -> str | None:
        """Read a text of fixed length, as `hdf5_tensors.write_text` attaches it.

        Args:
            name: The attribute's name.

        Returns:
            None if it is missing or anything else.
        """
        pieces: list[bytes] = []
        key = name
        while (found := self.attributes.get(key)) and found.is_text:
            pieces.append(bytes(found.content))
            key = f"{name}.{len(pieces)}"
        return b"".join(pieces).decode() if pieces else None

    def integer(self, name: str) -> int | None:
        """Read an integer of 0 or more; None if it is missing or anything else.

        Args:
            name: The attribute's name.
        """
        found = self.attributes.get(name)
        if found is None or found.shape or found.datatype is None or not found.datatype.is_integer:
            return None
        return int.from_bytes(found.content, "little")


@dataclass(frozen=True)
class Dataset(Item):
    """A dataset.

    Args:
        shape: As the file declares it.
        datatype: Of its values.
        content: The values; None if they are in pieces, in other files, or were never written.
    """

    shape: tuple[int, ...]
    datatype: Datatype
    content: bytes | memoryview | None

    @property
    def is_text(self) -> bool:
        """Whether it is one text of fixed length."""
        return self.datatype.is_text and not self.shape


@dataclass(frozen=True)
class Group(Item):
    """A group; the file itself is the root group.

    Args:
        read_heap: Returns a text of variable length, by its reference.
        members: By name in the group.
    """

    read_heap: Callable[[memoryview], memoryview]
    members: dict[str, Group | Dataset] = field(default_factory=dict)

    def datasets(self) -> Iterator[tuple[str, Dataset, Group]]:
        """Yield every dataset below: its name relative to this group, itself, and its group."""
        pending = [self]
        for group in pending:
            for item in group.members.values():
                if isinstance(item, Dataset):
                    yield item.name[len(self.name) + 1 :], item, group
                else:
                    pending.append(item)

    def any_text(self, name: str) -> str | None:
        """Read a text of fixed or variable length; None if it is missing or anything else.

        Args:
            name: The attribute's name.

        Raises:
            ValueError: It is damaged.
        """
        found = self.attributes.get(name)
        if found and found.datatype and found.datatype.is_text_reference and not found.shape:
            return bytes(self.read_heap(found.content)).decode()
        return self.text(name)


def read_dataspace(body: memoryview) -> tuple[int, ...]:
    """Return a shape.

    Raises:
        ValueError: It is damaged, or there is no value at all.
    """
    version, rank, _, kind = body[:4]
    if version not in (1, 2) or (version == 2 and kind == 2):
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
    number = _FLOATS.get(bytes(body[1:20])) if kind == _FLOAT else None
    return Datatype(
        name=number or f"{8 * size}-bit {_KINDS[kind]}",
        size=size,
        is_text=kind == _STRING,
        is_text_reference=kind == _VARIABLE_LENGTH and flags & 0x0F == 1,
        is_integer=kind == _INTEGER and not flags & 1,
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
