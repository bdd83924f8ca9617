"""`python -m shared.attesting.program`: runs `shared.attesting.worker` without libraries that it has no use for."""

from __future__ import annotations

import importlib

from countermark.core.signing.sparing import spare

if __name__ == "__main__":
    spare()
    importlib.import_module("shared.attesting.worker").main()
