"""Makes valid wheels, small ones and large ones."""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
import os
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

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


def make_tagged_wheels(project: str, version: str, count: int) -> list[Wheel]:
    """Return wheels of one release, each for another interpreter and system, as a project with extensions has them.

    Args:
        count: at most 126.
    """
    tags = (f"cp3{python}-cp3{python}-manylinux_2_{glibc}_x86_64" for python in range(8, 15) for glibc in range(17, 35))
    return [make_wheel(project, version, tag) for tag in itertools.islice(tags, count)]


def make_wheel(project: str, version: str, tag: str = "py3-none-any") -> Wheel:
    """Return a wheel of about a kilobyte with one module.

    Args:
        project: normalised name.
        version: normalised version.
        tag: what it runs on; every other than the default is of no pure wheel.
    """
    content, _ = graph_wheel(project, version, (), tag)
    return Wheel(project, version, f"{project.replace('-', '_')}-{version}-{tag}.whl", content)


def graph_wheel(project: str, version: str, needs: Iterable[str], tag: str = "py3-none-any") -> tuple[bytes, bytes]:
    """Return such a wheel that needs others, and its metadata.

    Args:
        needs: requirements.
    """
    module, pure = project.replace("-", "_"), "true" if tag == "py3-none-any" else "false"
    info = f"{module}-{version}.dist-info"
    metadata = "".join(
        [
            f"Metadata-Version: 2.1\nName: {project}\nVersion: {version}\nSummary: One of many small wheels\n",
            "Requires-Python: >=3.9\n",
            *(f"Requires-Dist: {need}\n" for need in needs),
            "\nNothing to see here.\n",
        ]
    )
    members = {
        f"{module}/__init__.py": f'"""{project} {version}."""\n',
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: bench\nRoot-Is-Purelib: {pure}\nTag: {tag}\n",
    }
    record = "".join(f"{name},sha256={_digest(text)},{len(text)}\n" for name, text in members.items())
    members[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n"
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(zipfile.ZipInfo(name, _MADE), text, zipfile.ZIP_DEFLATED)
    return file.getvalue(), metadata.encode()


def make_large_wheel(project: str, version: str, path: Path, megabytes: int) -> str:
    """Write a wheel whose module data do not compress, and return its file name.

    Args:
        path: folder of the file; it is never held in memory as a whole.
        megabytes: size of the data, in 10^6 bytes.
    """
    small = make_wheel(project, version)
    module, info = project.replace("-", "_"), f"{project.replace('-', '_')}-{version}.dist-info"
    data, digest, length = f"{module}/data.bin", hashlib.sha256(), megabytes * 1_000_000
    blocks = [os.urandom(1_000_000) for _ in range(8)]
    with zipfile.ZipFile(path / small.filename, "w") as archive, zipfile.ZipFile(io.BytesIO(small.content)) as begun:
        with archive.open(zipfile.ZipInfo(data, _MADE), "w", force_zip64=True) as member:
            for number in range(megabytes):
                member.write(blocks[number % len(blocks)])
                digest.update(blocks[number % len(blocks)])
        for name in begun.namelist():
            text = begun.read(name).decode()
            if name == f"{info}/RECORD":
                text = f"{data},sha256={_encoded(digest.digest())},{length}\n{text}"
            archive.writestr(zipfile.ZipInfo(name, _MADE), text)
    return small.filename


def _digest(text: str) -> str:
    return _encoded(hashlib.sha256(text.encode()).digest())


def _encoded(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
