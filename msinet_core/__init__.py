"""MSI-Net, one saliency network, trained and run on any device through plugins.

This is the front door: everything that users and plugin authors import is a name of this package.
Every other module is private and may change. Names are imported on first use, so that
``import msinet_core`` takes about a millisecond and loads neither NumPy nor a framework.

Example:
    >>> import msinet_core as msinet
    >>> model = msinet.load("best.msinet.h5", device="cpu")
    >>> saliency = model.predict("photo.jpg")
"""

_SUBMODULES = {
    "apple": "hardware.apple",
    "hardware": "hardware",
    "nvidia": "hardware.nvidia",
    "ops": "network.ops",
}
"""The public names that are modules."""

# The loader also finds the stub in an archive, and beside a module without its source.
_stub = __loader__.get_data(f"{__file__.rpartition('.')[0]}.pyi").decode()  # type: ignore[attr-defined]
_HOME = {line[3]: line[1] for line in map(str.split, _stub.splitlines()) if line[:1] == ["from"]}
"""Where each public name is defined: the type stub lists them."""

__all__ = sorted(_HOME)


def __getattr__(name: str) -> object:
    import importlib

    value: object
    if name in _SUBMODULES:
        value = importlib.import_module(f"{__name__}.{_SUBMODULES[name]}")
    elif name in _HOME:
        value = getattr(importlib.import_module(_HOME[name]), name)
    else:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
