"""The JSON pages of the simple index, version 1.4: the page document that is signed, and what is derived from it. Pure.

A document's keys stand in the order written here, without blanks between; so its bytes depend on the page alone.
Source: python-index contract section 1.3; architecture section 11.4.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from countermark.core.digest import Sha256
from countermark.core.names import FileName
from shared.exact import exact
from shared.formats.interface import PageFile, ProjectPage
from shared.formats.python.packed_lists import Row, parted

API_VERSION = "1.4"
"""Of the JSON pages, and for ever of the HTML ones (PEP 833)."""

PROVENANCE_SUFFIX = ".provenance"
"""What a file's address ends with to mean its provenance object."""

ACTIVE, QUARANTINED = "active", "quarantined"
"""Project states that change a page. Source: PEP 792."""


def signed_link(sha256: Sha256, file_name: FileName) -> str:
    """Return the link that signed page documents print: relative to `+simple/{project}/`, below the index's `+f/`."""
    return f"../../+f/{sha256[:3]}/{sha256[3:16]}/{_in_url(file_name)}"


def provenance_link(sha256: Sha256, file_name: FileName) -> str:
    """Return what stands for the address of a file's provenance object until the page's own address is known."""
    return f"{signed_link(sha256, file_name)}{PROVENANCE_SUFFIX}"


def provenance_url(index_url: str, sha256: Sha256, file_name: FileName) -> str:
    """Return the absolute URL of a file's provenance object, as signed page documents print it.

    Args:
        index_url: the index as clients see it, with a slash at its end; https, or of this machine (PEP 740).
    """
    return index_url + provenance_link(sha256, file_name).removeprefix("../../")


def static_link(sha256: Sha256, file_name: FileName) -> str:
    """Return the link that pages of the static tree print: from `indexes/{owner}/{index}/simple/{project}/`."""
    return f"../../../../../files/{sha256[:2]}/{sha256[2:]}/{_in_url(file_name)}"


def page_document(page: ProjectPage, versions: Iterable[str], files: Iterable[bytes]) -> bytes:
    """Return a project's page document; the same arguments give the same bytes for ever.

    A quarantined project lists nothing: a reader that does not know the status cannot install from it, and the big
    installers do not look at the status (contract section 1.3).

    Args:
        page: what it says beside versions and files; its own files are not looked at.
        versions: those of the listed files, newest first.
        files: the listed files, each as `encode_file` returns it, in the page's order.
    """
    head: dict[str, Any] = {
        "meta": {"api-version": API_VERSION, "_last-serial": page.serial, "_index": str(page.index)},
        "name": page.project,
    }
    if page.status != ACTIVE:
        reason = {"reason": page.status_reason} if page.status_reason else {}
        head["project-status"] = {"status": page.status, **reason}
    head["versions"] = list(versions)
    # Joined in one go, not encoded again: ten thousand files are five megabytes.
    begin, parts = orjson.dumps(head)[:-1] + b',"files":[', list(files)
    if not parts:
        return begin + b"]}"
    parts[0] = begin + parts[0]
    parts[-1] += b"]}"
    return b",".join(parts)


def encode_file(file: PageFile) -> bytes:
    """Return a file as the page document lists it."""
    return exact(orjson.dumps(_file_entry(file)))


def project_list_json(serial: int, projects: Iterable[Row]) -> bytes:
    """Return the project list.

    Args:
        serial: the index's.
        projects: in the order they are to be listed.
    """
    return b"".join(project_list_json_parts(serial, parted(projects)))


def project_list_json_parts(serial: int, parts: Iterable[Sequence[Row]]) -> Iterator[bytes]:
    """Yield what `project_list_json` returns, bit by bit."""
    meta = orjson.dumps({"meta": {"api-version": API_VERSION, "_last-serial": serial}})
    yield meta[:-1] + b',"projects":['
    between = b""
    for part in parts:
        yield between + orjson.dumps([_project_entry(name, last) for name, last in part])[1:-1]
        between = b","
    yield b"]}"


def _project_entry(name: str, serial: int | None) -> dict[str, Any]:
    return {"name": name} if serial is None else {"name": name, "_last-serial": serial}


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
    if file.provenance is not None:
        entry["provenance"] = file.provenance
    return entry


_FACTS = ("filename", "url", "hashes", "requires-python", "size", "core-metadata")
"""Keys of a listed file that stay as they were first printed; its marks, and whether it is attested, may change."""


def changed_facts(signed: bytes | Mapping[str, Any], file: PageFile) -> list[str]:
    """Return the keys under which a file would be listed otherwise than it was signed, though it must not.

    Args:
        signed: the file as the signed page document lists it.
    """
    known = orjson.loads(signed) if isinstance(signed, bytes) else signed
    now = _file_entry(file)
    # The same bytes uploaded again are the same row with a later time. An earlier one would make a file look proven by
    # age to who waits for that.
    earlier = ["upload-time"] if file.uploaded_at < datetime.fromisoformat(known["upload-time"]) else []
    return [*(key for key in _FACTS if known.get(key) != now.get(key)), *earlier]


def _utc(moment: datetime) -> str:
    if moment.tzinfo is None:
        raise ValueError("upload times must be aware")
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


def _in_url(file_name: FileName) -> str:
    """Return a file name in a URL: `+` is the only character of file names that servers read in two ways."""
    return file_name.replace("+", "%2B")
