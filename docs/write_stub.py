"""Write ``msinet_core/__init__.pyi``, where type checkers and editors find the public names."""

from __future__ import annotations

import sys
from pathlib import Path

import msinet_core

STUB = Path(msinet_core.__file__).with_suffix(".pyi")


def stub() -> str:
    """Return the text of the stub, from the table of public names."""
    lines = [
        "# Written by docs/write_stub.py from the table in __init__.py.",
        "",
        *(
            f"from msinet_core.{module} import {name} as {name}"
            for module, names in sorted(msinet_core._MODULES.items())
            for name in names
        ),
        *(
            "from msinet_core{} import {} as {}".format(
                "." + target.rpartition(".")[0] if "." in target else "",
                target.rpartition(".")[2],
                name,
            )
            for name, target in msinet_core._SUBMODULES.items()
        ),
    ]
    return "\n".join([*lines[:2], *sorted(lines[2:]), ""])


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(STUB.read_text(encoding="utf-8") != stub())
    STUB.write_text(stub(), encoding="utf-8")
