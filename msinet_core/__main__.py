"""``python -m msinet_core.conformance DEVICE``: ``msinet-run plugins check DEVICE``."""

from __future__ import annotations

import sys

from msinet_core.cli import cli

if __name__ == "__main__":
    cli(["plugins", "check", *sys.argv[1:]], prog_name="msinet-run")
