"""Makes small, valid wheels."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from dataclasses import dataclass

_MADE = (2026, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Wheel:
    """One wheel: `project` is its name as it stands in page addresses."""

    project: str
    version: str
    filename: str
    content: bytes

    @property
    def sha256(self) -> str:
        """Digest of the content in hexadecimal."""
        return hashlib.sha256(self.content).hexdigest()


def make_wheel(project: str, version: str) -> Wheel:
    """Return a pure Python wheel of about a kilobyte with one module.

    Args:
        project: normalised name.
        version: normalised version.
    """
    module = project.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    members = {
        f"{module}/__init__.py": f'"""{project} {version}."""\n',
        f"{info}/METADATA": (
            f"Metadata-Version: 2.1\nName: {project}\nVersion: {version}\nSummary: One of many small wheels\n"
            "Requires-Python: >=3.9\nRequires-Dist: packaging\n\nNothing to see here.\n"
        ),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: bench\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},sha256={_digest(text)},{len(text)}\n" for name, text in members.items())
    members[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n"
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(zipfile.ZipInfo(name, _MADE), text, zipfile.ZIP_DEFLATED)
    return Wheel(project, version, f"{module}-{version}-py3-none-any.whl", file.getvalue())


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
