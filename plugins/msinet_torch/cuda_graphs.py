"""Training steps as CUDA graphs: recorded once per batch shape, then replayed without Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msinet_torch.loading import Tensor, torch

WARM_UPS = 3
"""Runs before recording, in which libraries choose algorithms and allocate memory."""

WarmUp = Callable[[Tensor, Tensor, float], None]
Step = Callable[[Sequence[tuple[Tensor, Tensor]], float, Tensor], Tensor]


class CudaGraph:
    """A recorded step.

    Args:
        warm_up: Takes images, maps and the weight of an image; changes nothing.
        step: Takes pairs of images and maps, the weight of an image, and the rate; returns the
            loss.
        images: On the GPU; the step is for batches of their shape.
        maps: On the GPU.

    Source: https://docs.pytorch.org/docs/stable/notes/cuda.html#whole-network-capture
    """

    def __init__(self, warm_up: WarmUp, step: Step, images: Tensor, maps: Tensor) -> None:
        self._images, self._maps = images.clone(), maps.clone()
        self._rate = torch.zeros((), device=images.device)
        share = 1 / len(images)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UPS):
                warm_up(self._images, self._maps, share)
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._loss = step([(self._images, self._maps)], share, self._rate)

    def replay(self, images: Tensor, maps: Tensor, rate: float) -> Tensor:
        """Make a step; the next step overwrites the returned loss.

        Args:
            images: On the GPU.
            maps: On the GPU.
            rate: Adam's rate.
        """
        self._images.copy_(images)
        self._maps.copy_(maps)
        self._rate.fill_(rate)
        self._graph.replay()
        return self._loss
