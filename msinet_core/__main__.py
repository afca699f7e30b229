"""``python -m msinet_core`` is ``msinet-run``."""

from __future__ import annotations

from msinet_core.cli import main

if __name__ == "__main__":
    main()
