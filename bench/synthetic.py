"""Makes up the projects of a large index: names, files and what signing renders of them. Pure, and always the same.

Of a *whole* project every file is a valid wheel. Of others only digests and lengths are made up: nobody can download
those files, but everything that catalogue, pages and metadata say of them is as of real ones.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from packaging.utils import NormalizedName

from bench.wheels import make_wheel
from countermark.core.digest import Length, Sha256, sha256_of
from countermark.core.names import FileName, IndexName, TargetPath
from shared.formats.interface import PageFile, ProjectPage
from shared.formats.registry import FORMATS

_BEGUN = datetime(2026, 1, 1, tzinfo=UTC)
_REQUIRES = ">=3.9"


@dataclass(frozen=True, slots=True)
class Filling:
    """How many files and projects an index is filled with; every `whole_every`-th project is whole."""

    index: IndexName
    files: int
    projects: int
    whole_every: int = 1

    def __post_init__(self) -> None:
        """Refuse what makes no index.

        Raises:
            ValueError: there is a project without a file, or no project.
        """
        if not 1 <= self.projects <= self.files or self.whole_every < 1:
            raise ValueError("there must be a project, and at least one file in each")

    def files_of(self, number: int) -> int:
        """Return how many files a project has: they differ by one at the most."""
        return self.files // self.projects + (number < self.files % self.projects)


@dataclass(frozen=True, slots=True)
class SyntheticFile:
    """One wheel; `content` and `core_metadata` are None when its bytes are not there."""

    file_name: FileName
    version: str
    sha256: Sha256
    blake2b_256: str
    md5: str
    length: Length
    core_metadata_sha256: Sha256
    core_metadata_length: Length
    uploaded_at: datetime
    content: bytes | None = None
    core_metadata: bytes | None = None


@dataclass(frozen=True, slots=True)
class SyntheticProject:
    """One project with all its files."""

    name: NormalizedName
    files: tuple[SyntheticFile, ...]
    whole: bool

    def fields(self, version: str) -> Mapping[str, Any]:
        """Return the metadata of a release as uploads keep them."""
        return {
            "metadata_version": "2.1",
            "name": self.name,
            "version": version,
            "summary": "One of many small wheels",
            "requires_python": _REQUIRES,
            "description": "Nothing to see here.\n",
        }

    def targets(self, index: IndexName, serial: int) -> dict[TargetPath, bytes]:
        """Return everything that is signed of the project, as a publication renders it."""
        page = ProjectPage(index, self.name, serial, "active", None, [_page_file(file) for file in self.files])
        return FORMATS["python"].render(page, {file.file_name for file in self.files})


def synthetic_projects(filling: Filling) -> Iterator[SyntheticProject]:
    """Yield the projects of a filling, one after the other."""
    for number in range(filling.projects):
        name, whole = NormalizedName(f"synthetic-{number:07}"), number % filling.whole_every == 0
        make = _whole if whole else _made_up
        yield SyntheticProject(name, tuple(make(name, n) for n in range(filling.files_of(number))), whole)


def _whole(name: NormalizedName, number: int) -> SyntheticFile:
    wheel = make_wheel(name, f"1.{number}")
    with zipfile.ZipFile(io.BytesIO(wheel.content)) as archive:
        metadata = next(archive.read(member) for member in archive.namelist() if member.endswith("/METADATA"))
    return SyntheticFile(
        FileName(wheel.filename),
        wheel.version,
        Sha256(wheel.sha256),
        hashlib.blake2b(wheel.content, digest_size=32).hexdigest(),
        hashlib.md5(wheel.content, usedforsecurity=False).hexdigest(),
        Length(len(wheel.content)),
        sha256_of(metadata),
        Length(len(metadata)),
        _uploaded(number),
        wheel.content,
        metadata,
    )


def _made_up(name: NormalizedName, number: int) -> SyntheticFile:
    version = f"1.{number}"
    file_name = f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
    seed = file_name.encode()
    return SyntheticFile(
        FileName(file_name),
        version,
        sha256_of(b"bytes of " + seed),
        hashlib.blake2b(seed, digest_size=32).hexdigest(),
        hashlib.md5(seed, usedforsecurity=False).hexdigest(),
        Length(1_100 + number),
        sha256_of(b"metadata of " + seed),
        Length(150),
        _uploaded(number),
    )


def _uploaded(number: int) -> datetime:
    return _BEGUN + timedelta(hours=number)


def _page_file(file: SyntheticFile) -> PageFile:
    return PageFile(
        file_name=file.file_name,
        version=file.version,
        package_type="bdist_wheel",
        sha256=file.sha256,
        length=file.length,
        requires_python=_REQUIRES,
        uploaded_at=file.uploaded_at,
        yanked=None,
        core_metadata_sha256=file.core_metadata_sha256,
    )
