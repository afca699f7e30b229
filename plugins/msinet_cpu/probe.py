"""The probe of `cpu`: whether TensorFlow is installed."""

from __future__ import annotations

from msinet_core import Probe, hardware
from msinet_tensorflow.probe import tensorflow_probe
from msinet_tensorflow.versions import installed_wheels

OLDEST_TENSORFLOW = "2.16"
INSTALL = 'pip install "msinet[cpu]"'
REQUIRES = (
    f"tensorflow-cpu>={OLDEST_TENSORFLOW}; "
    "sys_platform == 'linux' and platform_machine == 'x86_64'",
    f"tensorflow>={OLDEST_TENSORFLOW}; sys_platform != 'linux' or platform_machine != 'x86_64'",
)
"""The requirements that ``pip install "msinet[cpu]"`` installs."""


def probe() -> Probe:
    """Look for TensorFlow; all distributions include CPU kernels."""
    processor = (hardware.cpu_hardware(),)
    wheel = next(iter(installed_wheels()), None)
    if wheel is None:
        return tensorflow_probe(REQUIRES, INSTALL, processor)
    # Installing the extra's distribution could overwrite another one.
    required = f"{wheel}>={OLDEST_TENSORFLOW}"
    return tensorflow_probe((required,), f'pip install --upgrade "{required}"', processor)
