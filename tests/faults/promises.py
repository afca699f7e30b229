"""What `DeviceSpec`, `Device` and `Model` promise, and the rows that check each promise."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from msinet_core.conformance.scenario import Scenario
from msinet_core.conformance.scenarios import ALL_SCENARIOS
from tests.faults import FAULTS, Fault


@dataclass(frozen=True)
class Promise:
    """One promise.

    Args:
        of: The class or method that makes it.
        text: One sentence.
        rows: The rows that check it; patterns of ids.
    """

    of: str
    text: str
    rows: tuple[str, ...]

    @property
    def scenarios(self) -> tuple[Scenario, ...]:
        """The rows that check it."""
        return tuple(
            scenario
            for scenario in ALL_SCENARIOS
            if any(fnmatchcase(scenario.id, pattern) for pattern in self.rows)
        )

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The wrong devices that break it."""
        ids = {scenario.id for scenario in self.scenarios}
        return tuple(fault for fault in FAULTS if fault.ids & ids)


PROMISES: tuple[Promise, ...] = (
    Promise("DeviceSpec", "The description can be registered.", ("description/valid",)),
    Promise(
        "DeviceSpec",
        "Importing the light module and calling the probe is quick and imports no framework.",
        ("description/imports", "description/probe-imports", "description/probe-time"),
    ),
    Promise(
        "DeviceSpec",
        "The probe never raises; for an unavailable device it returns a reason and a fix.",
        ("description/probe-result",),
    ),
    Promise(
        "Device",
        "It opens if it is available, and raises otherwise; nothing replaces it.",
        ("device/opens", "device/unavailable", "device/no-fallback"),
    ),
    Promise(
        "Device",
        "It computes in the precision that it was opened in.",
        ("device/float32", "device/bfloat16", "device/float16"),
    ),
    Promise(
        "Device",
        "Several devices or processes together compute what one computes.",
        ("device/distribute",),
    ),
    Promise(
        "Device",
        "It may be opened again in the same process.",
        ("use/second-device",),
    ),
    Promise(
        "Device.to_native",
        "`to_canonical` is its inverse, bit for bit.",
        ("state/conversion",),
    ),
    Promise(
        "Device.compile",
        "The given arrays may be read-only or views, are not changed, and may change afterwards.",
        ("state/given-arrays", "state/weights-come-back", "state/order"),
    ),
    Promise(
        "Device.compile",
        "Models do not depend on one another, whatever graph, weights and optimizer they have.",
        (
            *("calls/*", "use/similar-weights", "use/names", "use/moments-without-training"),
            "use/models",
        ),
    ),
    Promise(
        "Model.predict",
        "It computes every op with every attribute as the reference does.",
        (
            *("forward/convolution-*", "forward/pool-*", "forward/resize-*", "forward/concat*"),
            *("forward/global-mean*", "forward/normalization*", "forward/subtract-mean*"),
            *("network/asymmetric", "network/half-pixel", "network/full-size"),
            "forward/read-again",
        ),
    ),
    Promise(
        "Model.predict",
        "It takes any size that the graph takes, in any order.",
        (
            *("forward/*-large", "forward/wide-images", "forward/high-images"),
            *("forward/many-sizes", "forward/many-widths", "network/240x320"),
            *("forward/megapixels-of-each-op", "calls/predictions"),
            *("forward/square-images", "forward/equal-axes", "forward/long-images"),
            *("forward/tall-images", "forward/megapixels", "forward/many-values"),
        ),
    ),
    Promise(
        "Model.predict",
        "It takes any number of images, and each image has its own map.",
        (
            *("forward/batch-*", "forward/large-batch", "use/one-image-not-finite"),
            "calls/predictions",
        ),
    ),
    Promise(
        "Model.predict",
        "It takes read-only images and views, and does not change them.",
        (
            *("forward/strided-images", "forward/transposed-images", "forward/read-only-images"),
            *("forward/images-unchanged", "calls/predictions", "use/changed-images"),
        ),
    ),
    Promise(
        "Model.predict",
        "Long sums keep their digits, and extreme values their meaning.",
        ("numerics/*", "network/extreme-images", "loss/240x320", "use/kinds-of-images"),
    ),
    Promise(
        "Model.predict",
        "Results may be read late, in any order and again, and never change.",
        ("forward/many-sizes", "use/results", "calls/*"),
    ),
    Promise(
        "Model.predict",
        "A deterministic device repeats itself bit for bit.",
        ("forward/repeated", "train/same-twice"),
    ),
    Promise("Model.eval_step", "Each image has its own loss, in order.", ("loss/*",)),
    Promise(
        "Model.eval_step",
        "Evaluation and prediction change nothing.",
        ("state/only-steps-change-it", "calls/training", "calls/long"),
    ),
    Promise(
        "Model.train_step",
        "The gradient of every op with every attribute matches the reference.",
        (
            *("gradient/convolution-*", "gradient/pool-*", "gradient/resize-*", "gradient/concat*"),
            *("gradient/global-mean*", "gradient/normalization*", "gradient/subtract-mean*"),
            *("gradient/network", "gradient/loss-*", "gradient/many-values"),
            *("gradient/read-again", "gradient/relu-at-zero", "train/full-size"),
        ),
    ),
    Promise(
        "Model.train_step",
        "Every image weighs the same, however images are split into batches.",
        (
            *("gradient/batch-*", "gradient/large-batch", "gradient/accumulated*"),
            "gradient/empty-true",
            *("use/changed-batches", "calls/training", "calls/long"),
        ),
    ),
    Promise(
        "Model.train_step",
        "In float16, a step whose gradients overflow is left out, and the loss is scaled less.",
        ("train/overflow",),
    ),
    Promise(
        "Model.train_step",
        "Adam uses the given constants and the learning rate of each step.",
        ("adam/*", "train/four-updates", "use/many-steps"),
    ),
    Promise(
        "Model.train_step",
        "It returns the mean loss over all images, before the step.",
        (
            *("train/*-losses", "train/accumulated-loss", "train/loss-digits"),
            *("calls/training", "calls/long"),
        ),
    ),
    Promise(
        "Model.train_step",
        "Later steps, predictions and evaluations use the new weights.",
        (
            *("train/four-updates", "train/*-losses", "use/after-a-step", "calls/training"),
            "calls/long",
        ),
    ),
    Promise(
        "Model.state",
        "It returns weights, moments and step bit for bit.",
        ("state/weights-come-back", "state/moments-*"),
    ),
    Promise(
        "Model.state",
        "It is a copy: neither changes with the other.",
        ("state/is-a-copy", "calls/training", "calls/long"),
    ),
    Promise(
        "Model.state",
        "A model compiled from it continues the run, also through a file.",
        ("train/resumed*", "adam/continued", "adam/late-steps", "calls/training", "calls/long"),
    ),
    Promise("Model", "What was dropped leaves no memory behind.", ("memory/*",)),
    Promise(
        "Model",
        "Any thread may call it, one at a time; pauses and the number of calls change nothing.",
        (
            "use/threads",
            "use/training-threads",
            "use/unread*",
            "use/many-predictions",
        ),
    ),
    Promise(
        "Model",
        "It leaves the settings of the process alone and prints nothing.",
        ("use/side-effects",),
    ),
    Promise(
        "Model",
        "Weights that are not finite are visible in losses and states.",
        ("use/not-finite",),
    ),
)
"""Every promise; every row checks at least one."""
