"""The model of all TensorFlow devices: variables and one compiled function for each step."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, SupportsFloat

import numpy as np

from msinet_core import (
    Adam,
    Batch,
    LossScale,
    Model,
    OptimizerState,
    Program,
    State,
    permutation,
)
from msinet_tensorflow.layers import Tensor, tf

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from msinet_core import Tensors
    from msinet_tensorflow.device import TensorFlowDevice

Variables = Mapping[str, Any]


class TensorFlowModel(Model):
    """A graph whose weights and Adam moments are variables.

    Every step is one ``tf.function``, traced once for each shape ``(N, H, W)``; everything else
    that changes between steps (learning rate, bias correction, each image's weight) is a tensor.
    In float16 the loss is scaled (`LossScale`); a resumed run starts with the initial scale.

    Args:
        device: Provides layer builders and the data format.
        program: The network and its state, which is copied.
    """

    def __init__(self, device: TensorFlowDevice, program: Program) -> None:
        super().__init__(device, program)
        self._device: TensorFlowDevice = device
        self.unread_losses = device.unread_losses
        self._distribution = device.distribution
        self._builders = device.layer_builders
        self._data_format = device.spec.data_format
        _free_unused()
        self._owned: list[Any] = []
        weakref.finalize(self, _unused.extend, self._owned).atexit = False
        self._weights = self._variables(program.state.weights)
        self._m: Variables = {}
        self._v: Variables = {}
        self._step = 0
        self._scale: LossScale | None = None
        if program.optimizer is not None:
            memory = program.optimizer_state
            self._m = self._variables(memory.m)
            self._v = self._variables(memory.v)
            self._step = memory.step
            if device.precision == "float16":
                with self._distribution.scope():
                    values = LossScale.new(program.optimizer, memory.step)
                    self._scale = LossScale(
                        *(tf.Variable(value, trainable=False, dtype=tf.float32) for value in values)
                    )
        self._compiled_predict = self._compiled(self._predict)
        self._compiled_losses = self._compiled(self._losses)
        self._compiled_train = self._compiled(self._train)
        self._compiled_accumulate = self._compiled(self._accumulate)
        self._compiled_finish = self._compiled(self._finish)

    def forward(self, images: NDArray[np.float32]) -> Tensor:
        size = self._distribution.size(len(images))
        return _first(self._compiled_predict(*self._placed(size, images)), len(images))

    def losses(self, batch: Batch) -> Tensor:
        size = self._distribution.size(len(batch.images))
        return _first(self._compiled_losses(*self._placed(size, *batch)), len(batch.images))

    def update(self, batches: Sequence[Batch], learning_rate: float) -> SupportsFloat:
        assert self._optimizer is not None
        count, sizes = self._distribution.agree([len(batch.images) for batch in batches])
        self.check_count(count)
        inputs = [
            self._placed(size, *batch, np.full(len(batch.images), 1 / count))  # padding weighs 0
            for batch, size in zip(batches, sizes, strict=True)
            if size
        ]
        rate = self._rate(self._optimizer, learning_rate)
        with self._distribution.reporting_lost():
            loss = self._run_step(inputs, rate)
            self._step += 1
            # With several processes, to detect lost ones.
            waits = self._device.synchronous or self._distribution.processes.count > 1
            return float(loss) if waits else loss

    def _run_step(self, inputs: Sequence[Sequence[Any]], rate: np.float32) -> Any:
        if len(inputs) == 1:
            return self._compiled_train(*inputs[0], rate)
        self._clear()  # an interrupted step may have left gradients
        loss = sum(self._compiled_accumulate(*parts) for parts in inputs)
        self._compiled_finish(rate)
        return loss

    def state(self) -> State:
        weights = self._canonical(self._weights)
        if self._optimizer is None:
            return State(weights)
        step = self._step - (int(self._scale.skipped.numpy()) if self._scale else 0)
        memory = OptimizerState(step, self._canonical(self._m), self._canonical(self._v))
        return State(weights, memory)

    def concrete_steps(self, shape: tuple[int, int, int, int]) -> Mapping[str, Any]:
        """Trace the steps that this model was compiled for, without running them; for audits.

        Args:
            shape: The shape of the images, ``(N, H, W, C)``.

        Returns:
            A concrete function for each of ``"predict"``, ``"evaluate"``, ``"train"``,
            ``"accumulate"`` and ``"finish"``; the last two make a step over several batches.
        """
        images = tf.TensorSpec(shape, tf.float32)
        maps = tf.TensorSpec(self._graph.shapes(shape)[self._graph.output.name], tf.float32)
        weights, rate = tf.TensorSpec(shape[:1], tf.float32), tf.TensorSpec((), tf.float32)
        steps = {"predict": self._compiled_predict.get_concrete_function(images)}
        if self._loss is not None:
            steps["evaluate"] = self._compiled_losses.get_concrete_function(images, maps)
        if self._optimizer is not None:
            steps["train"] = self._compiled_train.get_concrete_function(images, maps, weights, rate)
            self._clear()  # creates the accumulators, which tracing needs
            steps["accumulate"] = self._compiled_accumulate.get_concrete_function(
                images, maps, weights
            )
            steps["finish"] = self._compiled_finish.get_concrete_function(rate)
        return steps

    # The methods below run while a step is traced; their arguments are symbolic tensors.

    def _predict(self, images: Tensor) -> Tensor:
        maps = _converted(self._forward(images), self._data_format, "NHWC")
        return tf.cast(maps, tf.float32)

    def _forward(self, images: Tensor) -> Tensor:
        native = _converted(images, "NHWC", self._data_format)
        return self._graph.apply(self._builders, native, self._weights)

    def _losses(self, images: Tensor, maps: Tensor) -> Tensor:
        predicted = tf.cast(self._forward(images), tf.float32)
        true = _converted(maps, "NHWC", self._data_format)
        assert self._loss is not None
        return self._loss.apply(self._builders, true, predicted)

    def _gradients(self, images: Tensor, maps: Tensor, weights: Tensor) -> tuple[Tensor, Variables]:
        """Return the weighted sum of the images' losses and its gradient, which may be scaled.

        Only what is trained is watched, so that nothing before the first trained layer is
        differentiated.
        """
        trained = {name: self._weights[name] for name in self._trained}
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(list(trained.values()))
            loss = tf.reduce_sum(self._losses(images, maps) * weights)
            scaled = loss * self._scale.value if self._scale else loss
        return loss, tape.gradient(scaled, trained, unconnected_gradients="zero")

    def _train(self, images: Tensor, maps: Tensor, weights: Tensor, rate: Tensor) -> Tensor:
        loss, gradients = self._distribution.total(self._gradients(images, maps, weights))
        self._apply(gradients, rate)
        return loss

    def _accumulate(self, images: Tensor, maps: Tensor, weights: Tensor) -> Tensor:
        loss, gradients = self._distribution.total(self._gradients(images, maps, weights))
        for name, gradient in gradients.items():
            tf.raw_ops.AssignAddVariableOp(resource=self._accumulated[name].handle, value=gradient)
        return loss

    def _finish(self, rate: Tensor) -> None:
        gradients = {name: tf.convert_to_tensor(sum) for name, sum in self._accumulated.items()}
        self._apply(gradients, rate)

    def _apply(self, gradients: Variables, rate: Tensor) -> None:
        """Apply Adam with one op for each variable; the rate includes the bias correction.

        Args:
            gradients: The gradients by parameter name, scaled if there is a scale.
            rate: The result of `_rate`.
        """
        assert self._optimizer is not None
        adam, decays = self._optimizer, (self._optimizer.beta_1, self._optimizer.beta_2)
        if self._scale is not None:
            before = LossScale(*map(tf.convert_to_tensor, self._scale))
            finite = all_finite(gradients.values())
            after, rate, decays, gradients = before.step(tf.where, adam, finite, gradients, rate)
            for variable, value in zip(self._scale, after, strict=True):
                # Each replica assigns to its own copy.
                tf.raw_ops.AssignVariableOp(resource=variable.handle, value=value)
        for name in self._trained:
            factor = adam.factor(name)
            tf.raw_ops.ResourceApplyAdam(
                var=self._weights[name].handle,
                m=self._m[name].handle,
                v=self._v[name].handle,
                beta1_power=0.0,
                beta2_power=0.0,
                lr=rate if factor == 1 else rate * factor,
                beta1=decays[0],
                beta2=decays[1],
                epsilon=adam.epsilon,
                grad=gradients[name],
            )

    # The methods below run on the host.

    @cached_property
    def _accumulated(self) -> Variables:
        """The sums of gradients over several batches; created when first needed."""
        with self._distribution.scope():
            accumulated = {
                name: tf.Variable(tf.zeros(self._weights[name].shape), trainable=False)
                for name in self._trained
            }
        self._owned += accumulated.values()
        return accumulated

    def _clear(self) -> None:
        for gradient in self._accumulated.values():
            gradient.assign(tf.zeros(gradient.shape))

    def _rate(self, optimizer: Adam, learning_rate: float) -> np.float32:
        """Return the learning rate of the next step with bias correction.

        TensorFlow's op would compute the correction in float32, where ``1 - 0.999`` has five
        correct digits. With a loss scale, `LossScale.step` applies it, because only the device
        knows the number of skipped steps.
        """
        if self._scale is not None:
            return np.float32(learning_rate)
        return np.float32(optimizer.rate(learning_rate, self._step + 1))

    def _placed(self, size: int, *arrays: NDArray[Any]) -> list[Any]:
        """Copy arrays with a row for each image to the devices, `size` rows to each."""
        return [self._distribution.place(np.asarray(rows, np.float32), size) for rows in arrays]

    def _compiled(self, step: Any) -> Any:
        return self._distribution.compiled(step, self._device.jit_compile)

    def _variables(self, tensors: Tensors) -> Variables:
        with self._distribution.scope():
            variables = {
                name: tf.Variable(value, dtype=tf.float32, name=name)
                for name, value in self.native(tensors).items()
            }
        self._owned += variables.values()
        return variables

    def _canonical(self, variables: Variables) -> Tensors:
        return self.canonical({name: value.numpy() for name, value in variables.items()})


_unused: deque[Any] = deque()
"""Variables of deleted models. Garbage collection appends to it, possibly during a trace, when
TensorFlow must not be called."""


def _free_unused() -> None:
    """Free the variables of deleted models.

    TensorFlow never unregisters the gradients of `tf.custom_gradient`. They keep every traced
    function alive, and with it the variables.
    """
    while _unused:
        variable = _unused.popleft()
        for part in getattr(variable, "values", (variable,)):  # a mirrored one has several
            tf.raw_ops.AssignVariableOp(resource=part.handle, value=tf.zeros(()))


def all_finite(tensors: Iterable[Tensor]) -> Tensor:
    """Return whether all values are finite, as a boolean scalar inside the compiled step.

    The sum of absolute values is finite only if each value is; unlike IsFinite and All, its ops
    have kernels on every device.

    Args:
        tensors: float32.
    """
    return tf.add_n([tf.reduce_sum(tf.abs(tensor)) for tensor in tensors]) <= tf.float32.max


def _converted(images: Tensor, source: str, target: str) -> Tensor:
    """Change the data format, inside the compiled step; with a single channel, reshape."""
    if source == target:
        return images
    axes = permutation(source, target)
    if images.shape[source.index("C")] == 1:
        return tf.reshape(images, [images.shape[axis] for axis in axes])
    return tf.transpose(images, axes)


def _first(rows: Tensor, count: int) -> Tensor:
    """Remove the padding."""
    return rows if rows.shape[0] == count else rows[:count]
