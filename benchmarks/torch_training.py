"""Compare training on torch-cpu, or another device, with a plain PyTorch loop of the same network.

Both alternate, round by round, so that other load on the machine affects both; the result is the
median over the rounds of (msinet's seconds / the loop's seconds). They share a process, or with
``--apart`` each has its own, as users run them: then neither reuses memory that the other has
already obtained from the system.

    python benchmarks/torch_training.py
    python benchmarks/torch_training.py --precision bfloat16 --rounds 9
    python benchmarks/torch_training.py --precision bfloat16 --apart
    python benchmarks/torch_training.py --precision bfloat16 --apart --device cpu
    python benchmarks/torch_training.py --threads 1 --rounds 5
    python benchmarks/torch_training.py --width 0.25 --image-size 120x160 --rounds 3

On a busy machine, trust the processor time with ``--threads 1``: threads that wait for each other
use processor time too.

The loop is well written: modules, channels_last, autocast for bfloat16, Adam with fused=True,
gradients set to None. It resizes with PyTorch's own kernel in the same coordinates.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  -- the usual name
from contenders import Contender, ContenderProcess, Loop, Seconds, take_turns

from msinet_core.network.adam import Adam
from msinet_core.network.loss import KLDivergence
from msinet_core.network.msinet import DEFAULT_IMAGE_SIZE, IMAGE_MEAN, IMAGE_SIZE, msinet_graph
from msinet_core.network.state import Batch
from msinet_core.registry.registry import load_registry
from msinet_core.system.allocator import keep_freed_memory
from msinet_core.training.initial_weights import random_state

RATE = 1e-6


def resize(x: torch.Tensor) -> torch.Tensor:
    """Double the size in asymmetric coordinates: corners aligned, with one more row and column."""
    height, width = x.shape[2:]
    x = F.pad(x, (0, 1, 0, 1), mode="replicate")
    size = (2 * height + 1, 2 * width + 1)
    x = F.interpolate(x, size=size, mode="bilinear", align_corners=True)
    return x[:, :, :-1, :-1]


def resize_half_pixel(x: torch.Tensor) -> torch.Tensor:
    """Double the size in half-pixel coordinates."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class HandWritten(torch.nn.Module):
    """MSI-Net as modules.

    Args:
        width: Scale of the number of channels, except the output's.
        coordinates: Resize coordinates.
    """

    def __init__(self, width: float, coordinates: str) -> None:
        super().__init__()
        self.resize = resize if coordinates == "asymmetric" else resize_half_pixel
        self.register_buffer("mean", torch.tensor(IMAGE_MEAN).reshape(1, 3, 1, 1))

        def channels(published: int) -> int:
            return max(1, round(published * width))

        def conv(source: int, target: int, size: int = 3, dilation: int = 1) -> torch.nn.Conv2d:
            return torch.nn.Conv2d(
                source, target, size, padding=dilation * (size // 2), dilation=dilation
            )

        self.blocks = torch.nn.ModuleList()
        source = 3
        for block, (layers, filters) in enumerate(
            [(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)], 1
        ):
            convs = torch.nn.ModuleList()
            for _ in range(layers):
                convs.append(conv(source, channels(filters), dilation=2 if block == 5 else 1))
                source = channels(filters)
            self.blocks.append(convs)
        features, branch = channels(256) + 2 * channels(512), channels(256)
        self.aspp = torch.nn.ModuleList(
            [conv(features, branch, 1), *(conv(features, branch, 3, d) for d in (4, 8, 12))]
        )
        self.globally = conv(features, branch, 1)
        self.joined = conv(5 * branch, branch, 1)
        self.decoder = torch.nn.ModuleList()
        source = branch
        for filters in (128, 64, 32):
            self.decoder.append(conv(source, channels(filters)))
            source = channels(filters)
        self.last = conv(source, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return maps in 0..1."""
        x = images - self.mean
        features = []
        for block, convs in enumerate(self.blocks, 1):
            for layer in convs:
                x = F.relu(layer(x), inplace=True)
            if block <= 3:
                x = F.max_pool2d(x, 2)
            else:
                x = F.max_pool2d(F.pad(x, (0, 1, 0, 1), value=float("-inf")), 2, stride=1)
            features.append(x)
        x = torch.cat(features[2:], 1)
        branches = [F.relu(layer(x), inplace=True) for layer in self.aspp]
        pooled = F.relu(self.globally(x.mean((2, 3), keepdim=True)), inplace=True)
        branches.append(pooled.expand(-1, -1, *x.shape[2:]))
        x = F.relu(self.joined(torch.cat(branches, 1)), inplace=True)
        for layer in self.decoder:
            x = F.relu(layer(self.resize(x)), inplace=True)
        x = self.last(x).float()
        x = x - x.amin((1, 2, 3), keepdim=True)
        return x / (1e-7 + x.amax((1, 2, 3), keepdim=True))


def divergence(true: torch.Tensor, predicted: torch.Tensor) -> torch.Tensor:
    """Return the mean training loss of MSI-Net over images."""
    true = true / (1e-7 + true.sum((1, 2, 3), keepdim=True))
    predicted = predicted / (1e-7 + predicted.sum((1, 2, 3), keepdim=True))
    return (true * torch.log(1e-7 + true / (1e-7 + predicted))).sum((1, 2, 3)).mean()


def by_hand(settings: argparse.Namespace, batch: Batch) -> Callable[[], float]:
    """Return a training step of the plain loop."""
    model = HandWritten(settings.width, settings.resize).to(memory_format=torch.channels_last)
    weights = iter(random_state(msinet_graph(settings.width), seed=0).weights.values())
    with torch.no_grad():  # modules and graph have the same order
        for module in model.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.weight.copy_(torch.from_numpy(next(weights)).permute(3, 2, 0, 1))
                module.bias.copy_(torch.from_numpy(next(weights)))
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE, fused=True)

    def autocast() -> Any:
        if settings.precision == "bfloat16":
            return torch.autocast("cpu", torch.bfloat16)
        return nullcontext()

    def step() -> float:
        images = torch.from_numpy(batch.images).permute(0, 3, 1, 2)
        maps = torch.from_numpy(batch.maps).permute(0, 3, 1, 2)
        optimizer.zero_grad(set_to_none=True)
        with autocast():
            predicted = model(images)
        loss = divergence(maps, predicted)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def by_msinet(settings: argparse.Namespace, batch: Batch) -> Callable[[], float]:
    """Return a training step of the device."""
    graph = msinet_graph(settings.width, settings.resize)
    device = load_registry().spec(settings.device).open(settings.precision)
    state = random_state(graph, seed=0)
    model = device.compile(graph, state, loss=KLDivergence(), optimizer=Adam())
    return lambda: float(model.train_step([batch], RATE))


def training_loop(name: str, settings: argparse.Namespace) -> Loop:
    """Return the steps of a round, of ``"msinet"`` or of the plain ``"loop"``."""
    if settings.threads:
        torch.set_num_threads(settings.threads)
    if settings.apart and name == "msinet":
        keep_freed_memory()  # as `msinet-run train` does
    step = {"msinet": by_msinet, "loop": by_hand}[name](settings, random_batch(settings))

    def steps() -> float:
        losses = [step() for _ in range(settings.steps)]
        return losses[0]

    return steps


def random_batch(settings: argparse.Namespace) -> Batch:
    """Return images and maps of noise."""
    random = np.random.default_rng(0)
    shape = (settings.batch_size, *settings.image_size)
    return Batch(
        random.uniform(0, 255, (*shape, 3)).astype(np.float32),
        random.uniform(0, 1, (*shape, 1)).astype(np.float32),
    )


def comparison(turns: Mapping[str, Sequence[Seconds]], kind: str, steps: int) -> dict[str, Any]:
    """Return the median times of a step, and the ratio of each round with its median."""
    times = {name: [getattr(one, kind) / steps for one in each] for name, each in turns.items()}
    ratios = [ours / theirs for ours, theirs in zip(times["msinet"], times["loop"], strict=True)]
    return {
        "milliseconds": {
            name: round(1000 * statistics.median(values), 1) for name, values in times.items()
        },
        "ratio": round(statistics.median(ratios), 4),
        "ratios": [round(ratio, 4) for ratio in ratios],
    }


def main() -> None:
    """Print the medians and their ratio as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="torch-cpu", help="another one needs --apart")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--resize", choices=("asymmetric", "half_pixel"), default="asymmetric")
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--image-size", type=IMAGE_SIZE.parse, default=DEFAULT_IMAGE_SIZE)
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=2, help="steps in each round")
    parser.add_argument("--threads", type=int, help="PyTorch threads; default: PyTorch's choice")
    parser.add_argument("--apart", action="store_true", help="run each in its own process")
    settings = parser.parse_args()
    kind = ContenderProcess if settings.apart else Contender
    loops = {name: kind(partial(training_loop, name, settings)) for name in ("msinet", "loop")}
    turns = take_turns(loops, settings.rounds)
    print(
        json.dumps(
            {
                **vars(settings),
                "torch": torch.__version__,
                "threads_used": torch.get_num_threads(),
                "first_loss": {name: loop.first_loss for name, loop in loops.items()},
                "clock": comparison(turns, "clock", settings.steps),
                "processor": comparison(turns, "processor", settings.steps),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
