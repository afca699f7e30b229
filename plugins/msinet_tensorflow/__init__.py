"""What the TensorFlow devices share: version checks, probes, layer builders, the compiled steps.

It brings no device of its own. `versions` and `probe` are light; `layers`, `model` and `device`
import TensorFlow.
"""
