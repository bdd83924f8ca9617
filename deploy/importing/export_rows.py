"""What a devpi export says, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from countermark.core.digest import Sha256
from countermark.core.names import FileName
from gateway.importing import ImportedAccount, ImportedIndex
from services.upload.importing import REFUSED
from shared.catalogue.importing import ImportedRelease
from shared.formats.interface import Coordinates

RELEASE_FILE, DOC, TEST_RESULT = "releasefile", "doczip", "toxresult"
"""What devpi calls the kinds of files. Source: devpi-server, `model.Rel`."""

KINDS = {RELEASE_FILE: "file", DOC: "doc", TEST_RESULT: "test-result"}
"""devpi's word -> ours."""


class ForeignExport(ValueError):
    """The folder holds no export that can be read; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that does not come in as it is: `status` is `REFUSED` where it stands against the whole import."""

    kind: str
    what: str
    why: str
    status: str = REFUSED


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """A file of an export.

    Attributes:
        kind: one of `KINDS`.
        path: relative to the export's folder; safe, but perhaps not there.
        coordinates: of the file, or of the release that documentation belongs to or a test result's file is of.
        file_name: under which it is kept here.
        digests: recorded ones, name of the algorithm -> hexadecimal.
        about: name of the file that a test result is about.
        history: all entries of its log; empty for a plain upload.
    """

    kind: str
    path: str
    coordinates: Coordinates
    file_name: FileName
    digests: Mapping[str, str]
    uploader: str
    uploaded_at: datetime
    history: Sequence[Mapping[str, Any]] = ()
    about: FileName | None = None


@dataclass(frozen=True, slots=True)
class ExportedIndex:
    """An index of an export, with what it holds; `releases` by project and version, whether they have files or not.

    Attributes:
        requires_python: by project and version, where the record of a version names one.
    """

    index: ImportedIndex
    files: Sequence[ExportedFile]
    releases: Mapping[tuple[str, str], ImportedRelease]
    left: Sequence[str] = ()
    """Files of a mirror, which come from its upstream again."""


@dataclass(slots=True)
class Export:
    """What is to come in, and what was found in the way."""

    accounts: list[ImportedAccount] = field(default_factory=list)
    indexes: list[ExportedIndex] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """A file of an export that is there with the bytes of its record."""

    file: ExportedFile
    sha256: Sha256
