"""Groups and datasets of an HDF5 file, and their attributes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from msinet_core.checkpoint.wire.hdf5_messages import Attribute, Datatype


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
        """Read a text of fixed length, as `hdf5_writer.write_text` attaches it.

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
        """Read an integer; None if it is missing or anything else.

        Args:
            name: The attribute's name.
        """
        found = self.attributes.get(name)
        if found is None or found.shape or found.datatype is None or found.datatype.signed is None:
            return None
        return int.from_bytes(found.content, "little", signed=found.datatype.signed)


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
        for key, item in self.members.items():
            if isinstance(item, Dataset):
                yield key, item, self
            else:
                for name, dataset, parent in item.datasets():
                    yield f"{key}/{name}", dataset, parent

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
