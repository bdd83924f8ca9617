"""What a mirror takes over from its upstream: a page document of its own, and where each file comes from. Pure.

An upstream is not believed more than needed: a file without a sha256 digest that can be checked is not taken, nor one
whose name is no safe segment or cannot be of the project, nor one whose address leads to a lesser scheme. Such files
are counted and left out, so that one bad file does not take a project away; what makes the page as a whole doubtful
refuses it, and the old state stays.

What is taken is passed on as it was written, keys unknown here as well, with these exceptions: links are ours, keys
that begin with `_` are private by specification and dropped, optional keys whose value would break an installer are
left out, and `core-metadata` is passed only with a digest that its bytes are checked against.
Source: contract python-index sections 1.3 ("Strictness") and 5.1; architecture sections 11.4 and 11.6.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import orjson
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from countermark.core.digest import InvalidDigest, Length, Sha256, parse_sha256
from countermark.core.names import FileName, IndexName, InvalidName, NormalizedName, parse_file_name, parse_project_name
from shared.exact import exact
from shared.formats.python.foreign import version_named
from shared.formats.python.pages import ACTIVE, API_VERSION, PROVENANCE_SUFFIX, QUARANTINED, signed_link
from shared.formats.python.simple_pages import Raw, RawPage, UnreadablePage, joined

MOST_VERSIONS = 50_000
"""Versions that a page may name."""

_MAX_TEXT = 8192
"""Characters of a text of a file's entry."""

_MAX_UNKNOWN = 4096
"""Bytes of all keys of a file's entry that are not known here."""

_LARGEST = 1 << 50
"""Bytes of a file, for which a size is believed."""

_KNOWN = frozenset(
    [
        *("filename", "url", "hashes", "requires-python", "size", "upload-time", "yanked", "core-metadata"),
        *("data-dist-info-metadata", "dist-info-metadata", "provenance", "gpg-sig"),
    ]
)
_METADATA_KEYS = ("core-metadata", "data-dist-info-metadata", "dist-info-metadata")
"""The newest name first. Source: PEP 658 and 714."""

_EXACT_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z\Z")
_PLAIN_URL = re.compile(r"https?://[A-Za-z0-9.-]+(?::\d{1,5})?/[A-Za-z0-9/._~%+!-]*\Z")
"""What most links look like: nothing in it needs a closer look."""

_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~%+!-]*\Z")
_WILD = re.compile(r"([<>]=?\s*\d+(?:\.\d+)*)\.\*")
"""An ordered comparison with a wildcard, which old metadata have and no specification allows."""


class Skip(ValueError):
    """A file is not taken over; the message says why, in words that are counted."""


class Origin(NamedTuple):
    """Where a file of a mirror comes from, and what is known of it before it was fetched.

    A page has one for each file, and a tuple is made in a quarter of the time of a frozen dataclass.

    Attributes:
        url: absolute, http or https.
        length: in bytes, as the upstream says.
        uploaded_at: when the upstream got it, None when it does not say.
        metadata_sha256: of its core metadata file, beside it at the upstream.
        provenance: absolute URL of its provenance object there.
    """

    sha256: Sha256
    url: str
    length: Length | None = None
    uploaded_at: datetime | None = None
    metadata_sha256: Sha256 | None = None
    provenance: str | None = None


class Listed(NamedTuple):
    """A file that is taken over: its entry in the mirror's page document, and its origin."""

    entry: bytes
    origin: Origin
    version: str


@dataclass(frozen=True, slots=True)
class UpstreamPage:
    """A project's page at its upstream, as far as it is taken over.

    Attributes:
        serial: of the upstream, None when it gives none.
        status: PEP 792 status and reason; `active` without words when the upstream says nothing.
        skipped: why files were left out, and how many.
    """

    project: NormalizedName
    serial: int | None
    status: tuple[str, str]
    versions: tuple[str, ...]
    files: Mapping[FileName, Listed]
    skipped: Mapping[str, int] = field(default_factory=dict)


def take_over(page: RawPage, project: NormalizedName, *, serial: int | None = None) -> UpstreamPage:
    """Return what a mirror takes over from a page.

    Args:
        project: whose page was asked for.
        serial: of the header `X-PyPI-Last-Serial`, None when there is none.

    Raises:
        UnreadablePage: the page is another project's, or lists a file name with two digests.
    """
    if page.name is not None and not _is_name_of(page.name, project):
        raise UnreadablePage(f"it is the page of {str(page.name)[:100]!r}, and {project} was asked for")
    files: dict[FileName, Listed] = {}
    skipped: Counter[str] = Counter()
    secure = urlsplit(page.base).scheme == "https"
    for raw in page.files:
        try:
            name, listed = _taken(page.base, raw, project, secure=secure)
        except Skip as reason:
            skipped[str(reason)] += 1
            continue
        if files.setdefault(name, listed).origin.sha256 != listed.origin.sha256:
            raise UnreadablePage(f"it lists {name} twice, with different digests")
    status = _status(page.status)
    if status[0] == QUARANTINED:
        # No installer looks at the status: what is listed is installed (contract section 1.3).
        files = {}
    versions = _versions(page.versions, (listed.version for listed in files.values()))
    found = serial if serial is not None else page.serial
    whole = found if isinstance(found, int) and not isinstance(found, bool) and 0 < found < 1 << 62 else None
    return UpstreamPage(project, whole, status, versions, files, dict(skipped))


def page_of_mirror(index: IndexName, page: UpstreamPage) -> bytes:
    """Return the page document of a mirror, shaped like one that is signed: merging and serving take both alike."""
    head: dict[str, Any] = {
        "meta": {"api-version": API_VERSION, "_last-serial": page.serial or 0, "_index": str(index)},
        "name": page.project,
    }
    status, reason = page.status
    if status != ACTIVE:
        head["project-status"] = {"status": status, **({"reason": reason} if reason else {})}
    head["versions"] = list(page.versions)
    begin = orjson.dumps(head)[:-1] + b',"files":['
    return begin + b",".join(listed.entry for listed in page.files.values()) + b"]}"


def _taken(base: str, raw: Raw, project: NormalizedName, *, secure: bool) -> tuple[FileName, Listed]:
    """Take a file over.

    Raises:
        Skip: it is not taken.
    """
    name, version = _place(raw.get("filename"), project)
    sha256 = _digest(raw.get("hashes"))
    if sha256 is None:
        raise Skip("the upstream names no sha256 digest")
    url = _address(base, raw.get("url"), secure=secure)
    link = signed_link(sha256, name)
    entry: dict[str, Any] = {"filename": name, "url": link, "hashes": {"sha256": sha256}}
    requires_python = readable_requirement(raw.get("requires-python"))
    if requires_python:
        entry["requires-python"] = requires_python
    size = raw.get("size")
    length = Length(size) if isinstance(size, int) and not isinstance(size, bool) and 0 <= size < _LARGEST else None
    if length is not None:
        entry["size"] = length
    uploaded_at = _uploaded_at(raw.get("upload-time"))
    if uploaded_at is not None:
        said = raw["upload-time"]
        entry["upload-time"] = said if _EXACT_TIME.match(said) else f"{uploaded_at.replace(tzinfo=None).isoformat()}Z"
    entry["yanked"] = _yanked(raw.get("yanked"))
    metadata = _metadata_digest(raw)
    if metadata is not None:
        entry["core-metadata"] = entry["data-dist-info-metadata"] = {"sha256": metadata}
    if isinstance(raw.get("gpg-sig"), bool):
        entry["gpg-sig"] = raw["gpg-sig"]
    provenance = _provenance(base, raw.get("provenance"), secure=secure)
    if provenance is not None:
        entry["provenance"] = f"{link}{PROVENANCE_SUFFIX}"
    origin = Origin(sha256, url, length, uploaded_at, metadata, provenance)
    return name, Listed(_encoded(entry, _unknown(raw)), origin, version)


def _place(file_name: object, project: NormalizedName) -> tuple[FileName, str]:
    """Return a file's name and version.

    Raises:
        Skip: it cannot be one of the project's files.
    """
    if not isinstance(file_name, str):
        raise Skip("it has no file name")
    try:
        name = parse_file_name(file_name)
    except InvalidName as error:
        raise Skip("its file name is no safe path segment") from error
    version = version_named(name, project)
    if version is None:
        raise Skip("its file name is none of a version of the project")
    return name, version


def _address(base: str, url: object, *, secure: bool) -> str:
    """Return a link of the page in full.

    Raises:
        Skip: it is none that is followed.
    """
    if not isinstance(url, str) or not url or len(url) > _MAX_TEXT:
        raise Skip("it has no address")
    if _PLAIN_URL.match(url) and (not secure or url.startswith("https:")):
        return url
    folder, _, last = url.rpartition("/")
    if _PLAIN_NAME.match(last) and (resolved := _folder(base, folder, secure)) is not None:
        return resolved + last
    return _followed(joined(base, url), secure=secure)


@lru_cache(maxsize=1024)
def _folder(base: str, folder: str, secure: bool) -> str | None:
    """Return the folder that many links of a page lead to, None for one that is looked at link by link."""
    try:
        found = _followed(joined(base, f"{folder}/" if folder else "."), secure=secure)
    except Skip:
        return None
    return found if _PLAIN_URL.match(found) and found.endswith("/") else None


def _followed(found: str, *, secure: bool) -> str:
    """Return a link in full, if it is followed.

    Raises:
        Skip: it is not.
    """
    try:
        parts = urlsplit(found)
        usable = bool(parts.hostname) and "@" not in parts.netloc and found.isascii() and found.isprintable()
    except ValueError:
        usable = False
    if not usable or " " in found:
        raise Skip("its address is no plain URL")
    if parts.scheme not in (("https",) if secure else ("http", "https")):
        raise Skip("its address leads to a lesser scheme than the page's")
    return found


def readable_requirement(said: object) -> str | None:
    """Return `requires-python` as every installer reads it, None for nothing that could be meant.

    A value that does not parse hides the file from uv and is ignored by pip; so wildcards in ordered comparisons
    (`>=3.6.*`) are dropped, as uv and pip both read them, and what still does not parse is left out.
    """
    if not isinstance(said, str) or not said.strip() or len(said) > _MAX_TEXT:
        return None
    return _readable(said)


@lru_cache(maxsize=4096)
def _readable(said: str) -> str | None:
    for text in (said, _WILD.sub(r"\1", said)):
        try:
            SpecifierSet(text).contains("3.12")
        except (InvalidSpecifier, ValueError):
            continue
        return text
    return None


def _uploaded_at(said: object) -> datetime | None:
    """Return an upload time; one without a zone says nothing that can be relied on."""
    if not isinstance(said, str) or said[-1:] in ("", " "):
        return None
    try:
        found = datetime.fromisoformat(said[:64])
        if found.tzinfo is UTC:
            return found
        return None if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _yanked(said: object) -> bool | str:
    """Return the mark: an empty reason would be "yanked" to uv and "not yanked" to pip."""
    if isinstance(said, str):
        return said[:_MAX_TEXT] if _is_text(said) and said else True
    return bool(said)


def _metadata_digest(raw: Raw) -> Sha256 | None:
    for key in _METADATA_KEYS:
        found = raw.get(key)
        if found and (sha256 := _digest(found)) is not None:
            return sha256
    return None


def _digest(hashes: object) -> Sha256 | None:
    """Return the sha256 digest among digests by name, None for none that can be checked."""
    said = hashes.get("sha256") if isinstance(hashes, dict) else None
    if not isinstance(said, str):
        return None
    try:
        return parse_sha256(said.lower())
    except InvalidDigest:
        return None


def _provenance(base: str, url: object, *, secure: bool) -> str | None:
    try:
        return None if url is None else _address(base, url, secure=secure)
    except Skip:
        return None


def _unknown(raw: Raw) -> dict[str, Any]:
    if raw.keys() <= _KNOWN:
        return {}
    return {
        key: value
        for key, value in raw.items()
        if key not in _KNOWN and not key.startswith("_") and value is not None and len(key) <= 64
    }


def _encoded(entry: dict[str, Any], unknown: dict[str, Any]) -> bytes:
    """Return an entry with the keys that are not known here, without these if they are too long."""
    if unknown:
        # More digits than orjson writes: the reader makes a number of them all the same.
        with suppress(TypeError, ValueError):
            if len(orjson.dumps(unknown)) <= _MAX_UNKNOWN:
                return exact(orjson.dumps(entry | unknown))
    return exact(orjson.dumps(entry))


def _status(said: object) -> tuple[str, str]:
    """Return status and reason. The specification's own example has the status as a text."""
    reason: object = ""
    if isinstance(said, dict):
        reason, said = said.get("reason"), said.get("status")
    status = said if isinstance(said, str) and re.fullmatch(r"[a-z][a-z-]{0,31}", said) else ACTIVE
    return status, reason[:_MAX_TEXT] if isinstance(reason, str) and _is_text(reason) else ""


def _versions(said: object, of_files: Iterable[str]) -> tuple[str, ...]:
    """Return the versions that a page names, in its order, else those of its files.

    Raises:
        UnreadablePage: it names more than `MOST_VERSIONS`.
    """
    named = [one for one in said if isinstance(one, str) and 0 < len(one) <= 256] if isinstance(said, list) else []
    if len(named) > MOST_VERSIONS:
        raise UnreadablePage(f"it names more than {MOST_VERSIONS} versions")
    return tuple(dict.fromkeys(named or of_files))


def _is_name_of(said: object, project: NormalizedName) -> bool:
    try:
        return isinstance(said, str) and parse_project_name(said) == project
    except InvalidName:
        return False


def _is_text(text: str) -> bool:
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
