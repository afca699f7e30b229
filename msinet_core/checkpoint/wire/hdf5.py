"""Read HDF5 files without the HDF5 library, which damaged or hostile files can crash.

One flipped bit can make the library end the process, loop forever or take all memory. The
structures that Keras writes, HDF5's oldest, are few, so they are read here; all others are refused.

Source: HDF5 File Format Specification 3.0.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from msinet_core.checkpoint.wire import hdf5_messages as messages
from msinet_core.checkpoint.wire.hdf5_messages import Attribute, Dataset, Group
from msinet_core.checkpoint.wire.limits import MAX_ENTRIES, MAX_NAME
from msinet_core.checkpoint.wire.mapped import map_file
from msinet_core.errors import CheckpointError, printable

SIGNATURE = b"\x89HDF\r\n\x1a\n"

_SUPERBLOCK = struct.Struct("<8xBxxxxBB")
_ADDRESSES = struct.Struct("<QQQQQQ")
"""Base, free space, end of file, driver; then the root's name and header."""

_HEADER = struct.Struct("<BxHII4x")
_MESSAGE = struct.Struct("<HHB3x")
_NODE = struct.Struct("<5sBH16x")
_SYMBOLS = struct.Struct("<4sBxH")
_SYMBOL = struct.Struct("<QQI20x")
_LOCAL_HEAP = struct.Struct("<4sB3xQQQ")
_GLOBAL_HEAP = struct.Struct("<4sB3xQ")
_GLOBAL_OBJECT = struct.Struct("<HHIQ")
_TEXT_REFERENCE = struct.Struct("<IQI")
_SOFT_LINK = 2
_NOWHERE = 2**64 - 1
"""The address of values that were never written."""


def is_hdf5(path: Path) -> bool:
    """Return whether a file begins with the HDF5 signature.

    Args:
        path: Any path.
    """
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.read(len(SIGNATURE)) == SIGNATURE


def read_root(path: Path) -> Group:
    """Read the attributes of an HDF5 file and the names of its members; read no content.

    Args:
        path: Any path.

    Returns:
        A group without attributes and members if it is not HDF5.

    Raises:
        CheckpointError: See `read_file`.
        ValueError: It is damaged.
    """
    if not is_hdf5(path):
        return Group("", {}, memoryview)
    return _Reader(path, map_file(path), max_depth=0).root()


def read_file(path: Path, content: bytes | None = None) -> Group:
    """Read the structure of an HDF5 file: every group, dataset and attribute, and no tensor.

    Args:
        path: The file.
        content: The file's bytes, if it is inside an archive; `path` is for messages then.

    Raises:
        CheckpointError: It is not HDF5, or it has links to elsewhere or structures that are not
            supported.
        ValueError: It is damaged.
    """
    data = map_file(path) if content is None else memoryview(content)
    if data[: len(SIGNATURE)] != SIGNATURE:
        raise CheckpointError(
            f"{path} is not an HDF5 file. It may have been cut off; copy or download it again."
        )
    return _Reader(path, data).root()


class _Reader:
    """Follows a file's structures. They do not overlap, so all of them are no larger than the file:
    whatever the file claims, that is all the work there is.
    """

    def __init__(self, path: Path, data: memoryview, max_depth: int | None = None) -> None:
        self._path = path
        self._data = data
        self._max_depth = max_depth
        self._left = len(data)
        self._objects: set[int] = set()
        self._heaps: dict[int, Mapping[int, memoryview]] = {}

    def root(self) -> Group:
        """Read the superblock and everything below the root."""
        version, offset_size, length_size = _SUPERBLOCK.unpack_from(self._data)
        if version > 1:
            raise CheckpointError(
                f"{self._path} is in HDF5's newer form (superblock {version}), which msinet does "
                f"not read. Save it again with Keras or libver='earliest'; if an unreleased "
                f"version of msinet wrote it, train or convert it again."
            )
        if (offset_size, length_size) != (8, 8):
            raise ValueError(f"offsets of {offset_size} bytes")
        base, _, end, _, _, header = _ADDRESSES.unpack_from(self._data, 28 if version else 24)
        if base or end > len(self._data):
            raise ValueError("truncated file")
        root = self._read(header, "", 0)
        if not isinstance(root, Group):
            raise ValueError("its root is not a group")
        return root

    def text(self, reference: memoryview) -> memoryview:
        """Return a text of variable length."""
        size, address, index = _TEXT_REFERENCE.unpack(reference)
        if address not in self._heaps:
            self._heaps[address] = dict(self._global_heap(address))
        found = self._heaps[address].get(index)
        if found is None or size > len(found):
            raise ValueError("a text is not in its heap")
        return found[:size]

    def _take(self, address: int, size: int) -> memoryview:
        if address + size > len(self._data):
            raise ValueError(f"a structure at byte {address:,} extends beyond the end of the file")
        self._left -= size
        if self._left < 0:
            raise ValueError("its structures overlap")
        return self._data[address : address + size]

    def _unpack(self, form: struct.Struct, address: int, mark: object) -> tuple[Any, ...]:
        """Return what is behind the signature or version that a structure begins with."""
        found, *values = form.unpack(self._take(address, form.size))
        if found != mark:
            raise ValueError(f"byte {address:,} begins another structure than expected")
        return tuple(values)

    def _read(self, address: int, name: str, depth: int) -> Group | Dataset:
        if depth - 1 == self._max_depth:
            return Group(name, {}, self.text)
        if address in self._objects:
            self._refuse(f"'{name}'", "a loop or a second link to one object")
        if len(self._objects) == MAX_ENTRIES:
            self._refuse(f"'{name}'", "one of too many objects")
        self._objects.add(address)
        found: dict[int, tuple[int, memoryview]] = {}
        attributes: dict[str, Attribute] = {}
        for kind, flags, body in self._messages(address):
            if kind == messages.ATTRIBUTE and not flags & messages.SHARED:
                key, attribute = messages.read_attribute(body)
                attributes[key] = attribute
            else:
                found[kind] = flags, body
        if messages.SYMBOL_TABLE in found:
            group = Group(name, attributes, self.text)
            tree, heap = struct.unpack_from("<QQ", found[messages.SYMBOL_TABLE][1])
            for key, header in self._links(tree, heap, name):
                inner = f"{name}/{key}"
                if key in group.members or not key or "/" in key or len(inner) > MAX_NAME:
                    raise ValueError(f"'{printable(inner)}' is too long, invalid or used twice")
                group.members[key] = self._read(header, inner, depth + 1)
            return group
        if messages.LINK in found or messages.LINK_INFO in found:
            self._refuse(f"'{name}'", "a group in HDF5's newer form, or with external links")
        if messages.LAYOUT not in found:
            self._refuse(f"'{name}'", "neither a group nor a dataset")
        return self._dataset(name, found, attributes)

    def _dataset(
        self,
        name: str,
        found: Mapping[int, tuple[int, memoryview]],
        attributes: Mapping[str, Attribute],
    ) -> Dataset:
        if any(
            found[kind][0] & messages.SHARED for kind in (messages.DATASPACE, messages.DATATYPE)
        ):
            self._refuse(f"'{name}'", "a dataset with a named datatype")
        content = messages.read_layout(found[messages.LAYOUT][1])
        if isinstance(content, tuple):
            offset, size = content
            is_stored = offset != _NOWHERE and messages.EXTERNAL_FILES not in found
            content = self._take(offset, size) if is_stored else None if size else b""
        shape = messages.read_dataspace(found[messages.DATASPACE][1])
        datatype = messages.read_datatype(found[messages.DATATYPE][1])
        return Dataset(name, attributes, shape, datatype, content)

    def _messages(self, address: int) -> Iterator[tuple[int, int, memoryview]]:
        _, _, size = self._unpack(_HEADER, address, 1)
        blocks = [(address + _HEADER.size, size)]
        for begin, length in blocks:
            block = self._take(begin, length)
            position = 0
            while position + _MESSAGE.size <= length:
                kind, size, flags = _MESSAGE.unpack_from(block, position)
                position += _MESSAGE.size
                body = block[position : position + size]
                position += size
                if position > length:
                    raise ValueError(f"a message of the object at byte {address:,} is cut off")
                if kind == messages.CONTINUATION:
                    blocks.append(struct.unpack_from("<QQ", body))
                else:
                    yield kind, flags, body

    def _links(self, tree: int, heap: int, name: str) -> Iterator[tuple[str, int]]:
        """Yield the names in a group and the addresses of their objects."""
        _, size, _, address = self._unpack(_LOCAL_HEAP, heap, b"HEAP")
        texts = bytes(self._take(address, size))
        for table in self._tables(tree):
            _, count = self._unpack(_SYMBOLS, table, b"SNOD")
            entries = self._take(table + _SYMBOLS.size, count * _SYMBOL.size)
            for offset, header, kind in _SYMBOL.iter_unpack(entries):
                end = texts.find(b"\0", offset)
                if offset >= size or end < 0:
                    raise ValueError(f"a name in '{name}' is cut off")
                key = texts[offset:end].decode()
                if kind == _SOFT_LINK:
                    self._refuse(f"'{name}/{key}'", "a soft link")
                yield key, header

    def _tables(self, address: int) -> Iterator[int]:
        """Yield the addresses of a group's tables of links: the leaves of a B-tree."""
        pending = [address]
        while pending:
            address = pending.pop()
            level, count = self._unpack(_NODE, address, b"TREE\0")
            children = self._take(address + _NODE.size + 8, 16 * count)
            addresses = [child for child, _ in struct.iter_unpack("<QQ", children)]
            if level:
                pending += reversed(addresses)
            else:
                yield from addresses

    def _global_heap(self, address: int) -> Iterator[tuple[int, memoryview]]:
        _, size = self._unpack(_GLOBAL_HEAP, address, b"GCOL")
        heap = self._take(address + _GLOBAL_HEAP.size, size - _GLOBAL_HEAP.size)
        position = 0
        while position + _GLOBAL_OBJECT.size <= len(heap):
            index, _, _, length = _GLOBAL_OBJECT.unpack_from(heap, position)
            if index == 0:  # what is left
                return
            position += _GLOBAL_OBJECT.size
            if position + length > len(heap):
                raise ValueError(f"the texts at byte {address:,} are cut off")
            yield index, heap[position : position + length]
            position += (length + 7) // 8 * 8

    def _refuse(self, subject: str, what: str) -> NoReturn:
        raise CheckpointError(
            f"{self._path} is refused: {printable(subject)} is {what}, which is not supported. "
            f"Save it again with Keras, or use a file from a source you trust."
        )
