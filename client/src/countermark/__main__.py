"""`python -m countermark` and the console command."""

from __future__ import annotations

import importlib

from countermark.core.signing.sparing import spare


def main() -> None:
    """Run the command line."""
    spare()
    importlib.import_module("countermark.cli").app(prog_name="countermark")


if __name__ == "__main__":
    main()
