"""Rows about which images, batches and states a device is given."""

from __future__ import annotations

from typing import Any

import numpy as np

from msinet_core.conformance.cases import LIFTED, MIX, Case, Float32, chain
from msinet_core.conformance.comparison import Array, Outcome, compare, compare_all, worst
from msinet_core.conformance.scenario import Rows, Subject
from msinet_core.conformance.scenarios.forward import small_network
from msinet_core.conformance.states import same_movement
from msinet_core.device import Model
from msinet_core.network.adam import Adam
from msinet_core.network.graph import Graph
from msinet_core.network.loss import KLDivergence
from msinet_core.network.ops import Conv2D
from msinet_core.network.state import Batch, OptimizerState, State

ROWS = Rows()


def linear_network() -> Graph:
    """Return a network that trains smoothly, so that rounding does not add up over many steps."""
    return chain(first=Conv2D(2, activation="linear"), last=MIX, lifted=LIFTED)


def same_maps(subject: Subject, device: Model, oracle: Model, **images: Float32) -> Outcome:
    """Compare the predictions of several batches, one after another.

    Args:
        subject: The device.
        device: Its model.
        oracle: The oracle's.
        images: By name, with ``_`` for spaces.
    """
    pairs: dict[str, tuple[Any, Array]] = {
        name.replace("_", " ").capitalize(): (
            np.array(device.predict(batch)),
            np.asarray(oracle.predict(batch)),
        )
        for name, batch in images.items()
    }
    return compare_all(pairs, subject.tolerances.convolution)


@ROWS.row("use/kinds-of-images", "convolution")
def _kinds(subject: Subject) -> Outcome:
    """Gray images, whole numbers, equal images, large values and all kinds of views match the
    reference.
    """
    case = Case(linear_network(), (3, 8, 12))
    images = case.images
    with_alpha = np.concatenate([images, np.ones((3, 8, 12, 1), np.float32)], axis=3)
    device, oracle = subject.compile(case.graph, case.state)
    return same_maps(
        subject,
        device,
        oracle,
        gray_images=np.repeat(images[..., :1], 3, axis=3),
        whole_numbers=np.rint(images * 3),
        equal_images=np.repeat(images[:1], 3, axis=0),
        images_in_0_to_1=np.abs(images),
        images_with_ones=np.where(images > 0, np.float32(1), images),
        large_images=images * 1000,
        images_in_Fortran_order=np.asfortranarray(images),
        channels_in_reverse=images[..., ::-1],
        three_of_four_channels=with_alpha[..., :3],
        one_image_repeated=np.broadcast_to(images[:1], images.shape),
        one_channel_repeated=np.broadcast_to(images[..., :1], images.shape),
    )


@ROWS.row("use/changed-images", "convolution")
def _changed(subject: Subject) -> Outcome:
    """A map follows its images: refilled arrays, one other image, one other pixel.

    Use the same array again, which must not be recognized by its address or its beginning.
    """
    case = Case(small_network(), (2, 8, 12))
    device, oracle = subject.compile(case.graph, case.state)
    images, outcomes = case.images.copy(), []
    changes = {
        "The first images": images,
        "The last pixel changed": images[-1, -1, -1],
        "The last image changed": images[-1],
        "The array refilled": images,
    }
    for name, changed in changes.items():
        changed *= -1
        pair = (np.array(device.predict(images)), np.asarray(oracle.predict(images)))
        outcomes.append(compare_all({name: pair}, subject.tolerances.convolution))
    return worst(*outcomes)


@ROWS.row("use/one-image-not-finite", "convolution")
def _one_not_finite(subject: Subject) -> Outcome:
    """An image with NaN leaves the maps of the other images in its batch alone."""
    case = Case(small_network(), (3, 8, 12))
    device, oracle = subject.compile(case.graph, case.state)
    images = case.images.copy()
    images[1, 2, 3] = np.nan
    actual = np.array(device.predict(images))[::2]
    expected = np.asarray(oracle.predict(case.images))[::2]
    return compare(actual, expected, subject.tolerances.convolution)


@ROWS.row("use/results", "convolution")
def _results(subject: Subject) -> Outcome:
    """A map can be read in a given dtype, and what its reader writes into it does not come back."""
    case = Case(linear_network(), (2, 8, 12))
    device, oracle = subject.compile(case.graph, case.state)
    expected = np.asarray(oracle.predict(case.images))
    result = device.predict(case.images)
    pairs: dict[str, tuple[Any, Array]] = {
        "The map as float32": (np.array(result, np.float32), expected),
        "The map as float64": (np.array(result, np.float64).astype(np.float32), expected),
    }
    written = np.asarray(result)
    if written.flags.writeable:
        written[...] = -1
    pairs["The same images again"] = np.array(device.predict(case.images)), expected
    return compare_all(pairs, subject.tolerances.convolution)


@ROWS.row("use/after-a-step", "convolution", "training")
def _after_a_step(subject: Subject) -> Outcome:
    """After a step, images that were predicted before have new maps and losses; so have large
    images and large batches, also if the first layer is frozen.
    """
    case = Case(linear_network(), (2, 8, 12))
    frozen = Adam(factors=(("first/", 0.0),))
    return worst(*(_before_and_after(subject, case, adam) for adam in (Adam(), frozen)))


def _before_and_after(subject: Subject, case: Case, optimizer: Adam) -> Outcome:
    models = subject.compile(case.graph, case.state, KLDivergence(), optimizer)
    others = [Case(case.graph, shape) for shape in ((1, 211, 391), (33, 8, 12))]
    outcomes = []
    for when in ("before", "after"):
        maps: dict[str, tuple[Any, Array]] = {}
        for one in (case, *others):
            actual, expected = (np.array(model.predict(one.images)) for model in models)
            maps[f"The map of {one.shape} {when} the step"] = actual, expected
        actual, expected = (np.array(model.eval_step(case.batch)) for model in models)
        losses = {f"The losses {when} the step": (actual, expected)}
        outcomes.append(compare_all(maps, subject.tolerances.convolution))
        outcomes.append(compare_all(losses, subject.tolerances.steps))
        for model in models:
            float(model.train_step([case.batch], 0.01))
    return worst(*outcomes)


@ROWS.row("use/changed-batches", "update", "training")
def _changed_batches(subject: Subject) -> Outcome:
    """A step follows its batches: an array filled again, one batch twice, many, views, empty
    maps.
    """
    case = Case(linear_network(), (3, 8, 8))
    device, oracle = subject.compile(case.graph, case.state, KLDivergence(), Adam())
    batch = Batch(case.batch.images.copy(), case.batch.maps.copy())
    views = Batch(case.images[::2, ::-1].transpose(0, 2, 1, 3), case.batch.maps[1:, :, ::-1])
    many = tuple(Batch(batch.images * np.float32(1 - i / 80), batch.maps) for i in range(40))
    empty = Batch(case.images, np.concatenate([case.batch.maps[:2], 0 * case.batch.maps[:1]]))
    one_map = Batch(case.images, np.broadcast_to(case.batch.maps[:1], case.batch.maps.shape))
    for batches in (
        *([batch], [batch], [batch, batch], [batch, views, batch]),
        *(many, [views], [empty], [one_map]),
    ):
        losses = [float(model.train_step(batches, 0.01)) for model in (oracle, device)]
        losses += [float(np.asarray(model.eval_step(batch)).sum()) for model in (oracle, device)]
        if len(batches) == 1:
            batch.images[:, 1:] *= -1  # below a first row that stays, such as padding
            batch.maps[:, 1:] = batch.maps[:, :0:-1].copy()
        for right, loss in (losses[:2], losses[2:]):
            if not abs(loss - right) <= subject.tolerances.steps * abs(right):
                return Outcome(np.inf, 0.0, f"With {len(batches)} batches a loss is {loss}.")
    evaluated = compare_all(
        {"The losses of views": (device.eval_step(views), np.asarray(oracle.eval_step(views)))},
        subject.tolerances.steps,
    )
    moved = same_movement(case.state, device.state(), oracle.state(), subject.tolerances.update)
    return worst(evaluated, moved)


@ROWS.row("use/similar-weights", "convolution")
def _similar(subject: Subject) -> Outcome:
    """Models whose weights differ in the last value alone are different models."""
    case = Case(linear_network(), (2, 8, 12))
    outcomes = []
    for value in (0.5, 1.5):
        weights = {name: weight.copy() for name, weight in case.state.weights.items()}
        list(weights.values())[-1].flat[-1] = value
        device, oracle = subject.compile(case.graph, State(weights))
        outcomes.append(same_maps(subject, device, oracle, images=case.images))
    return worst(*outcomes)


@ROWS.row("use/moments-without-training", "convolution")
def _moments_without_training(subject: Subject) -> Outcome:
    """A model for prediction takes a state with moments, and uses its weights."""
    case = Case(linear_network(), (2, 8, 12))
    ones = {name: np.ones_like(weight) for name, weight in case.state.weights.items()}
    state = State(case.state.weights, OptimizerState(7, ones, ones))
    device, oracle = subject.compile(case.graph, state)
    return same_maps(subject, device, oracle, images=case.images)


@ROWS.row("use/names", "convolution")
def _names(subject: Subject) -> Outcome:
    """Names that differ in '/', '_' or case alone are different parameters."""
    names = ("a/b_c", "a_b/c", "A_b/c", "a_b_c")
    case = Case(chain(**dict.fromkeys(names, Conv2D(3, 1, activation="linear"))), (2, 8, 12))
    device, oracle = subject.compile(case.graph, case.state)
    return same_maps(subject, device, oracle, images=case.images)


@ROWS.row("use/not-finite", "bits", "training")
def _not_finite(subject: Subject) -> Outcome:
    """Weights and moments that are not finite come back, and losses and steps do not hide them.

    What hides them hides that a run diverged.
    """
    case = Case(linear_network(), (2, 8, 12), fixed={"first/bias": np.nan})
    device, _ = subject.compile(case.graph, case.state, KLDivergence(), Adam())
    weights = device.state().weights["first/bias"]
    losses = {
        "the losses of an evaluation": np.asarray(device.eval_step(case.batch)),
        "the loss of a step": np.asarray(float(device.train_step([case.batch], 0.01))),
        "the weights": weights,
    }
    hidden = [name for name, values in losses.items() if np.isfinite(values).any()]
    moments = OptimizerState.zeros(case.state.weights)
    moments.v["first/bias"][...] = np.inf
    state = subject.trained(case, State(case.state.weights, moments)).state()
    assert state.optimizer is not None
    hidden += ["infinite moments"] if np.isfinite(state.optimizer.v["first/bias"]).any() else []
    if subject.device.precision != "float16":  # which leaves out such a step
        model = subject.trained(Case(case.graph, case.shape))
        images = case.images.copy()
        images[0, 0, 0, 0] = np.nan
        float(model.train_step([Batch(images, case.batch.maps)], 0.01))
        weights = np.concatenate([value.ravel() for value in model.state().weights.values()])
        hidden += ["the weights after a step on NaN"] if np.isfinite(weights).all() else []
    reason = f"Finite, although they should not be: {', '.join(hidden)}." if hidden else ""
    return Outcome(float(len(hidden)), 0.0, reason)
