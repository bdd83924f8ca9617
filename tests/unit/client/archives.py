"""Small wheels and sdists that say who they are."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

METADATA = """Metadata-Version: 2.4
Name: widget
Version: 1.10
Summary: A widget
Keywords: one,two
Classifier: Topic :: Utilities
Classifier: Typing :: Typed
Project-URL: Source, https://example.com/widget
Requires-Dist: packaging>=20
License-File: LICENSE
Requires-Python: >=3.11

# Widget
"""


def wheel(folder: Path, metadata: str | None = METADATA) -> Path:
    """Write a wheel; without metadata when None."""
    path = folder / "widget-1.10-py2.py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("widget/__init__.py", "")
        if metadata is not None:
            archive.writestr("widget-1.10.dist-info/METADATA", metadata)
    return path


def sdist(folder: Path) -> Path:
    """Write an sdist."""
    path = folder / "widget-1.10.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name in ("widget-1.10/setup.cfg", "widget-1.10/widget.egg-info/PKG-INFO", "widget-1.10/PKG-INFO"):
            data = METADATA.encode() if name == "widget-1.10/PKG-INFO" else b""
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path
