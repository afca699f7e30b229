"""The losses that a network is trained with, as values that devices implement."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from msinet_core.errors import GraphError, UsageError, did_you_mean


@dataclass(frozen=True)
class Loss:
    """Compare a predicted saliency map with the true one; lower is better.

    A device has a builder for each kind of loss. It takes ``(true, predicted)``, both
    ``(N, H, W, 1)`` in the device's own format, and returns ``(N,)`` losses; a step averages them.
    The true maps need no gradient.
    """

    def apply(self, builders: Mapping[type, Any], true: Any, predicted: Any) -> Any:
        """Compute the loss of each image with a device's builders.

        Args:
            builders: The device's layer builders.
            true: The true maps, in the device's own format.
            predicted: The predicted maps, likewise.

        Returns:
            ``(N,)`` losses.
        """
        return builders[type(self)](self, [true, predicted], {})

    def check_builders(self, builders: Mapping[type, Any]) -> None:
        """Raise an error if a device cannot compute this loss.

        Args:
            builders: The device's layer builders.

        Raises:
            GraphError: A builder is missing.
        """
        if type(self) not in builders:
            raise GraphError(f"The device has no layer builder for: {type(self).__name__}")


@dataclass(frozen=True)
class KLDivergence(Loss):
    """Compare a saliency map with the true one as distributions over the image.

    With ``t`` the true and ``p`` the predicted map of one image, each divided by
    (epsilon + its sum), the loss of that image is ``sum(t * log(epsilon + t / (epsilon + p)))``.

    Args:
        epsilon: Keeps divisions and logarithms finite.

    Source: Kroner et al. 2020, equation 1; the reference implementation's loss.py.
    """

    epsilon: float = 1e-7


@dataclass(frozen=True)
class Correlation(Loss):
    """Compute 1 - CC, Pearson's linear correlation of the two maps.

    With each map standardized to ``z = (x - mean) / sqrt(variance + epsilon)``, CC is the mean of
    the product. A constant map has the loss 1.

    Args:
        epsilon: Keeps divisions finite; maps are in 0..1.

    Source: Le Meur and Baccino, Behavior Research Methods 45, 2013.
    """

    epsilon: float = 1e-7


@dataclass(frozen=True)
class Similarity(Loss):
    """Compute 1 - SIM, the intersection of the two maps as distributions over the image.

    With each map divided by (epsilon + its sum), SIM is the sum of the minimum of the two,
    ``(t + p - |t - p|) / 2``. Where they are equal, the gradient of ``|t - p|`` is 0.

    Args:
        epsilon: Keeps divisions finite.

    Source: Judd, Durand, Torralba: A benchmark of computational models of saliency, 2012.
    """

    epsilon: float = 1e-7


@dataclass(frozen=True)
class ScanpathSaliency(Loss):
    """Compute -NSS as expected for fixations that are drawn from the true map.

    It is the mean of the standardized prediction ``(p - mean) / sqrt(variance + epsilon)``, with
    the true map, divided by (epsilon + its sum), as the weights. The metric NSS uses the fixations
    themselves, which the true map is a blurred picture of.

    Args:
        epsilon: Keeps divisions finite; maps are in 0..1.

    Source: Peters, Iyer, Itti, Koch: Components of bottom-up gaze allocation in natural images,
        Vision Research 45(18), 2005.
    """

    epsilon: float = 1e-7


@dataclass(frozen=True)
class WeightedSum(Loss):
    """Add several losses.

    Args:
        terms: A weight and a loss each.
    """

    terms: tuple[tuple[float, Loss], ...]

    def apply(self, builders: Mapping[type, Any], true: Any, predicted: Any) -> Any:
        parts = [term.apply(builders, true, predicted) * weight for weight, term in self.terms]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total

    def check_builders(self, builders: Mapping[type, Any]) -> None:
        for _, term in self.terms:
            term.check_builders(builders)


LOSSES: Mapping[str, type[Loss]] = {
    "kld": KLDivergence,
    "cc": Correlation,
    "sim": Similarity,
    "nss": ScanpathSaliency,
}
"""The losses by the names of the metrics."""

LOSS_FORM = f"one of {', '.join(LOSSES)}, or a sum of several, each once and with a weight above 0"
"""What the text of a loss must be."""

_PLUS = re.compile(r"(?<!\de)\+")
"""Between two terms, and not in a number such as 1e+2."""

_TERM = re.compile(r"(?:(\d+(?:\.\d*)?(?:e[+-]?\d+)?)\*)?([a-z]+)")


def parse_loss(text: str) -> Loss:
    """Return the loss that a text such as ``"kld+0.5*cc"`` describes.

    Args:
        text: Names of `LOSSES`, each with a weight if that is not 1.

    Raises:
        UsageError: The text has another form, or an unknown name.
    """
    terms = _terms(text)
    losses = tuple((weight, LOSSES[name]()) for name, weight in terms.items())
    if len(losses) == 1 and losses[0][0] == 1:
        return losses[0][1]
    return WeightedSum(losses)


def standard_loss(text: str) -> str:
    """Return the text of a loss in its standard form, so that equal losses have equal texts.

    Args:
        text: As for `parse_loss`.

    Raises:
        UsageError: The text has another form, or an unknown name.
    """
    return "+".join(
        name if weight == 1 else f"{weight!r}*{name}" for name, weight in _terms(text).items()
    )


def _terms(text: str) -> dict[str, float]:
    terms: dict[str, float] = {}
    for term in _PLUS.split("".join(text.lower().split())):
        match = _TERM.fullmatch(term)
        weight, name = (float(match[1] or 1), match[2]) if match else (0.0, term)
        if name not in LOSSES or name in terms or not 0 < weight < math.inf:
            raise UsageError(
                f"Invalid loss: {text!r}; must be {LOSS_FORM}, such as kld+0.5*cc."
                f"{'' if name in LOSSES else did_you_mean(name, LOSSES)}"
            )
        terms[name] = weight
    return terms
