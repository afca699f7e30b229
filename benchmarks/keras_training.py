"""Compare training loops of the same network, from the plainest Keras to msinet's devices.

Each contender trains on the same images in memory, in a process of its own; they take turns, round
by round, so that other load on the machine affects all. The ratio is the median over the rounds of
(its seconds / the seconds of the first contender).

    python benchmarks/keras_training.py
    python benchmarks/keras_training.py --precision bfloat16 --batch-size 4
    python benchmarks/keras_training.py --sweep --json sweep.json

``--sweep`` varies the width and the batch size, which shows from where on the work of the network
hides that of the framework around it: there, a GPU begins to pay.

Resizing is in half-pixel coordinates, which Keras has; the first losses agree, because all start
from the same weights.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from contenders import ContenderProcess, Loop, take_turns

from msinet_core.network.adam import Adam
from msinet_core.network.loss import KLDivergence
from msinet_core.network.msinet import DEFAULT_IMAGE_SIZE, IMAGE_MEAN, IMAGE_SIZE, msinet_graph
from msinet_core.network.state import Batch
from msinet_core.registry.registry import load_registry
from msinet_core.training.initial_weights import random_state

RATE = 1e-6
SWEEP_WIDTHS = (0.125, 0.25, 0.5, 1.0)
SWEEP_BATCHES = (1, 4, 16)


def images_and_maps(settings: argparse.Namespace) -> Batch:
    """Return a batch of images and maps of noise, repeated."""
    random = np.random.default_rng(0)
    shape = (settings.batch_size, *settings.image_size)
    images = random.uniform(0, 255, (*shape, 3)).astype(np.float32)
    maps = random.uniform(0, 1, (*shape, 1)).astype(np.float32)
    repeats = (max(1, settings.images // settings.batch_size), 1, 1, 1)
    return Batch(np.tile(images, repeats), np.tile(maps, repeats))


def batches(data: Batch, size: int) -> Iterator[Batch]:
    """Yield the batches of an epoch."""
    for start in range(0, len(data.images), size):
        yield Batch(data.images[start : start + size], data.maps[start : start + size])


def keras_model(settings: argparse.Namespace) -> Any:
    """Return MSI-Net in Keras layers, compiled, with the weights that msinet starts from."""
    import keras
    from keras import layers, ops

    if settings.precision != "float32":
        keras.mixed_precision.set_global_policy(f"mixed_{settings.precision}")

    def conv(x: Any, name: str, filters: int, size: int = 3, dilation: int = 1) -> Any:
        linear = name == "decoder/conv4"
        return layers.Conv2D(
            1 if linear else max(1, round(filters * settings.width)),
            size,
            padding="same",
            dilation_rate=dilation,
            activation=None if linear else "relu",
            name=name.replace("/", "_"),
        )(x)

    def normalized(x: Any) -> Any:
        x = x - ops.min(x, axis=(1, 2, 3), keepdims=True)
        return x / (1e-7 + ops.max(x, axis=(1, 2, 3), keepdims=True))

    images = layers.Input((*settings.image_size, 3))
    x = layers.Lambda(lambda values: values - ops.cast(IMAGE_MEAN, values.dtype))(images)
    kept = []
    for block, (count, filters) in enumerate([(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)], 1):
        for number in range(1, count + 1):
            name = f"conv{block}/conv{block}_{number}"
            x = conv(x, name, filters, dilation=2 if block == 5 else 1)
        x = layers.MaxPooling2D(2, strides=2 if block <= 3 else 1, padding="same")(x)
        kept.append(x)
    x = layers.Concatenate()(kept[2:])
    branches = [conv(x, "aspp/conv1_1", 256, 1)]
    branches += [conv(x, f"aspp/conv1_{n}", 256, 3, d) for n, d in ((2, 4), (3, 8), (4, 12))]
    pooled = conv(layers.GlobalAveragePooling2D(keepdims=True)(x), "aspp/conv1_5", 256, 1)
    branches.append(layers.UpSampling2D(tuple(x.shape[1:3]))(pooled))
    x = conv(layers.Concatenate()(branches), "aspp/conv2", 256, 1)
    for number, filters in enumerate((128, 64, 32), 1):
        x = layers.UpSampling2D(2, interpolation="bilinear")(x)
        x = conv(x, f"decoder/conv{number}", filters)
    x = layers.Activation("linear", dtype="float32")(conv(x, "decoder/conv4", 1))
    model = keras.Model(images, layers.Lambda(normalized, dtype="float32")(x))

    weights = random_state(msinet_graph(settings.width, "half_pixel"), seed=0).weights
    for name in {name.rpartition("/")[0] for name in weights}:
        model.get_layer(name.replace("/", "_")).set_weights(
            [weights[f"{name}/kernel"], weights[f"{name}/bias"]]
        )
    model.compile(keras.optimizers.Adam(RATE, epsilon=1e-8), keras_loss)
    return model


def keras_loss(true: Any, predicted: Any) -> Any:
    """Return MSI-Net's loss of each image."""
    from keras import ops

    true = true / (1e-7 + ops.sum(true, axis=(1, 2, 3), keepdims=True))
    predicted = predicted / (1e-7 + ops.sum(predicted, axis=(1, 2, 3), keepdims=True))
    values = true * ops.log(1e-7 + true / (1e-7 + predicted))
    return ops.sum(values, axis=(1, 2, 3))


def keras_arrays(settings: argparse.Namespace) -> Loop:
    """Call ``fit`` on NumPy arrays."""
    model, data = keras_model(settings), images_and_maps(settings)

    def epoch() -> float:
        history = model.fit(
            data.images, data.maps, settings.batch_size, epochs=1, shuffle=False, verbose=0
        )
        return float(history.history["loss"][0])

    return epoch


def keras_data(settings: argparse.Namespace) -> Loop:
    """Call ``fit`` on a ``tf.data`` pipeline that prefetches."""
    import tensorflow as tf

    model, data = keras_model(settings), images_and_maps(settings)
    pipeline = tf.data.Dataset.from_tensor_slices((data.images, data.maps))
    pipeline = pipeline.batch(settings.batch_size).prefetch(tf.data.AUTOTUNE)

    def epoch() -> float:
        return float(model.fit(pipeline, epochs=1, verbose=0).history["loss"][0])

    return epoch


def tf_function(settings: argparse.Namespace) -> Loop:
    """Write the training step by hand, as a ``tf.function`` around the same Keras model."""
    import tensorflow as tf

    model, data = keras_model(settings), images_and_maps(settings)

    @tf.function  # type: ignore[untyped-decorator]
    def step(images: Any, maps: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(keras_loss(maps, model(images, training=True)))
        gradients = tape.gradient(loss, model.trainable_variables)
        model.optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    def epoch() -> float:
        losses = [step(*batch) for batch in batches(data, settings.batch_size)]
        return float(np.mean([float(loss) for loss in losses]))

    return epoch


def torch_loop(settings: argparse.Namespace) -> Loop:
    """Write the loop in PyTorch, as ``benchmarks/torch_training.py`` does."""
    from torch_training import by_hand

    data = images_and_maps(settings)
    settings.resize = "half_pixel"
    step = by_hand(settings, next(batches(data, settings.batch_size)))

    def epoch() -> float:
        return float(np.mean([step() for _ in batches(data, settings.batch_size)]))

    return epoch


def msinet(name: str, settings: argparse.Namespace) -> Loop:
    """Train on a device of msinet."""
    graph, data = msinet_graph(settings.width, "half_pixel"), images_and_maps(settings)
    device = load_registry().spec(name).open(settings.precision)
    state = random_state(graph, seed=0)
    model = device.compile(graph, state, loss=KLDivergence(), optimizer=Adam())

    def epoch() -> float:
        losses = [model.train_step([b], RATE) for b in batches(data, settings.batch_size)]
        return float(np.mean([float(loss) for loss in losses]))

    return epoch


CONTENDERS: dict[str, Callable[[argparse.Namespace], Loop]] = {
    "keras fit, arrays": keras_arrays,
    "keras fit, tf.data": keras_data,
    "tf.function": tf_function,
    "pytorch loop": torch_loop,
    "msinet cpu": lambda settings: msinet("cpu", settings),
    "msinet torch-cpu": lambda settings: msinet("torch-cpu", settings),
}


def training_loop(name: str, settings: argparse.Namespace) -> Loop:
    """Return the epochs of one of `CONTENDERS`, or of a device."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    return CONTENDERS.get(name, partial(msinet, name))(settings)


def compare(settings: argparse.Namespace) -> dict[str, Any]:
    """Measure the contenders in turn, and return images per second and ratios."""
    contenders = {
        name: ContenderProcess(partial(training_loop, name, settings)) for name in settings.only
    }
    turns = take_turns(contenders, settings.rounds)
    seconds = {name: [one.clock for one in times] for name, times in turns.items()}
    first = seconds[settings.only[0]]
    return {
        "width": settings.width,
        "batch_size": settings.batch_size,
        "contenders": {
            name: {
                "first_loss": contenders[name].first_loss,
                "images_per_s": settings.images / statistics.median(values),
                "ratio": statistics.median(a / b for a, b in zip(values, first, strict=True)),
                "seconds": values,
            }
            for name, values in seconds.items()
        },
    }


def print_comparison(found: dict[str, Any]) -> None:
    """Print a table as Markdown."""
    print(f"\nwidth {found['width']}, batch size {found['batch_size']}\n")
    print("| training loop | images/s | seconds, of the first | first loss |")
    print("|---|---:|---:|---:|")
    for name, row in found["contenders"].items():
        rate, ratio, loss = row["images_per_s"], row["ratio"], row["first_loss"]
        print(f"| {name} | {rate:.2f} | {ratio:.3f} | {loss:.4f} |", flush=True)


def main() -> None:
    """Print a table for each combination of width and batch size."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--image-size", type=IMAGE_SIZE.parse, default=DEFAULT_IMAGE_SIZE)
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--images", type=int, default=16, help="images in each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=tuple(CONTENDERS), default=list(CONTENDERS))
    parser.add_argument("--sweep", action="store_true", help="vary the width and the batch size")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all rounds")
    settings = parser.parse_args()
    cases = [(settings.width, settings.batch_size)]
    if settings.sweep:
        cases = [(width, batch) for width in SWEEP_WIDTHS for batch in SWEEP_BATCHES]
    found = []
    for width, batch_size in cases:
        case = argparse.Namespace(**{**vars(settings), "width": width, "batch_size": batch_size})
        found.append(compare(case))
        print_comparison(found[-1])
        if settings.json:
            document = {"precision": settings.precision, "comparisons": found}
            settings.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
