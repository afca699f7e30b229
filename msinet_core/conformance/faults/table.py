"""Every fault with the rows that must catch it; docs/reference/conformance.md shows the table."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from msinet_core.conformance.faults import contract, layouts, models
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


_DOOR = (
    Fault("Kernel layout HWIX", contract.layout_of_no_kernel, ("light/description",)),
    Fault("Light module imports a heavy library", contract.heavy_light_module, ("light/imports",)),
    Fault("Probe imports a heavy library", contract.heavy_probe, ("light/probe-imports",)),
    Fault(
        "Probe raises where a command is missing",
        contract.probe_raises_without_commands,
        ("light/probe-answers",),
    ),
    Fault("Probe takes two seconds", contract.slow_probe, ("light/probe-quick",)),
    Fault("Factory names no class", contract.no_factory, ("device/opens",)),
    Fault(
        "Opens though its probe says not here", contract.opens_though_not_here, ("device/not-here",)
    ),
    Fault(
        "Computes with something else when its framework is missing",
        contract.computes_elsewhere,
        ("device/no-fallback",),
    ),
    Fault(
        "Opens in float32 whatever is asked for",
        contract.other_precision,
        ("device/bfloat16", "device/float16"),
    ),
    Fault(
        "Computes in float32 whatever is asked for",
        contract.one_precision,
        ("device/bfloat16", "device/float16"),
    ),
    Fault(
        "Gradients of several devices not averaged",
        contract.gradients_summed_over_devices,
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
        "ReLU where there is none",
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
        "Half-pixel resize for asymmetric",
        _attribute(ops.Resize, coordinates="half_pixel"),
        ("forward/resize-[23]-asymmetric", "gradient/resize-[23]-asymmetric", "network/asymmetric"),
    ),
    Fault(
        "Asymmetric resize for half-pixel",
        _attribute(ops.Resize, coordinates="asymmetric"),
        ("forward/resize-[23]-half-pixel", "gradient/resize-[23]-half-pixel", "network/half-pixel"),
    ),
    Fault(
        "Half-pixel resize to a size for asymmetric",
        _attribute(ops.ResizeLike, coordinates="half_pixel"),
        (
            "forward/resize-like*-asymmetric",
            "forward/resize-width-asymmetric",
            "forward/resize-height-asymmetric",
        ),
    ),
    Fault(
        "Asymmetric resize to a size for half-pixel",
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
        "Sum in place of the global mean",
        wrong_ops.sum_in_place_of_the_mean,
        ("forward/global-mean", "gradient/global-mean"),
    ),
    Fault("Concatenation reversed", wrong_ops.concat_order_reversed, ("forward/concat",)),
    Fault("RGB means reversed", wrong_ops.mean_order_reversed, ("forward/subtract-mean",)),
    Fault(
        "Epsilon missing, so that a constant map is NaN",
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
        "Layout of square kernels transposed",
        layouts.channels_swapped,
        ("forward/convolution-square-kernel", "gradient/convolution-square-kernel"),
    ),
    Fault(
        "Layout of 512x512 kernels transposed",
        partial(layouts.channels_swapped, 512),
        ("forward/convolution-512", "gradient/convolution-512", "network/full-size"),
    ),
    Fault("Kernels come back transposed", layouts.comes_back_transposed, ("weights/conversion",)),
    Fault(
        "Weights come back rounded",
        layouts.comes_back_rounded,
        ("weights/conversion", "weights/come-back", "weights/moments-come-back"),
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
        "Memory behind a view read as it lies",
        _model(models.BufferRead),
        ("forward/strided-images", "forward/transposed-images"),
    ),
    Fault(
        "Host's images written in place",
        _model(models.WrittenInPlace),
        ("forward/read-only-images", "forward/images-unchanged"),
    ),
    Fault("One buffer for all results", _model(models.BufferReused), ("forward/many-sizes",)),
    Fault("Compiled for the first size", _model(models.OneSize), ("forward/many-sizes",)),
    Fault("Only the first image computed", _model(models.OnlyFirstImage), ("forward/batch-[23]",)),
    Fault("Puts out float64", _model(models.DoublePrecision), ("forward/convolution-*",)),
    Fault(
        "Nondeterministic",
        _model(models.Nondeterministic),
        ("forward/repeated", "train/same-twice"),
    ),
    Fault(
        "Batches weigh alike, whatever their size",
        _model(models.BatchesWeighAlike),
        ("gradient/accumulated",),
    ),
    Fault(
        "Only the last batch counts",
        _model(models.LastBatchOnly),
        ("gradient/accumulated", "train/accumulated-loss"),
    ),
    Fault("Loss of after the step", _model(models.LossAfterTheStep), ("train/*-losses",)),
    Fault("First learning rate for ever", _model(models.FirstRateForever), ("adam/learning-rate",)),
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
        ("adam/continued", "weights/moments-come-back", "train/resumed*"),
    ),
    Fault("Step count forgotten", _model(models.StepForgotten), ("adam/continued",)),
    Fault(
        "Moments begin at one",
        _model(models.MomentsBeginAtOne),
        ("weights/moments-begin-at-zero", "adam/first-step"),
    ),
    Fault(
        "Stale optimizer state",
        _model(models.StaleState),
        ("adam/first-step", "train/resumed", "train/resumed-from-file"),
    ),
    Fault("Moments swapped", _model(models.MomentsSwapped), ("weights/moments-come-back",)),
    Fault(
        "Evaluation trains",
        _model(models.EvaluationTrains),
        ("weights/only-steps-change-them",),
    ),
    Fault("State shared with the device", _model(models.StateShared), ("weights/state-is-a-copy",)),
)

FAULTS: tuple[Fault, ...] = (*_DOOR, *_OPS, *_LAYOUTS, *_MODELS)
"""All of them."""
