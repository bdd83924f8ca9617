"""The JSON pages of the simple index, version 1.4: the page document that is signed, and what is derived from it. Pure.

A document's keys stand in the order written here, without blanks between; so its bytes depend on the page alone.
Source: python-index contract section 1.3; architecture section 11.4.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
from packaging.version import Version

from countermark.core.digest import Sha256
from countermark.core.names import FileName
from shared.formats.interface import Link, PageFile, ProjectPage

API_VERSION = "1.4"
"""Of the JSON pages, and for ever of the HTML ones (PEP 833)."""

ACTIVE, QUARANTINED = "active", "quarantined"
"""Project states that change a page. Source: PEP 792."""


def signed_link(sha256: Sha256, file_name: FileName) -> str:
    """Return the link that signed page documents print: relative to `+simple/{project}/`, below the index's `+f/`."""
    return f"../../+f/{sha256[:3]}/{sha256[3:16]}/{_in_url(file_name)}"


def static_link(sha256: Sha256, file_name: FileName) -> str:
    """Return the link that pages of the static tree print: from `indexes/{owner}/{index}/simple/{project}/`."""
    return f"../../../../../files/{sha256[:2]}/{sha256[2:]}/{_in_url(file_name)}"


def page_document(page: ProjectPage) -> bytes:
    """Return the page document of a project.

    Files stand by version, then by name, both ascending; versions descending. A quarantined project lists nothing:
    installers do not look at the status (contract section 1.3).
    """
    files = listed_files(page)
    versions = dict.fromkeys(file.version for file in reversed(files))
    document: dict[str, Any] = {
        "meta": {"api-version": API_VERSION, "_last-serial": page.serial, "_index": str(page.index)},
        "name": page.project,
    }
    if page.status != ACTIVE:
        reason = {"reason": page.status_reason} if page.status_reason else {}
        document["project-status"] = {"status": page.status, **reason}
    document["versions"] = list(versions)
    document["files"] = [_file_entry(file) for file in files]
    return orjson.dumps(document)


def listed_files(page: ProjectPage) -> Sequence[PageFile]:
    """Return the files a page lists, in the page's order."""
    if page.status == QUARANTINED:
        return []
    versions = {version: Version(version) for version in {file.version for file in page.files}}
    # The text decides between equal versions that are written differently (1.0 and 1.0.0).
    return sorted(page.files, key=lambda file: (versions[file.version], file.version, file.file_name))


def relink(document: bytes, link: Link) -> bytes:
    """Return a page document with other links, for example those of the static tree."""
    page = orjson.loads(document)
    for file in page["files"]:
        file["url"] = link(Sha256(file["hashes"]["sha256"]), FileName(file["filename"]))
    return orjson.dumps(page)


def project_list_json(serial: int, projects: Iterable[tuple[str, int]]) -> bytes:
    """Return the project list.

    Args:
        serial: the index's.
        projects: (normalised name, serial) of each, in the order they are to be listed.
    """
    return orjson.dumps(
        {
            "meta": {"api-version": API_VERSION, "_last-serial": serial},
            "projects": [{"name": name, "_last-serial": last} for name, last in projects],
        }
    )


def _file_entry(file: PageFile) -> dict[str, Any]:
    """Return a file as the page lists it; keys without a value are left out, since uv fails on null."""
    entry: dict[str, Any] = {
        "filename": file.file_name,
        "url": signed_link(file.sha256, file.file_name),
        "hashes": {"sha256": file.sha256},
    }
    if file.requires_python:
        entry["requires-python"] = file.requires_python
    entry["size"] = file.length
    entry["upload-time"] = _utc(file.uploaded_at)
    # An empty reason would mean "yanked" to uv and "not yanked" to pip.
    entry["yanked"] = False if file.yanked is None else file.yanked or True
    if file.core_metadata_sha256 is not None:
        entry["core-metadata"] = entry["data-dist-info-metadata"] = {"sha256": file.core_metadata_sha256}
    return entry


def _utc(moment: datetime) -> str:
    if moment.tzinfo is None:
        raise ValueError("upload times must be aware")
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


def _in_url(file_name: FileName) -> str:
    """Return a file name in a URL: `+` is the only character of file names that servers read in two ways."""
    return file_name.replace("+", "%2B")
