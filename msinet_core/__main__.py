"""``python -m msinet_core`` is ``msinet-run``."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

if __name__ == "__main__":
    # Python searches the current folder first; nothing there is to be executed by accident.
    with suppress(FileNotFoundError):  # the current folder was deleted
        if sys.path and Path(sys.path[0]) == Path.cwd():
            del sys.path[0]

    from msinet_core.cli import main

    main()
