"""What a format knows: to read its file names, to inspect its files and to render what is signed. Pure but for
reading the
file it inspects.

A format lives in a package of its own (`python`, later `conan`, `generic`) and never imports another.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from countermark.core.digest import Length, Sha256
from countermark.core.names import FileName, IndexName, NormalizedName, TargetPath
from countermark.core.pointer import Resource


class InvalidFile(ValueError):
    """A file that is not admitted; `issues` are all its faults at once, one sentence each, the most telling first."""

    def __init__(self, file_name: str, issues: Sequence[str]) -> None:
        self.file_name = file_name
        self.issues = tuple(issues)
        super().__init__(f"{file_name}: " + "; ".join(issues))


@dataclass(frozen=True, slots=True)
class Coordinates:
    """Where a file belongs.

    Attributes:
        version: normalised (PEP 440), as the file writes it.
        release_key: the same text for versions that are one release.
        package_type: the word of the upload form, `sdist` or `bdist_wheel`.
        display_name: the project as the file writes it.
    """

    format: str
    project: NormalizedName
    version: str
    release_key: str
    file_name: FileName
    package_type: str
    display_name: str


@dataclass(frozen=True, slots=True)
class Inspected:
    """What a file says of itself.

    Attributes:
        core_metadata: the bytes of METADATA or PKG-INFO, verbatim.
        serves_core_metadata: whether they may be served as `.metadata` (wheels: yes).
        fields: the parsed metadata as JSON-ready values, `packaging.metadata.RawMetadata` keys.
        requires_python: the specifier as written, None when absent or empty.
        warnings: what the uploader should know though the file is admitted, one sentence each.
    """

    core_metadata: bytes
    serves_core_metadata: bool
    fields: Mapping[str, Any]
    requires_python: str | None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PageFile:
    """One file as a page lists it; times are aware UTC.

    Attributes:
        yanked: None when it is not; else the reason, "" without one.
        core_metadata_sha256: digest of the `.metadata` bytes, None when there are none to serve.
        attestation: the build-provenance bundle that its pointer names, None for none.
        provenance: absolute URL of its provenance object, None where it has none, or none that may be printed.
    """

    file_name: FileName
    version: str
    package_type: str
    sha256: Sha256
    length: Length
    requires_python: str | None
    uploaded_at: datetime
    yanked: str | None
    core_metadata_sha256: Sha256 | None
    attestation: Resource | None = None
    provenance: str | None = None


@dataclass(frozen=True, slots=True)
class ProjectPage:
    """All that a project's page document is rendered from, as of one serial. `files` may come in any order."""

    index: IndexName
    project: NormalizedName
    serial: int
    status: str
    status_reason: str | None
    files: Sequence[PageFile]


Link = Callable[[Sha256, FileName], str]
"""How a page writes the URL of a file; given to renderers so that pages know no host (architecture section 11.4)."""


class Listing(Protocol):
    """The listed files of one project, kept between publications so that one file's change costs one file.

    What it renders depends on the files it holds alone, not on how they came and went.
    """

    @property
    def weight(self) -> int:
        """Bytes of memory it takes, about."""

    def __len__(self) -> int: ...

    def __contains__(self, file_name: object) -> bool: ...

    def set(self, file: PageFile) -> None:
        """List a file, in place of the one that has its name."""

    def drop(self, file_name: FileName) -> None:
        """List a file no more; nothing happens when it is not listed."""

    def entry(self, file_name: FileName) -> bytes | None:
        """Return how a file is listed, as its page document prints it; None when it is not listed."""

    def render(self, page: ProjectPage, new: Collection[FileName]) -> dict[TargetPath, bytes]:
        """Return what a publication signs for a project: target path -> bytes, the page document first.

        Args:
            page: what the page says beside its files; of these, it need only have those named in `new`.
            new: names of the listed files whose pointers are wanted.
        """


class Format(Protocol):
    """One kind of packages."""

    def parse_name(self, file_name: str) -> Coordinates:
        """Read project, version and kind from a file name.

        Raises:
            InvalidFile: the name is not one of this format's, with every reason.
        """

    def inspect(self, path: Path, coordinates: Coordinates) -> Inspected:
        """Read a file's own metadata and check its structure under limits. Blocking: run it in a thread.

        Raises:
            InvalidFile: with every fault found.
        """

    def scan(self, path: Path, coordinates: Coordinates) -> tuple[str, ...]:
        """Return what looks like hidden code in a file that was inspected, one sentence each. Blocking, and bounded."""

    def listing(self, files: Iterable[PageFile] = ()) -> Listing:
        """Return the listing of a project that has these files."""

    def render(self, page: ProjectPage, new: Collection[FileName]) -> dict[TargetPath, bytes]:
        """Return what a publication signs for a project: target path -> bytes.

        These are the page document, `_latest` when there is a file, and the pointers of the files named in `new`: the
        pointers of the others were signed before and have not changed. The bytes of each depend on `page` alone.
        """
