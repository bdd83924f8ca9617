"""Where our answers differ from a devpi-server's, and why; `docs/reference/devpi.md` has the same table."""

from __future__ import annotations

from tests.support.beside import Known

KNOWN: tuple[Known, ...] = ()
