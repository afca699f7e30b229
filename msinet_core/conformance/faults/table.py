"""Every fault with the rows that must catch it; docs/reference/conformance.md shows this table."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from msinet_core.conformance.faults import descriptions, layouts, models
from msinet_core.conformance.faults import ops as wrong_ops
from msinet_core.conformance.faults.fault import Fault, FaultyDevice, ignoring
from msinet_core.network import ops
from msinet_core.network.loss import KLDivergence
from msinet_core.reference.device import ReferenceModel

_NOTHING = 1e-300
"""An epsilon that is above zero and vanishes in float32."""


def _attribute(kind: type, **attributes: object) -> Callable[[], FaultyDevice]:
    return partial(ignoring, kind, **attributes)


def _model(model: type[ReferenceModel]) -> Callable[[], FaultyDevice]:
    return partial(FaultyDevice, model=model)


def _gradient(kind: type[ops.Op]) -> Callable[[], FaultyDevice]:
    return partial(wrong_ops.gradient_off_by_a_factor, kind)


_OPENING = (
    Fault("Kernel layout HWIX", descriptions.unknown_kernel_layout, ("description/valid",)),
    Fault(
        "Light module imports a heavy library",
        descriptions.heavy_light_module,
        ("description/imports",),
    ),
    Fault(
        "Probe imports a heavy library", descriptions.heavy_probe, ("description/probe-imports",)
    ),
    Fault(
        "Probe raises if a command is missing",
        descriptions.probe_raises_without_commands,
        ("description/probe-result",),
    ),
    Fault("Probe takes two seconds", descriptions.slow_probe, ("description/probe-time",)),
    Fault("Factory names no class", descriptions.no_factory, ("device/opens",)),
    Fault(
        "Opens although its probe says unavailable",
        descriptions.opens_although_unavailable,
        ("device/unavailable",),
    ),
    Fault(
        "Computes with something else if its framework is missing",
        descriptions.computes_elsewhere,
        ("device/no-fallback",),
    ),
    Fault(
        "Opens in float32 in every precision",
        descriptions.other_precision,
        ("device/bfloat16", "device/float16"),
    ),
    Fault(
        "Computes in float32 in every precision",
        descriptions.one_precision,
        ("device/bfloat16", "device/float16"),
    ),
    Fault(
        "Gradients of several devices not averaged",
        descriptions.gradients_summed_over_devices,
        ("device/distribute",),
    ),
)

_OPS = (
    Fault(
        "Dilation ignored",
        _attribute(ops.Conv2D, dilation=1),
        (
            "device/float32",
            "forward/convolution-dilation-*",
            "gradient/convolution-dilation-*",
            "network/asymmetric",
            "network/half-pixel",
        ),
    ),
    Fault(
        "ReLU forgotten",
        _attribute(ops.Conv2D, activation="linear"),
        ("forward/convolution-1x1", "forward/convolution-3x3-*", "forward/convolution-no-bias"),
    ),
    Fault(
        "ReLU on linear convolutions",
        _attribute(ops.Conv2D, activation="relu"),
        ("forward/convolution-linear", "gradient/convolution-linear"),
    ),
    Fault(
        "Bias dropped",
        _attribute(ops.Conv2D, use_bias=False),
        ("forward/convolution-1x1", "forward/convolution-3x3-*", "forward/convolution-strides-*"),
    ),
    Fault(
        "Convolution padded at the top and the left",
        wrong_ops.convolution_padded_at_the_top,
        ("forward/convolution-2x2-same", "gradient/convolution-2x2-same"),
    ),
    Fault(
        "Pool padded at the top and the left",
        wrong_ops.pool_padded_at_the_top,
        ("forward/pool-strides-1-same", "gradient/pool-strides-1-same"),
    ),
    Fault(
        "Pool padded with zeros",
        wrong_ops.pool_padded_with_zeros,
        ("forward/pool-strides-1-same", "forward/pool-3x3-strides-2-same"),
    ),
    Fault("Pool in 16 bits", wrong_ops.pool_in_16_bits, ("forward/pool-*",)),
    Fault(
        "Half-pixel resize instead of asymmetric",
        _attribute(ops.Resize, coordinates="half_pixel"),
        ("forward/resize-[23]-asymmetric", "gradient/resize-[23]-asymmetric", "network/asymmetric"),
    ),
    Fault(
        "Asymmetric resize instead of half-pixel",
        _attribute(ops.Resize, coordinates="asymmetric"),
        ("forward/resize-[23]-half-pixel", "gradient/resize-[23]-half-pixel", "network/half-pixel"),
    ),
    Fault(
        "Half-pixel resize to a size instead of asymmetric",
        _attribute(ops.ResizeLike, coordinates="half_pixel"),
        (
            "forward/resize-like*-asymmetric",
            "forward/resize-width-asymmetric",
            "forward/resize-height-asymmetric",
        ),
    ),
    Fault(
        "Asymmetric resize to a size instead of half-pixel",
        _attribute(ops.ResizeLike, coordinates="asymmetric"),
        (
            "forward/resize-like*-half-pixel",
            "forward/resize-width-half-pixel",
            "forward/resize-height-half-pixel",
        ),
    ),
    Fault(
        "Half-pixel resize refused",
        wrong_ops.half_pixel_refused,
        ("forward/resize-[23]-half-pixel", "network/half-pixel"),
    ),
    Fault(
        "Sum instead of the global mean",
        wrong_ops.sum_instead_of_mean,
        ("forward/global-mean", "gradient/global-mean"),
    ),
    Fault("Concatenation reversed", wrong_ops.concat_order_reversed, ("forward/concat",)),
    Fault("RGB means reversed", wrong_ops.mean_order_reversed, ("forward/subtract-mean",)),
    Fault(
        "Epsilon missing: a constant map is NaN",
        _attribute(ops.MinMaxNormalize, epsilon=_NOTHING),
        ("forward/normalization-constant", "gradient/normalization-constant"),
    ),
    Fault(
        "Normalized over the batch",
        wrong_ops.normalized_over_the_batch,
        ("forward/normalization", "forward/batch-[23]"),
    ),
    Fault(
        "ReLU missing in the gradient",
        wrong_ops.relu_missing_in_the_gradient,
        ("gradient/convolution-1x1", "gradient/convolution-3x3-*", "gradient/network"),
    ),
    Fault(
        "Gradient of biases missing",
        wrong_ops.bias_gradient_missing,
        ("gradient/convolution-1x1", "gradient/convolution-strides-*", "gradient/network"),
    ),
    *(
        Fault(f"Gradient of {kind.__name__} off by 1%", _gradient(kind), rows)
        for kind, rows in (
            (ops.Conv2D, ("gradient/convolution-*", "gradient/network")),
            (ops.MaxPool2D, ("gradient/pool-*",)),
            (ops.Resize, ("gradient/resize-[23]-*",)),
            (
                ops.ResizeLike,
                ("gradient/resize-like*", "gradient/resize-width-*", "gradient/resize-height-*"),
            ),
            (ops.GlobalMean, ("gradient/global-mean",)),
            (ops.Concat, ("gradient/concat",)),
            (ops.MinMaxNormalize, ("gradient/normalization",)),
            (ops.SubtractMean, ("gradient/subtract-mean",)),
        )
    ),
    Fault(
        "Loss summed over the batch",
        wrong_ops.loss_summed_over_the_batch,
        ("loss/random", "loss/constant"),
    ),
    Fault(
        "Loss without epsilon",
        _attribute(KLDivergence, epsilon=_NOTHING),
        ("loss/empty-*",),
    ),
)

_LAYOUTS = (
    Fault(
        "Rows and columns of kernels swapped",
        layouts.rows_and_columns_swapped,
        ("forward/convolution-3x3-*", "gradient/convolution-3x3-*", "network/asymmetric"),
    ),
    Fault(
        "Square kernels transposed",
        layouts.channels_swapped,
        ("forward/convolution-square-kernel", "gradient/convolution-square-kernel"),
    ),
    Fault(
        "512x512 kernels transposed",
        partial(layouts.channels_swapped, 512),
        ("forward/convolution-512", "gradient/convolution-512", "network/full-size"),
    ),
    Fault("Kernels come back transposed", layouts.comes_back_transposed, ("state/conversion",)),
    Fault(
        "Weights come back rounded",
        layouts.comes_back_rounded,
        ("state/conversion", "state/weights-come-back", "state/moments-come-back"),
    ),
)

_MODELS = (
    Fault(
        "H and W swapped",
        _model(models.RowsAndColumnsSwapped),
        (
            "forward/convolution-3x3-*",
            "forward/batch-*",
            "forward/wide-images",
            "forward/high-images",
            "forward/read-only-images",
        ),
    ),
    Fault(
        "Strides of views ignored",
        _model(models.BufferRead),
        ("forward/strided-images", "forward/transposed-images"),
    ),
    Fault(
        "Caller's images overwritten",
        _model(models.WrittenInPlace),
        ("forward/read-only-images", "forward/images-unchanged"),
    ),
    Fault("One buffer for all results", _model(models.BufferReused), ("forward/many-sizes",)),
    Fault("Compiled for the first size", _model(models.OneSize), ("forward/many-sizes",)),
    Fault("Only the first image computed", _model(models.OnlyFirstImage), ("forward/batch-[23]",)),
    Fault("Returns float64", _model(models.DoublePrecision), ("forward/convolution-*",)),
    Fault(
        "Nondeterministic",
        _model(models.Nondeterministic),
        ("forward/repeated", "train/same-twice"),
    ),
    Fault(
        "All batches weigh the same, regardless of size",
        _model(models.BatchesWeighTheSame),
        ("gradient/accumulated",),
    ),
    Fault(
        "Only the last batch counts",
        _model(models.LastBatchOnly),
        ("gradient/accumulated", "train/accumulated-loss"),
    ),
    Fault("Loss after the step", _model(models.LossAfterTheStep), ("train/*-losses",)),
    Fault(
        "Learning rate of the first step forever",
        _model(models.FirstRateForever),
        ("adam/learning-rate",),
    ),
    Fault("Learning rate decays", _model(models.RateDecays), ("train/twenty-losses",)),
    Fault("Adam's constants ignored", _model(models.DefaultAdam), ("adam/constants",)),
    Fault(
        "Adam's epsilon inside the correction",
        _model(models.EpsilonInsideTheCorrection),
        ("adam/constants",),
    ),
    Fault(
        "Sign of the first moment lost",
        _model(models.SignLost),
        ("adam/first-step", "train/four-updates"),
    ),
    Fault(
        "Moments forgotten",
        _model(models.MomentsForgotten),
        ("adam/continued", "state/moments-come-back", "train/resumed*"),
    ),
    Fault("Step count forgotten", _model(models.StepForgotten), ("adam/continued",)),
    Fault(
        "Moments start at one",
        _model(models.MomentsStartAtOne),
        ("state/moments-begin-at-zero", "adam/first-step"),
    ),
    Fault(
        "Stale optimizer state",
        _model(models.StaleState),
        ("adam/first-step", "train/resumed", "train/resumed-from-file"),
    ),
    Fault("Moments swapped", _model(models.MomentsSwapped), ("state/moments-come-back",)),
    Fault(
        "Evaluation trains",
        _model(models.EvaluationTrains),
        ("state/only-steps-change-it",),
    ),
    Fault("State shared with the device", _model(models.StateShared), ("state/is-a-copy",)),
)

FAULTS: tuple[Fault, ...] = (*_OPENING, *_OPS, *_LAYOUTS, *_MODELS)
"""All of them."""
