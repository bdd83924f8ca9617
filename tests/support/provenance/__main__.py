"""Command `python -m tests.support.provenance`: shows provenance from a commit to proven bytes, and tampering with it.

Takes about a minute and needs no network. Lines are cut where they are longer than a screen; `--long` leaves them.
"""

from __future__ import annotations

import sys

from tests.support.provenance.showing import show

_WIDTH = 150
"""Characters of a line."""


def main(arguments: list[str]) -> int:
    """Show it; returns the exit code."""
    long = "--long" in arguments

    def tell(text: str) -> None:
        if text.startswith("# "):
            print()
        for line in text.splitlines():
            print(line if long or len(line) <= _WIDTH else f"{line[:_WIDTH]}...", flush=True)

    show(tell)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
