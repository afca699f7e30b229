# Written by docs/generate.py from the table in __init__.py.

from msinet_core import hardware as hardware
from msinet_core.benchmark.bench import bench as bench
from msinet_core.checkpoint.convert import convert as convert
from msinet_core.checkpoint.inspect import inspect as inspect
from msinet_core.conformance.same_weights import verify_conversion as verify_conversion
from msinet_core.conformance.suite import DeviceConformance as DeviceConformance
from msinet_core.device import Availability as Availability
from msinet_core.device import Capabilities as Capabilities
from msinet_core.device import Deferred as Deferred
from msinet_core.device import Device as Device
from msinet_core.device import DeviceOption as DeviceOption
from msinet_core.device import DeviceSpec as DeviceSpec
from msinet_core.device import Hardware as Hardware
from msinet_core.device import Layers as Layers
from msinet_core.device import Model as Model
from msinet_core.device import Probe as Probe
from msinet_core.device import Processes as Processes
from msinet_core.device import Program as Program
from msinet_core.device import report_lost_processes as report_lost_processes
from msinet_core.errors import CheckpointError as CheckpointError
from msinet_core.errors import DataError as DataError
from msinet_core.errors import DeviceUnavailableError as DeviceUnavailableError
from msinet_core.errors import DivergenceError as DivergenceError
from msinet_core.errors import GraphError as GraphError
from msinet_core.errors import InterruptedRunError as InterruptedRunError
from msinet_core.errors import MsinetError as MsinetError
from msinet_core.errors import PluginError as PluginError
from msinet_core.errors import UsageError as UsageError
from msinet_core.evaluation.evaluate import evaluate as evaluate
from msinet_core.hardware import apple as apple
from msinet_core.hardware import nvidia as nvidia
from msinet_core.network import ops as ops
from msinet_core.network.adam import Adam as Adam
from msinet_core.network.graph import Graph as Graph
from msinet_core.network.graph import GraphBuilder as GraphBuilder
from msinet_core.network.graph import LayerBuilder as LayerBuilder
from msinet_core.network.graph import Parameter as Parameter
from msinet_core.network.interpolation import interpolation_matrix as interpolation_matrix
from msinet_core.network.layout import permutation as permutation
from msinet_core.network.loss import KLDivergence as KLDivergence
from msinet_core.network.loss_scale import LossScale as LossScale
from msinet_core.network.msinet import DEFAULT_IMAGE_SIZE as DEFAULT_IMAGE_SIZE
from msinet_core.network.msinet import msinet_graph as msinet_graph
from msinet_core.network.state import Batch as Batch
from msinet_core.network.state import OptimizerState as OptimizerState
from msinet_core.network.state import State as State
from msinet_core.network.state import Tensors as Tensors
from msinet_core.prediction.predictor import Predictor as Predictor
from msinet_core.prediction.predictor import load as load
from msinet_core.registry.doctor import Finding as Finding
from msinet_core.registry.hookspecs import Register as Register
from msinet_core.registry.hookspecs import hookimpl as hookimpl
from msinet_core.registry.inventory import DeviceEntry as DeviceEntry
from msinet_core.registry.inventory import devices as devices
from msinet_core.system.native_output import suppress_native_stderr as suppress_native_stderr
from msinet_core.system.version import __version__ as __version__
from msinet_core.training.train import train as train

__all__: list[str]
_MODULES: dict[str, tuple[str, ...]]
_SUBMODULES: dict[str, str]
