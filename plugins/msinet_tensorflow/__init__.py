"""What the TensorFlow devices share: version checks, probes, layer builders, the compiled steps.

It brings no device of its own. `versions` and `probe` are light; `layers`, `model` and `device`
import TensorFlow.
"""

from __future__ import annotations

CLUSTER_VARIABLE = "TF_CONFIG"
"""TensorFlow's environment variable that names every process and says which one this is."""
