"""Estimate the memory of a training step before a device is opened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from msinet_core.network.graph import Graph
from msinet_core.network.ops import Size

GIBIBYTE = 2**30
FLOAT32_BYTES = 4
ITEM_BYTES = {"float32": FLOAT32_BYTES, "bfloat16": 2, "float16": 2}

USABLE = 0.9
"""The part of the memory that training may use; the system and the framework need the rest."""

WORKSPACE = 3
"""Buffers of the size of the largest activation, in float32: the gradients of a layer's input and
output, and a copy in the layout of the convolution library. Fitted to measurements on `cpu` and
`torch-cpu`; see docs/measurements.md."""


@dataclass(frozen=True)
class MemoryEstimate:
    """The memory of a training step, in bytes.

    Args:
        fixed: What does not depend on the batch: float32 weights, their copies in the precision of
            the convolutions, gradients, and Adam's two moments.
        activations: The output of each node for one image, which the gradient needs.
        workspace: Temporary buffers for one image.
    """

    fixed: int
    activations: Mapping[str, int]
    workspace: int

    @property
    def per_image(self) -> int:
        """What each image of the batch adds."""
        return sum(self.activations.values()) + self.workspace

    def largest_batch(self, memory: int) -> int:
        """Return the largest batch whose training step fits; 0 if a single image does not.

        Args:
            memory: The bytes that the device has.
        """
        return max(0, (int(USABLE * memory) - self.fixed) // self.per_image)


def estimate_memory(graph: Graph, size: Size, precision: str) -> MemoryEstimate:
    """Estimate the memory of a training step.

    The framework itself, which takes 0.3 to 1 GiB in each process, is not included.

    Args:
        graph: The network.
        size: Height and width of the images in pixels.
        precision: The precision of convolutions.
    """
    itemsize = ITEM_BYTES[precision]
    copies = 0 if precision == "float32" else itemsize
    values = {
        name: height * width * graph.channels[name]
        for name, (height, width) in graph.sizes(size).items()
    }
    return MemoryEstimate(
        fixed=(4 * FLOAT32_BYTES + copies) * graph.parameter_count,
        activations={name: itemsize * count for name, count in values.items()},
        workspace=WORKSPACE * FLOAT32_BYTES * max(values.values()),
    )


def memory_sentences(
    one: MemoryEstimate, size: Size, precision: str, memory: int | None
) -> Iterator[str]:
    """Describe the memory of a training step by batch size, a sentence or two at a time.

    Args:
        one: The estimate.
        size: Height and width of the images in pixels.
        precision: The precision of convolutions.
        memory: The bytes that the device has; None if unknown.
    """
    fitting = None if memory is None else one.largest_batch(memory)
    batches = [batch for batch in (1, 2, 4, 8, 16, 32, 64) if fitting is None or batch <= fitting]
    needs = {batch: one.fixed + batch * one.per_image for batch in batches or [1]}
    table = ", ".join(f"{batch}: {_size(count)}" for batch, count in needs.items())
    yield (
        f"Training at {size[0]}x{size[1]} in {precision} needs about this much memory, by batch "
        f"size: {table}, besides the framework's own."
    )
    most = sorted(one.activations.items(), key=lambda item: -item[1])[:3]
    largest = ", ".join(f"{name} ({_size(count)})" for name, count in most)
    yield (
        f"Weights, gradients and moments take {_size(one.fixed)}, and each image "
        f"{_size(one.per_image)}; the largest outputs are those of {largest}."
    )
    if memory is not None and fitting is not None:
        yield (
            f"The largest batch that fits in {USABLE:.0%} of {_size(memory)} is about {fitting}."
            if fitting
            else f"Not even one image fits in {USABLE:.0%} of {_size(memory)}. Use a smaller "
            f"--image-size or --width."
        )


def _size(count: int) -> str:
    if count >= GIBIBYTE:
        return f"{count / GIBIBYTE:.2f} GiB"
    mebibytes = count / 2**20
    return f"{mebibytes:.0f} MiB" if mebibytes >= 10 else f"{mebibytes:.2g} MiB"
