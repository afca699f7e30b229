"""The devices `mps`, `torch-cuda` and `torch-cpu`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from msinet_core import (
    Deferred,
    Device,
    DeviceSpec,
    DeviceUnavailableError,
    Processes,
    Program,
    UsageError,
    hardware,
    nvidia,
)
from msinet_torch.distribution import Distribution, is_distributed, join, local_rank
from msinet_torch.layers import TorchLayers
from msinet_torch.loading import Tensor, check_fallback, torch
from msinet_torch.model import TorchModel
from msinet_torch.probe import CHOOSE_BUILD

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


MOST_SHAPES = 256
"""Shapes that a function is compiled for; PyTorch allows at most 256 by default in all."""


class TorchDevice(Device):
    """PyTorch on one ``torch.device``; subclasses choose it and how tensors get there.

    Args:
        spec: The description of the device.
        precision: The precision of convolutions; weights, the loss and Adam are float32.
        options: A value for each of the spec's options; None for the defaults.
        distribute: ``"auto"``, ``"none"`` or ``"multiworker"``.

    Raises:
        UsageError: Options exclude each other.
    """

    layers: TorchLayers
    memory_format: Any = torch.channels_last
    """The memory format of images and kernels."""

    def __init__(
        self,
        spec: DeviceSpec,
        precision: str = "float32",
        options: Mapping[str, str] | None = None,
        distribute: str = "none",
    ) -> None:
        super().__init__(spec, precision, options)
        distributed = is_distributed(spec, distribute)
        self.uses_cuda_graphs = self.options.get("cuda-graphs") == "on"
        if self.uses_cuda_graphs and distributed:
            raise UsageError(
                "CUDA graphs do not support distributed training; omit --device-option "
                "cuda-graphs=on or use --distribute none"
            )
        self.torch_device = self.open_torch_device(local_rank() if distributed else 0)
        self.distribution = join(self.torch_device) if distributed else Distribution()
        self.layers = TorchLayers(getattr(torch, precision), self.torch_device)

    @property
    def processes(self) -> Processes:
        return self.distribution.processes

    def build(self, program: Program) -> TorchModel:
        with torch.inference_mode(False):  # whatever mode the caller is in
            return TorchModel(self, program)

    def versions(self) -> Mapping[str, str]:
        return {"torch": hardware.distribution_version("torch") or torch.__version__}

    @contextmanager
    def trace(self, folder: Path) -> Iterator[None]:
        activities = torch.profiler.supported_activities()
        with torch.profiler.profile(activities=activities) as profile:
            yield
        profile.export_chrome_trace(str(folder / "trace.json"))

    def open_torch_device(self, index: int) -> Any:
        """Set up and return the ``torch.device`` to compute on.

        Args:
            index: The index among devices of this type.
        """
        return torch.device("cpu")

    def compiled(self, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """Return a function of tensors, compiled if requested."""
        return function

    def put_images(self, images: NDArray[np.float32]) -> Tensor:
        """Copy images or maps to the device, in NCHW.

        Args:
            images: ``(N, H, W, C)`` float32.
        """
        host = torch.from_numpy(np.require(images, np.float32, ("C", "W")))
        native = self.transfer(host).permute(0, 3, 1, 2)
        return native.contiguous(memory_format=self.memory_format)

    def put_weight(self, value: NDArray[np.float32]) -> Tensor:
        """Move a weight or a moment to the device.

        Args:
            value: In the device's layout; the tensor may share its memory.
        """
        tensor = torch.from_numpy(value).to(self.torch_device)
        return tensor.contiguous(memory_format=self.memory_format) if tensor.ndim == 4 else tensor

    def transfer(self, host: Tensor) -> Tensor:
        """Copy a tensor from host memory to the device."""
        return host.to(self.torch_device)

    def result(self, values: Tensor) -> Any:
        """Return what a step computed, as an array or float that may wait when it is read.

        Args:
            values: On the device; never changed later.
        """
        return Deferred(lambda: values.cpu().numpy(), tuple(values.shape))


class CpuDevice(TorchDevice):
    """PyTorch on the CPU, with PyTorch's default number of threads.

    Steps finish before they return, so results are plain floats and arrays.
    """

    def result(self, values: Tensor) -> ArrayLike:
        plain: ArrayLike = values.numpy() if values.ndim else values.item()
        return plain


class MpsDevice(TorchDevice):
    """PyTorch on the GPU of a Mac, with no CPU fallback.

    Raises:
        DeviceUnavailableError: PyTorch finds no such GPU, or its CPU fallback is enabled.
    """

    # Users report wrong results and slow gradients with channels_last on MPS.
    # Source: https://github.com/pytorch/pytorch/issues/180984, 175189, 193349
    memory_format = torch.contiguous_format

    def open_torch_device(self, index: int) -> Any:
        check_fallback(self.spec.name)
        mps = torch.backends.mps
        if not mps.is_available():
            reason = "its MPS backend does not support this machine"
            if not mps.is_built():
                reason = "it was built without MPS"
            raise DeviceUnavailableError(
                f"Device '{self.spec.name}' is not available: torch {torch.__version__} is "
                f"installed, but {reason}. On a Mac with Apple silicon and macOS 14 or later, run: "
                "pip install --upgrade torch"
            )
        if self.options["memory"] != "auto":
            _limit_mps(int(self.options["memory"].rstrip("%")) / 100)
        return torch.device("mps")


class CudaDevice(TorchDevice):
    """PyTorch on NVIDIA GPUs, with no CPU fallback.

    Raises:
        DeviceUnavailableError: PyTorch finds no GPU.
        UsageError: The GPU does not support the precision, or options exclude each other.
    """

    def open_torch_device(self, index: int) -> Any:
        if not torch.cuda.is_available():
            raise DeviceUnavailableError(_why_no_gpu(self.spec))
        count = torch.cuda.device_count()
        if index >= count:
            raise UsageError(
                f"No GPU for process {index + 1} on this machine: PyTorch finds {count}. Start at "
                f"most one process per GPU: torchrun --nproc-per-node {count}"
            )
        gpu = torch.device("cuda", index)
        tf32 = self.options["tf32"] == "on"
        self._check_gpu(gpu, tf32)
        torch.cuda.set_device(gpu)
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
        torch.backends.cudnn.benchmark = True  # shapes repeat: trying algorithms pays
        return gpu

    def compiled(self, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        if self.options["compile"] == "off":
            return function
        compiled: Callable[..., Tensor] = compile_whole(function)
        return compiled

    def transfer(self, host: Tensor) -> Tensor:
        return host.pin_memory().to(self.torch_device, non_blocking=True)

    def result(self, values: Tensor) -> Deferred:
        host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
        host.copy_(values, non_blocking=True)
        copied = torch.cuda.Event()
        copied.record()

        def read() -> ArrayLike:
            copied.synchronize()  # waits for these values, not for later steps
            values: ArrayLike = host.numpy()
            return values

        return Deferred(read, tuple(values.shape))

    def _check_gpu(self, gpu: Any, tf32: bool) -> None:
        """Refuse a GPU without kernels, and a precision that it does not support in hardware."""
        name, capability = torch.cuda.get_device_name(gpu), torch.cuda.get_device_capability(gpu)
        self._check_build(name, capability)
        nvidia.check_features(self.spec.name, name, capability, self.precision, tf32)

    def _check_build(self, name: str, capability: tuple[int, int]) -> None:
        """Refuse a GPU that PyTorch's build has no kernels for."""
        targets = torch.cuda.get_arch_list()
        if targets and nvidia.kernel_support(capability, targets) == "none":
            raise DeviceUnavailableError(
                f"Device '{self.spec.name}' is not available: torch {torch.__version__} has no "
                f"kernels for {name} (compute capability {capability[0]}.{capability[1]}), only "
                f"for {', '.join(targets)}. Install a build for "
                f"{'an older' if capability < nvidia.AMPERE else 'a newer'} CUDA: "
                "https://pytorch.org/get-started/locally/"
            )


def compile_whole(function: Callable[..., Tensor], backend: str = "inductor") -> Any:
    """Compile a function to one program for each shape; whatever PyTorch cannot fuse is an error.

    Args:
        function: Takes and returns tensors.
        backend: PyTorch's name of the code generator.
    """
    # PyTorch stops compiling beyond this number of shapes, 8 by default.
    torch._dynamo.config.recompile_limit = MOST_SHAPES
    return torch.compile(function, dynamic=False, fullgraph=True, backend=backend)


def _limit_mps(share: float) -> None:
    """Limit the memory that PyTorch may use to a share of the Mac's.

    Source: https://docs.pytorch.org/docs/stable/generated/torch.mps.set_per_process_memory_fraction
    """
    memory = hardware.cpu_hardware().memory
    if memory is None:
        return
    # PyTorch takes a fraction of what macOS recommends for a GPU, which is less than all.
    fraction = share * memory / torch.mps.recommended_max_memory()
    torch.mps.set_per_process_memory_fraction(min(fraction, 2.0))


def _why_no_gpu(spec: DeviceSpec) -> str:
    probe = spec.probe()
    if not probe.ready:
        return spec.unavailable_message(probe)
    if torch.version.cuda is None:  # such as conda's CPU build, whose version does not say so
        return (
            f"Device '{spec.name}' is not available: torch {torch.__version__} was built without "
            f"CUDA. {CHOOSE_BUILD}"
        )
    names = ", ".join(gpu.name for gpu in nvidia.nvidia_gpus())
    return (
        f"Device '{spec.name}' is not available: the driver lists {names or 'a GPU'}, but torch "
        f"{torch.__version__} (CUDA {torch.version.cuda}) does not find it. The driver is probably "
        "too old for that CUDA version: update it, or install a build for an older CUDA from "
        "https://pytorch.org/get-started/locally/"
    )
