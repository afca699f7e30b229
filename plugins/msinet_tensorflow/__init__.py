"""The code that all TensorFlow devices share; it registers no device of its own.

`versions` and `probe` import no framework; `layers`, `model` and `device` import TensorFlow.
"""

from __future__ import annotations

CLUSTER_VARIABLE = "TF_CONFIG"
"""TensorFlow's environment variable that lists all processes and identifies this one."""

CHECKPOINT_FORMATS = ("msinet_tensorflow.checkpoint:KERAS_MODEL",)
"""The formats that the TensorFlow devices add."""
