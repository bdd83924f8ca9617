"""Small records that the client keeps of what it was told: one JSON file each, written whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from countermark.core.errors import LocalState


def write_record(path: Path, document: Mapping[str, object]) -> Path:
    """Write a record in place of an earlier one, and its folder, for this account alone, where there is none.

    Raises:
        LocalState: it cannot be written.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(descriptor, "w") as file:
            json.dump(document, file, indent=1)
        Path(temporary).replace(path)
    except OSError as error:
        raise LocalState(
            f"cannot write {path}: {error.strerror or error}", "Set COUNTERMARK_HOME to a folder of your own."
        ) from error
    return path
