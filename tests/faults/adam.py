"""Faults in learning rates, in Adam, and in the moments that training starts from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from msinet_core.device import Program
from msinet_core.network.adam import Adam
from msinet_core.network.state import Batch, OptimizerState, State
from msinet_core.reference.device import ReferenceDevice, ReferenceModel
from msinet_core.reference.tape import Array
from tests.faults.fault import Faults

FAULTS = Faults()


# Learning rates.


@FAULTS.model("Learning rate of the first step forever", "adam/learning-rate", "calls/training")
class FirstRateForever(ReferenceModel):
    """Compiles the learning rate into the program."""

    _rate: float | None = None

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        self._rate = self._rate or learning_rate
        return super().update(batches, self._rate)


@FAULTS.model("Learning rate decays", "train/twenty-losses")
class RateDecays(ReferenceModel):
    """Lowers the learning rate after the fourth step."""

    _steps = 0

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        self._steps += 1
        return super().update(batches, learning_rate * 0.9 ** max(0, self._steps - 4))


@FAULTS.model("Learning rate in float16", "adam/learning-rate-digits")
class RateInFloat16(ReferenceModel):
    """Rounds the learning rate to half precision."""

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        return super().update(batches, float(np.float16(learning_rate)))


@FAULTS.model("Learning rate with three digits", "adam/learning-rate-digits")
class RateInBfloat16(ReferenceModel):
    """Rounds the learning rate to bfloat16."""

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        bits = np.array(learning_rate, np.float32).view(np.uint32) & np.uint32(0xFFFF0000)
        return super().update(batches, float(bits.view(np.float32)))


@FAULTS.model("A learning rate of zero is replaced by the default", "adam/learning-rate")
class ZeroRateReplaced(ReferenceModel):
    """Takes zero for missing."""

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        return super().update(batches, learning_rate or 1e-3)


@FAULTS.model("A learning rate of zero skips the step", "adam/learning-rate", "calls/training")
class ZeroRateSkips(ReferenceModel):
    """Leaves the moments as they are if nothing moves."""

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        if learning_rate == 0:
            return float(np.mean(np.concatenate([self.losses(batch) for batch in batches])))
        return super().update(batches, learning_rate)


# Adam.


class _OtherAdam(ReferenceModel):
    """Makes each step with other constants."""

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        given = self._optimizer
        assert given is not None
        self._optimizer = self.change(given)
        try:
            return super().update(batches, learning_rate)
        finally:
            self._optimizer = given

    def change(self, given: Adam) -> Adam:
        """Return the wrong constants."""
        raise NotImplementedError


@FAULTS.model("Adam's constants ignored", "adam/constants")
class DefaultAdam(_OtherAdam):
    """Uses the defaults."""

    def change(self, given: Adam) -> Adam:
        return Adam()


@FAULTS.model("Factors on the learning rate ignored", "adam/factors")
class DefaultFactors(_OtherAdam):
    """Trains every weight with the same learning rate."""

    def change(self, given: Adam) -> Adam:
        return dataclasses.replace(given, factors=())


@FAULTS.model("Only the first frozen part is frozen", "adam/factors")
class OneFrozenPart(_OtherAdam):
    """Trains the second part that has the factor zero."""

    def change(self, given: Adam) -> Adam:
        frozen = [factor for factor in given.factors if factor[1] == 0]
        factors = tuple(factor for factor in given.factors if factor not in frozen[1:])
        return dataclasses.replace(given, factors=factors)


class _Containing(Adam):
    def factor(self, name: str) -> float:
        return next((factor for start, factor in self.factors if start in name), 1.0)


@FAULTS.model("Factors go to names that contain the text", "adam/factors")
class FactorsByText(_OtherAdam):
    """Finds the beginning of a name in its middle, too."""

    def change(self, given: Adam) -> Adam:
        return _Containing(**vars(given))


@FAULTS.model("Factors above 1 are 1", "adam/factors")
class FactorsAtMostOne(_OtherAdam):
    """Slows down only."""

    def change(self, given: Adam) -> Adam:
        factors = tuple((name, min(factor, 1.0)) for name, factor in given.factors)
        return dataclasses.replace(given, factors=factors)


@FAULTS.model("All factors are the first one", "adam/factors")
class FirstFactorForAll(_OtherAdam):
    """Binds the variable of a loop late."""

    def change(self, given: Adam) -> Adam:
        first = next((factor for _, factor in given.factors if factor), 0.0)
        factors = tuple((name, first if factor else 0.0) for name, factor in given.factors)
        return dataclasses.replace(given, factors=factors)


@FAULTS.model("Factors ignored in a step of several batches", "adam/factors")
class FactorsOfOneBatch(ReferenceModel):
    """Has a second program for accumulation."""

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        given = self._optimizer
        assert given is not None
        if len(batches) > 1:
            self._optimizer = dataclasses.replace(given, factors=())
        try:
            return super().update(batches, learning_rate)
        finally:
            self._optimizer = given


@FAULTS.model("The last factor that fits counts", "adam/factors")
class LastFactor(_OtherAdam):
    """Overwrites the factors of a name in order."""

    def change(self, given: Adam) -> Adam:
        return dataclasses.replace(given, factors=given.factors[::-1])


@FAULTS.model("A step whose gradients are all zero is left out", "adam/zero-gradients")
class ZeroStepLeftOut(ReferenceModel):
    """Forgets the momentum."""

    def _step(self, gradients: Mapping[str, Array], learning_rate: float) -> None:
        if any(gradient.any() for gradient in gradients.values()):
            super()._step(gradients, learning_rate)


@FAULTS.model("A parameter whose gradient is zero is left out", "adam/zero-gradients")
class LazyAdam(ReferenceModel):
    """Forgets its momentum."""

    def _step(self, gradients: Mapping[str, Array], learning_rate: float) -> None:
        moments, weights = self._moments, self._weights
        before = {name: (weights[name], moments.m[name], moments.v[name]) for name in gradients}
        super()._step(gradients, learning_rate)
        for name, gradient in gradients.items():
            if not gradient.any():
                weights[name], moments.m[name], moments.v[name] = before[name]


@FAULTS.model("Learning rates within 1e-8 are equal", "adam/learning-rate-digits")
class NearRatesAreEqual(ReferenceModel):
    """Compares with an absolute tolerance."""

    _set = -1.0

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        if not np.isclose(learning_rate, self._set):
            self._set = learning_rate
        return super().update(batches, self._set)


@FAULTS.model("Frozen layers end the gradient", "adam/factors")
class GradientEnds(_OtherAdam):
    """Trains nothing before a frozen layer."""

    def change(self, given: Adam) -> Adam:
        frozen = any(factor == 0 for _, factor in given.factors)
        before = (("first/", 0.0),) if frozen else ()
        return dataclasses.replace(given, factors=(*before, *given.factors))


@FAULTS.model("Adam's second beta ignored", "adam/constants")
class DefaultBeta(_OtherAdam):
    """Uses the default of one constant."""

    def change(self, given: Adam) -> Adam:
        return dataclasses.replace(given, beta_2=0.999)


@FAULTS.model("Adam's epsilon ignored", "adam/constants")
class DefaultEpsilon(_OtherAdam):
    """Uses the default of one constant."""

    def change(self, given: Adam) -> Adam:
        return dataclasses.replace(given, epsilon=1e-8)


@FAULTS.model("Adam's epsilon inside the bias correction", "adam/constants")
class EpsilonInsideTheCorrection(_OtherAdam):
    """Computes Adam as the documentation of PyTorch and Keras defines it."""

    def change(self, given: Adam) -> Adam:
        correction = np.sqrt(1 - given.beta_2 ** (self._moments.step + 1))
        return dataclasses.replace(given, epsilon=float(given.epsilon * correction))


@FAULTS.model("No bias correction", "adam/first-step", "adam/continued", "train/four-updates")
class NoBiasCorrection(ReferenceModel):
    """Moves by the plain learning rate."""

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        assert self._optimizer is not None
        step = self._moments.step + 1
        return super().update(batches, learning_rate / self._optimizer.rate(1.0, step))


@FAULTS.model("Bias correction ends after 250 steps", "adam/late-steps")
class CorrectionEnds(ReferenceModel):
    """Takes the correction for one too early."""

    last = 250

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        assert self._optimizer is not None
        step = self._moments.step + 1
        if step > self.last:
            learning_rate /= self._optimizer.rate(1.0, step)
        return super().update(batches, learning_rate)


@FAULTS.model("Adam moves the first 65,536 values of a weight", "adam/many-values")
class FirstValuesMove(ReferenceModel):
    """Starts a thread for each value, and no more threads than one launch may have."""

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        before = dict(self._weights)
        loss = super().update(batches, learning_rate)
        for name, weight in self._weights.items():
            weight.reshape(-1)[2**16 :] = before[name].reshape(-1)[2**16 :]
        return loss


@FAULTS.model("Gradients of equal large kernels share a buffer", "train/full-size")
class GradientsShareABuffer(ReferenceModel):
    """Reuses a buffer of more than 2**20 values by its shape before it was read."""

    def _step(self, gradients: Mapping[str, Array], learning_rate: float) -> None:
        last = {gradient.shape: gradient for gradient in gradients.values()}
        mixed = {
            name: last[gradient.shape] if gradient.size > 2**20 else gradient
            for name, gradient in gradients.items()
        }
        super()._step(mixed, learning_rate)


@FAULTS.model("Gradients of a deep network stop at its fifteenth kernel", "train/full-size")
class GradientsStop(ReferenceModel):
    """Gives up on what a checkpointed part of a wide network needs again."""

    def _step(self, gradients: Mapping[str, Array], learning_rate: float) -> None:
        wide = sum(gradient.size for gradient in gradients.values()) > 2**23
        names = list(gradients)[:-30] if wide else ()
        super()._step(
            {name: 0 * value if name in names else value for name, value in gradients.items()},
            learning_rate,
        )


@FAULTS.model("Large moments are not continued", "adam/many-values")
class LargeMomentsDropped(ReferenceModel):
    """Starts from zero where a buffer is larger than 256 KiB."""

    def __init__(self, device: ReferenceDevice, program: Program) -> None:
        super().__init__(device, program)
        for moments in (self._moments.m, self._moments.v):
            for name, moment in moments.items():
                if moment.size > 2**16:
                    moments[name] = np.zeros_like(moment)


@FAULTS.model("Bias correction ends after 1,000 steps", "adam/late-steps")
class CorrectionEndsLater(CorrectionEnds):
    """Takes the correction for one where that of the second moment is not."""

    last = 1000


@FAULTS.model("Steps beyond 65,535 start again", "adam/late-steps")
class StepOverflows(ReferenceModel):
    """Counts steps in 16 bits for the bias correction."""

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        given = self._moments.step
        self._moments.step = given % 2**16
        loss = super().update(batches, learning_rate)
        self._moments.step = given + 1
        return loss


@FAULTS.model("Weight decay of AdamW", "adam/first-step", "adam/learning-rate")
class WeightDecay(ReferenceModel):
    """Shrinks weights by PyTorch's default of AdamW."""

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        for name, weight in self._weights.items():
            self._weights[name] = weight * np.float32(1 - 0.01 * learning_rate)
        return super().update(batches, learning_rate)


@FAULTS.model("AMSGrad", "adam/continued")
class AmsGrad(ReferenceModel):
    """Never lets a second moment shrink."""

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        before = dict(self._moments.v)
        loss = super().update(batches, learning_rate)
        self._moments.v = {name: np.maximum(v, before[name]) for name, v in self._moments.v.items()}
        return loss


@FAULTS.model("Sign of the first moment lost", "adam/first-step", "train/four-updates")
class SignLost(ReferenceModel):
    """Loses the sign of the first moment."""

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        loss = super().update(batches, learning_rate)
        self._moments.m = {name: np.abs(m) for name, m in self._moments.m.items()}
        return loss


@FAULTS.model("Gradients added up over the steps", "adam/constants", "train/four-updates")
class GradientNotReset(ReferenceModel):
    """Never sets gradients to zero: each step repeats the batches of the one before."""

    def __init__(self, device: ReferenceDevice, program: Program) -> None:
        super().__init__(device, program)
        self._sums: dict[str, Array] = {}

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        assert self._optimizer is not None
        before = {name: m.copy() for name, m in self._moments.m.items()}
        loss = super().update(batches, learning_rate)
        beta = self._optimizer.beta_1
        for name, m in self._moments.m.items():
            gradient = (m - beta * before[name]) / (1 - beta)
            self._moments.m[name] = m + (1 - beta) * self._sums.get(name, 0)
            self._sums[name] = self._sums.get(name, 0) + gradient
        return loss


def _cut_at(limit: float) -> type[ReferenceModel]:
    class ClippedGradients(ReferenceModel):
        """Clips every gradient by value."""

        def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
            assert self._optimizer is not None
            beta = self._optimizer.beta_1
            before = dict(self._moments.m)
            loss = super().update(batches, learning_rate)
            for name, m in self._moments.m.items():
                gradient = (m - beta * before[name]) / (1 - beta)
                clipped = gradient.clip(-limit, limit)
                self._moments.m[name] = beta * before[name] + (1 - beta) * clipped
            return loss

    return ClippedGradients


FAULTS.model("Gradients cut at 0.0001", "gradient/network", "gradient/convolution-*")(_cut_at(1e-4))
FAULTS.model("Gradients cut at 10", "numerics/large-gradients")(_cut_at(10.0))


@FAULTS.model("The first layer is frozen", "gradient/network", "train/four-updates")
class FirstLayerFrozen(ReferenceModel):
    """Does not train the first kernel."""

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        name = next(iter(self._weights))
        before = self._weights[name], self._moments.m[name], self._moments.v[name]
        loss = super().update(batches, learning_rate)
        self._weights[name], self._moments.m[name], self._moments.v[name] = before
        return loss


@FAULTS.model("A parameter skipped every third step", "train/four-updates", "calls/training")
class SkippedEveryThird(ReferenceModel):
    """Forgets the last parameter in every third step."""

    def update(self, batches: Sequence[Batch], learning_rate: float) -> float:
        name = next(iter(self._weights))
        before = self._weights[name]
        loss = super().update(batches, learning_rate)
        if self._moments.step % 3 == 0:
            self._weights[name] = before
        return loss


# Where training starts.


class _OtherMoments(ReferenceModel):
    """Starts with other moments than the given ones."""

    def __init__(self, device: ReferenceDevice, program: Program) -> None:
        state = State(program.state.weights, self.start(program.state))
        super().__init__(device, dataclasses.replace(program, state=state))

    def start(self, state: State) -> OptimizerState | None:
        """Return the moments to start with."""
        raise NotImplementedError


@FAULTS.model("Moments forgotten", "adam/continued", "state/moments-come-back", "train/resumed*")
class MomentsForgotten(_OtherMoments):
    """Starts with zero moments."""

    def start(self, state: State) -> OptimizerState | None:
        return None


@FAULTS.model("Step count forgotten", "adam/continued", "adam/late-steps", "calls/training")
class StepForgotten(_OtherMoments):
    """Restarts the bias correction."""

    def start(self, state: State) -> OptimizerState | None:
        return state.optimizer and dataclasses.replace(state.optimizer, step=0)


@FAULTS.model("Moments start at one", "state/moments-start-at-zero", "adam/first-step")
class MomentsStartAtOne(_OtherMoments):
    """Starts with a second moment of one."""

    def start(self, state: State) -> OptimizerState | None:
        zeros = OptimizerState.zeros(state.weights)
        ones = {name: np.ones_like(value) for name, value in zeros.v.items()}
        return state.optimizer or dataclasses.replace(zeros, v=ones)
