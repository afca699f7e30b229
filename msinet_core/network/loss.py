"""The loss that MSI-Net is trained with, as a value that devices implement."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class KLDivergence:
    """Compare a saliency map with the true one as distributions over the image.

    With ``t`` the true and ``p`` the predicted map of one image, each divided by
    (epsilon + its sum), the loss of that image is ``sum(t * log(epsilon + t / (epsilon + p)))``.
    A builder takes ``(true, predicted)``, both ``(N, H, W, 1)`` in the device's own format, and
    returns ``(N,)`` losses; a step averages them.

    Args:
        epsilon: Keeps divisions and logarithms finite.

    Source: Kroner et al. 2020, equation 1; the reference implementation's loss.py.
    """

    epsilon: float = 1e-7
