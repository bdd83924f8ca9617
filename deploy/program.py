"""`countermark-server`: runs `deploy.launch` without a library that it would find and does not need.

structlog and typer load rich, and that Pygments, wherever these are installed (the client uses them): 4 MB in each of a
server's processes, for a terminal that none of them has. Libraries of key services are loaded for keys that lie there.
"""

from __future__ import annotations

import importlib
import sys

from countermark.core.signing.sparing import spare


def main() -> None:
    """Run the command line."""
    # None in the place of a module: importing it fails as if it were not installed (`importlib`'s documentation).
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type]
    spare()
    importlib.import_module("deploy.launch").main()
