"""``python -m msinet_core`` is ``msinet-run``."""

from __future__ import annotations

from msinet_core.cli import cli

if __name__ == "__main__":
    cli(prog_name="msinet-run")
