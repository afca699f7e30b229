"""Rows about numbers that naive arithmetic gets wrong: long sums and large values."""

from __future__ import annotations

from msinet_core.conformance.cases import LIFTED, MIX, Case, chain
from msinet_core.conformance.comparison import Outcome, worst
from msinet_core.conformance.scenario import Rows, Subject
from msinet_core.conformance.scenarios.forward import same_prediction
from msinet_core.conformance.scenarios.gradients import same_gradients
from msinet_core.network.ops import Conv2D, GlobalMean, MinMaxNormalize

ROWS = Rows()

SIZE = (1, 240, 320)
"""One image of the published size."""


@ROWS.row("numerics/global-mean", "op")
def _global_mean(subject: Subject) -> Outcome:
    """The mean over 240x320 pixels loses no digits.

    Use nearly equal pixels, so that every addition to a running sum rounds the same way.
    """
    graph = chain(mean=GlobalMean())
    return worst(
        *(
            same_prediction(subject, case, case.images, subject.tolerances.op)
            for case in (Case(graph, SIZE, 100.1, 100.2), Case(graph, SIZE, 0.0, 255.0))
        )
    )


@ROWS.row("numerics/normalization-gradient", "gradient", "training")
def _normalization(subject: Subject) -> Outcome:
    """The gradient of a normalization over 240x320 pixels loses no digits."""
    before = Conv2D(1, 1, activation="linear")
    case = Case(chain(before=before, normalized=MinMaxNormalize(), lifted=LIFTED), SIZE)
    return same_gradients(subject, case, [case.batch], subject.tolerances.gradient)


@ROWS.row("numerics/bias-gradient", "gradient", "training")
def _bias(subject: Subject) -> Outcome:
    """The gradient of a bias over 240x320 pixels loses no digits."""
    case = Case(chain(first=Conv2D(4), last=MIX, lifted=LIFTED), SIZE)
    return same_gradients(subject, case, [case.batch], subject.tolerances.gradient)


@ROWS.row("numerics/large-weights", "convolution")
def _large_weights(subject: Subject) -> Outcome:
    """Weights of a hundred times the usual size (in float16 three times) match the reference."""
    scale = 3.0 if subject.device.precision == "float16" else 100.0  # float16 ends at 65504
    graph = chain(first=Conv2D(4), last=Conv2D(2, activation="linear"))
    case = Case(graph, (2, 9, 14), 0.0, 255.0, scale=scale)
    return same_prediction(subject, case, case.images, subject.tolerances.convolution)


@ROWS.row("numerics/large-gradients", "gradient", "training")
def _large_gradients(subject: Subject) -> Outcome:
    """A gradient in the thousands matches the reference: it is not cut.

    The loss does not depend on the scale of maps, so small weights have large gradients.
    """
    case = Case(chain(only=MIX), (2, 6, 10), 0.0, 1.0, fixed={"only/kernel": 1e-5})
    return same_gradients(subject, case, [case.batch], subject.tolerances.gradient)


@ROWS.row("numerics/small-values", "convolution")
def _small_values(subject: Subject) -> Outcome:
    """Images and weights of 1e-2 match the reference, not zero."""
    graph = chain(only=Conv2D(4, activation="linear", use_bias=False))
    case = Case(graph, (2, 9, 14), -1e-2, 1e-2, scale=1e-2)
    return same_prediction(subject, case, case.images, subject.tolerances.convolution)
