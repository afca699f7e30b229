"""The code that all TensorFlow devices share; it registers no device of its own.

`versions` and `probe` import no framework; `layers`, `model` and `device` import TensorFlow.
"""

from __future__ import annotations

from functools import partial

from msinet_core import DeviceSpec

CLUSTER_VARIABLE = "TF_CONFIG"
"""TensorFlow's environment variable that lists all processes and identifies this one."""

tensorflow_spec = partial(
    DeviceSpec,
    framework="TensorFlow",
    api_version=1,
    kernel_layout="HWIO",
    checkpoint_format="keras",
    checkpoint_formats=("msinet_tensorflow.checkpoint:KERAS_MODEL",),
)
"""Describes a TensorFlow device."""
