"""A network on a TPU, and its training step as a program that other compilers of XLA read."""

from __future__ import annotations

from msinet_tensorflow.layers import tf
from msinet_tensorflow.model import TensorFlowModel


class TpuModel(TensorFlowModel):
    """A TensorFlow model whose training step can be written down."""

    def training_program(self, shape: tuple[int, int, int, int]) -> bytes:
        """Write the training step down as serialized HLO, computing nothing.

        Weights and moments are arguments of the program, which updates them in place.

        Args:
            shape: The images' ``(N, H, W, C)``.
        """
        images = tf.TensorSpec(shape, tf.float32)
        maps = tf.TensorSpec(self._graph.shapes(shape)[self._graph.output.name], tf.float32)
        weights, rate = tf.TensorSpec(shape[:1], tf.float32), tf.TensorSpec((), tf.float32)
        describe = self._compiled_train.experimental_get_compiler_ir(images, maps, weights, rate)
        program: bytes = describe(stage="hlo_serialized")
        return program
