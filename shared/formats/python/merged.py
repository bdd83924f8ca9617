"""The page document of a merged view, put together from those of its members without reading their files again. Pure.

Entries are copied as bytes: links of page documents are relative (`../../+f/...`), so each says the same under the
index that was asked. A merged document is never signed.
Source: architecture sections 5.9, 11.4 and 11.5; contracts devpi section 15 and python-index section 5.3.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from packaging.version import InvalidVersion, Version

from countermark.core.digest import Sha256
from countermark.core.names import FileName, IndexName, NormalizedName, parse_index_name
from shared.formats.python.names import release_key
from shared.formats.python.pages import API_VERSION

_FILES, _END = b',"files":[', b"]}"
_ENTRY = b'{"filename":"'
"""What begins a file's entry. Within a text a quotation mark is escaped, so this stands nowhere else."""

_ORIGIN = "_origin"
_PROVENANCE_BEGIN = b',"provenance":"../../'
_PROVENANCE = re.compile(rb',"provenance":"\.\./\.\./[^"]*"')
_SIGNED_PROVENANCE = re.compile(rb',"provenance":"https?://[^"]*?/\+f/')


@dataclass(frozen=True, slots=True)
class Part:
    """The page document of one member of a merged view."""

    index: IndexName
    document: bytes


def merged_document(
    index: IndexName, project: NormalizedName, serial: int, parts: Sequence[Part], hidden: Collection[FileName] = ()
) -> bytes:
    """Return the page document of a project as an index with bases shows it.

    Of each file name the nearest member's file is listed, in the members' order and within each as its own page has
    them; `_origin` names the index where it is another's. The state is that of the nearest member. When that member is
    the index itself and no other has a page, this is its signed document, byte for byte.

    Args:
        index: the one that was asked.
        serial: what the page gives as its own.
        parts: of the members that show the project, nearest first.
        hidden: names that are not listed, whoever has them.
    """
    heads, files, seen = [], [], set(hidden)
    for part in parts:
        head, listed = _taken_apart(part.document)
        heads.append(head)
        if part.index == index and len(parts) == 1 and not hidden:
            files.append(listed)
            break
        for name, entry in _named(listed):
            if name in seen:
                continue
            seen.add(name)
            files.append(entry if part.index == index else _from_elsewhere(entry, part.index))
    document: dict[str, Any] = {
        "meta": {"api-version": API_VERSION, "_last-serial": serial, "_index": str(index)},
        "name": project,
    }
    if heads and "project-status" in heads[0]:
        document["project-status"] = heads[0]["project-status"]
    document["versions"] = _newest_first([head["versions"] for head in heads])
    return orjson.dumps(document)[:-1] + _FILES + b",".join(files) + _END


def entries(document: bytes) -> Iterator[tuple[FileName, bytes]]:
    """Return the entry of each file of a page document, as it stands there."""
    return _named(_taken_apart(document)[1])


def without(document: bytes, hidden: Mapping[FileName, str], shown: Iterable[str]) -> bytes:
    """Return a page document without some files, and without the versions that only these are of.

    Args:
        hidden: file name -> version.
        shown: versions of the files that stay.
    """
    head, files = _taken_apart(document)
    gone = set(map(release_key, hidden.values())).difference(map(release_key, shown))
    head["versions"] = [version for version in head["versions"] if release_key(version) not in gone]
    entries_shown = [entry for name, entry in _named(files) if name not in hidden]
    return orjson.dumps(head)[:-1] + _FILES + b",".join(entries_shown) + _END


def only(document: bytes, shown: Mapping[FileName, str]) -> bytes:
    """Return a page document with some of its files alone, and with the versions that these are of.

    Args:
        shown: file name -> version.
    """
    head, files = _taken_apart(document)
    kept = set(map(release_key, shown.values()))
    head["versions"] = [version for version in head["versions"] if release_key(version) in kept]
    entries_shown = [entry for name, entry in _named(files) if name in shown]
    return orjson.dumps(head)[:-1] + _FILES + b",".join(entries_shown) + _END


def unannounced(document: bytes, metadata: Iterable[Sha256]) -> bytes:
    """Return a mirror's page document that does not announce some core metadata files, by their digest."""
    for sha256 in metadata:
        document = document.replace(b"," + announcement(sha256), b"")
    return document


def with_provenance(document: bytes, base: str | None) -> bytes:
    """Return a page document whose provenance objects are at absolute URLs, which their specification asks for.

    Those of signed documents, which have such URLs, move as well: what is inherited is read, with its provenance, below
    the index that was asked (architecture section 11.4).

    Args:
        base: URL of the index, with a slash at its end; None leaves them out.
    """
    document = _SIGNED_PROVENANCE.sub(_PROVENANCE_BEGIN + b"+f/", document)
    if base is None:
        return _PROVENANCE.sub(b"", document)
    return document.replace(_PROVENANCE_BEGIN, b',"provenance":"' + base.encode("ascii"))


def announcement(sha256: Sha256) -> bytes:
    """Return how entries of page documents announce a core metadata file, under both names of the key."""
    value = {"sha256": sha256}
    return orjson.dumps({"core-metadata": value, "data-dist-info-metadata": value})[1:-1]


def origin_of(file: Mapping[str, Any], index: IndexName) -> IndexName:
    """Return the name of the index that a listed file belongs to.

    Args:
        file: as a page document lists it.
        index: the one whose page it is.
    """
    origin = file.get(_ORIGIN)
    return index if origin is None else parse_index_name(origin)


def _taken_apart(document: bytes) -> tuple[dict[str, Any], bytes]:
    """Return what a page document says beside its files, and the entries of these."""
    head, _, files = document.partition(_FILES)
    return orjson.loads(head + b"}"), files.removesuffix(_END)


def _named(files: bytes) -> Iterator[tuple[FileName, bytes]]:
    """Return each entry of a page document with the file's name, which holds nothing that JSON escapes."""
    for rest in files.removeprefix(_ENTRY).split(b"," + _ENTRY) if files else ():
        yield FileName(rest[: rest.index(b'"')].decode("ascii")), _ENTRY + rest


def _from_elsewhere(entry: bytes, index: IndexName) -> bytes:
    return entry[:-1] + b',"_origin":"' + str(index).encode("ascii") + b'"}'


def _newest_first(lists: Sequence[Sequence[str]]) -> list[str]:
    """Return the versions of all lists, each once; one list alone as it is."""
    if len([versions for versions in lists if versions]) < 2:
        return [version for versions in lists for version in versions]
    return sorted({version for versions in lists for version in versions}, key=_newness, reverse=True)


def _newness(version: str) -> tuple[int, Version, str]:
    """Return what orders versions; those that no rule orders come last."""
    try:
        return 1, Version(version), version
    except InvalidVersion:
        return 0, Version("0"), version
