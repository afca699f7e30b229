"""Steps as CUDA graphs: recorded once for each shape, then replayed without Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from msinet_torch.layers import Tensor, torch

WARM_UPS = 3
"""Runs before recording, in which libraries choose their algorithms and allocate."""

WarmUp = Callable[[Tensor, Tensor, float], None]
Step = Callable[[Sequence[tuple[Tensor, Tensor]], float, Tensor], Tensor]


class Recordings:
    """One recording for each shape of a batch.

    Args:
        warm_up: Takes images, maps and the weight of an image; changes nothing.
        step: Takes images with maps, the weight of an image, and the rate; gives the loss.

    Source: https://docs.pytorch.org/docs/stable/notes/cuda.html#whole-network-capture
    """

    def __init__(self, warm_up: WarmUp, step: Step) -> None:
        self._warm_up = warm_up
        self._step = step
        self._by_shape: dict[Any, _Recording] = {}

    def run(self, images: Tensor, maps: Tensor, rate: float) -> Tensor:
        """Make a step; the loss is overwritten by the next one of that shape.

        Args:
            images: On the GPU.
            maps: On the GPU.
            rate: Adam's rate.
        """
        recording = self._by_shape.get(images.shape)
        if recording is None:
            recording = _Recording(self._warm_up, self._step, images, maps)
            self._by_shape[images.shape] = recording
        return recording.replay(images, maps, rate)


class _Recording:
    def __init__(self, warm_up: WarmUp, step: Step, images: Tensor, maps: Tensor) -> None:
        self._images, self._maps = images.clone(), maps.clone()
        self._rate = torch.zeros((), device=images.device)
        share = 1 / len(images)
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UPS):
                warm_up(self._images, self._maps, share)
        torch.cuda.current_stream().wait_stream(aside)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._loss = step([(self._images, self._maps)], share, self._rate)

    def replay(self, images: Tensor, maps: Tensor, rate: float) -> Tensor:
        self._images.copy_(images)
        self._maps.copy_(maps)
        self._rate.fill_(rate)
        self._graph.replay()
        return self._loss
