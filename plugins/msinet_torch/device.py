"""The devices `mps`, `torch-cuda` and `torch-cpu`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from msinet_core.device import Device, DeviceSpec, Program
from msinet_core.device.processes import Processes
from msinet_core.errors import DeviceUnavailableError, UsageError
from msinet_core.hardware.host import distribution_version
from msinet_core.hardware.nvidia import nvidia_gpus
from msinet_core.network.graph import LayerBuilder
from msinet_torch.distribution import Distribution, join, local_rank, wanted
from msinet_torch.layers import Layers, Tensor, torch
from msinet_torch.loading import check_fallback
from msinet_torch.model import TorchModel
from msinet_torch.results import Fetched, Unread

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

AMPERE = (8, 0)
"""The first compute capability with tensor cores for bfloat16 and TF32.

Source: NVIDIA CUDA C++ Programming Guide, table of features by compute capability.
"""


class TorchDevice(Device):
    """PyTorch in one place; a device says which, and how tensors get there.

    Args:
        spec: The light description it was opened from.
        precision: What convolutions compute in; weights, the loss and Adam are float32.
        options: A value for each of the spec's options; None for their defaults.
        distribute: ``"auto"``, ``"none"`` or ``"multiworker"``.
    """

    memory_format: Any = torch.channels_last
    """How the four axes of images and kernels lie in memory."""

    records = False
    """Whether steps are recorded as CUDA graphs; a device may set it on the instance."""

    def __init__(
        self,
        spec: DeviceSpec,
        precision: str = "float32",
        options: Mapping[str, str] | None = None,
        distribute: str = "none",
    ) -> None:
        super().__init__(spec, precision, options)
        together = wanted(spec, distribute)
        self.place = self.open_place(local_rank() if together else 0)
        self.distribution = join(self.place) if together else Distribution()
        self.layers = Layers(getattr(torch, precision), self.place)
        self._layer_builders = self.layers.builders()

    @property
    def processes(self) -> Processes:
        return self.distribution.processes

    @property
    def layer_builders(self) -> Mapping[type, LayerBuilder[Any]]:
        return self._layer_builders

    def open_place(self, index: int) -> Any:
        """Return the ``torch.device`` to compute on, after setting it up.

        Args:
            index: Which of several.
        """
        return torch.device("cpu")

    def compiled(self, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """Return a function of tensors, possibly compiled.

        Args:
            function: Computes the network.
        """
        return function

    def place_images(self, images: NDArray[np.float32]) -> Tensor:
        """Bring images or maps to the device, in its data format.

        Args:
            images: ``(N, H, W, C)`` float32.
        """
        host = torch.from_numpy(np.require(images, np.float32, ("C", "W")))
        return (
            self.transferred(host).permute(0, 3, 1, 2).contiguous(memory_format=self.memory_format)
        )

    def place_weight(self, value: NDArray[np.float32]) -> Tensor:
        """Bring a weight or a moment to the device.

        Args:
            value: In the device's layout; kept, so that it must be nobody else's.
        """
        tensor = torch.from_numpy(value).to(self.place)
        return tensor.contiguous(memory_format=self.memory_format) if tensor.ndim == 4 else tensor

    def transferred(self, host: Tensor) -> Tensor:
        """Bring a tensor to the device as it is.

        Args:
            host: In the host's memory.
        """
        return host.to(self.place)

    def result(self, values: Tensor) -> ArrayLike:
        """Return what a step computed; an array that waits for the device when it is read.

        Args:
            values: On the device, not changed any more.
        """
        answer: ArrayLike = Unread(values)
        return answer

    def scalar(self, value: Tensor) -> Any:
        """Return a loss; a number that waits for the device when it is read.

        Args:
            value: A scalar on the device.
        """
        return self.result(value)

    def build(self, program: Program) -> TorchModel:
        return TorchModel(self, program)

    def versions(self) -> Mapping[str, str]:
        return {"torch": distribution_version("torch") or torch.__version__}


class CpuDevice(TorchDevice):
    """PyTorch on the processor; as many threads as PyTorch chooses.

    A step is done when it returns, so that results are plain floats and arrays.
    """

    def result(self, values: Tensor) -> ArrayLike:
        answer: ArrayLike = values.numpy()
        return answer

    def scalar(self, value: Tensor) -> float:
        return float(value)


class MpsDevice(TorchDevice):
    """PyTorch on the GPU of a Mac, and nowhere else.

    Raises:
        DeviceUnavailableError: PyTorch does not find the GPU, or may compute elsewhere.
    """

    # Users report wrong results and slow gradients with channels_last on MPS.
    # Source: https://github.com/pytorch/pytorch/issues/180984, 175189, 193349
    memory_format = torch.contiguous_format

    def open_place(self, index: int) -> Any:
        check_fallback()
        if not torch.backends.mps.is_available():
            built = "its MPS backend does not run on this machine"
            if not torch.backends.mps.is_built():
                built = "it was built without MPS"
            raise DeviceUnavailableError(
                f"Device '{self.spec.name}' is not available: torch {torch.__version__} is "
                f"installed, but {built}. On a Mac with Apple silicon and macOS 14 or later: "
                "pip install --upgrade torch"
            )
        return torch.device("mps")


class CudaDevice(TorchDevice):
    """PyTorch on NVIDIA GPUs, and nowhere else.

    Args:
        spec: The light description it was opened from.
        precision: What convolutions compute in; weights, the loss and Adam are float32.
        options: ``tf32``, ``compile`` and ``cuda-graphs``, each ``"on"`` or ``"off"``; None for
            their defaults.
        distribute: ``"auto"``, ``"none"`` or ``"multiworker"``.

    Raises:
        DeviceUnavailableError: PyTorch sees no GPU; nothing is computed elsewhere instead.
        UsageError: A GPU does not compute in that precision, or options exclude each other.
    """

    def __init__(
        self,
        spec: DeviceSpec,
        precision: str = "float32",
        options: Mapping[str, str] | None = None,
        distribute: str = "none",
    ) -> None:
        super().__init__(spec, precision, options, distribute)
        self.records = self.options["cuda-graphs"] == "on"
        if self.records and self.processes.count > 1:
            raise UsageError(
                "CUDA graphs record steps of one process only. Leave --device-option "
                "cuda-graphs=on out, or use --distribute none."
            )

    def open_place(self, index: int) -> Any:
        if not torch.cuda.is_available():
            raise DeviceUnavailableError(_why_no_gpu(self.spec))
        there = torch.cuda.device_count()
        if index >= there:
            raise UsageError(
                f"This is process {index + 1} of this machine, and PyTorch sees {there} GPUs: "
                f"start at most that many, with torchrun --nproc-per-node {there}."
            )
        place = torch.device("cuda", index)
        tf32 = self.options["tf32"] == "on"
        _check_gpu(place, self.precision, tf32)
        torch.cuda.set_device(place)
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
        torch.backends.cudnn.benchmark = True  # shapes repeat: trying algorithms pays
        return place

    def compiled(self, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        if self.options["compile"] == "off":
            return function
        compiled: Callable[..., Tensor] = torch.compile(function, dynamic=False)
        return compiled

    def transferred(self, host: Tensor) -> Tensor:
        return host.pin_memory().to(self.place, non_blocking=True)

    def result(self, values: Tensor) -> ArrayLike:
        answer: ArrayLike = Fetched(values)
        return answer


def _why_no_gpu(spec: DeviceSpec) -> str:
    probe = spec.probe()
    if not probe.ready:
        return spec.unavailable_message(probe)
    names = ", ".join(gpu.name for gpu in nvidia_gpus())
    return (
        f"Device '{spec.name}' is not available: the driver offers {names or 'a GPU'}, but torch "
        f"{torch.__version__} (CUDA {torch.version.cuda or 'none'}) does not see it; mostly the "
        "driver is older than that CUDA needs. Update the driver, or install a build for an older "
        "CUDA: https://pytorch.org/get-started/locally/"
    )


def _check_gpu(place: Any, precision: str, tf32: bool) -> None:
    """Refuse what a GPU's hardware does not compute."""
    capability = torch.cuda.get_device_capability(place)
    if capability >= AMPERE:
        return
    name = torch.cuda.get_device_name(place)
    told = f"{name} has compute capability {capability[0]}.{capability[1]}"
    if precision == "bfloat16":
        raise UsageError(
            f"Device 'torch-cuda' cannot compute in bfloat16: {told}, and bfloat16 needs 8.0. "
            "Use --precision float16 or float32."
        )
    if tf32:
        raise UsageError(
            f"Device 'torch-cuda' cannot compute in TF32: {told}, and TF32 needs 8.0. "
            "Leave --device-option tf32=on out."
        )
