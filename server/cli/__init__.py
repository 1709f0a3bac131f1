"""The command line: one command a file, imported only when it is called, so that each starts fast."""

from __future__ import annotations

import sys


def main() -> None:
    """The entry point of `consilium`. Exits with 0, 1 for a failure (said on stderr) or 2 for wrong usage."""
    from server.cli.group import consilium

    sys.exit(consilium(prog_name="consilium"))
