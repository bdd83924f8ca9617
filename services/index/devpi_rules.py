"""Which of devpi's documents a request asks for, and what such a document says. Pure.

A document is put together in two steps. The plan (`plan_of`) says which versions there are, from which index each comes
and which links it has; it is small. Then the versions are written part by part, each with its metadata, so that a
project of any size is answered with the memory of one part.
Source: contract devpi sections 3, 4.4, 4.5, 7, 15 and 23.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol
from urllib.parse import quote

import orjson

from countermark.core.digest import Sha256
from countermark.core.names import FileName, IndexName, InvalidName, NormalizedName, parse_project_name
from services.index.devpi_mirrored import MirroredPart
from services.index.rules import chooses_page
from shared.faces import Face, FaceKind
from shared.ids import IndexId, ReleaseId
from shared.reading.devpi_rows import (
    DOC,
    FROM_MIRROR,
    AttachmentRow,
    FileRow,
    History,
    Holdings,
    ProjectRow,
    ReleaseRow,
)
from shared.reading.resolution import Member

MAX_VERSION = 256
"""Characters of a version that is looked for."""

PART_RELEASES = 250
"""Releases whose metadata are in memory at a time."""

PART_BYTES = 1 << 20
"""Bytes of their metadata as they are stored; what is stored small can be some ninety times larger when read."""

_TEXTS = (
    "metadata_version", "summary", "home_page", "author", "author_email", "maintainer", "maintainer_email", "license",
    "description", "keywords", "download_url", "comment", "requires_python", "description_content_type",
    "license_expression",
)  # fmt: skip
"""devpi's names of what is one text, beside `name` and `version`; `core_metadata` has the same unless said below."""

_LISTS = {
    "platform": "platforms",
    "classifiers": "classifiers",
    "supported_platform": "supported_platforms",
    "provides": "provides",
    "requires": "requires",
    "obsoletes": "obsoletes",
    "project_urls": "project_urls",
    "provides_dist": "provides_dist",
    "obsoletes_dist": "obsoletes_dist",
    "requires_dist": "requires_dist",
    "requires_external": "requires_external",
    "provides_extras": "provides_extra",
    "dynamic": "dynamic",
    "license_file": "license_files",
}
"""devpi's name of a list -> key of `packaging.metadata.RawMetadata`."""

_UNKNOWN = "UNKNOWN"
"""What old builders wrote where they had nothing to say."""

_REFRESH = "/refresh"


@dataclass(frozen=True, slots=True)
class DocumentWanted:
    """devpi's document of a project, or of one version of it.

    Attributes:
        own: whether bases are left out.
    """

    project: NormalizedName
    version: str | None
    own: bool


@dataclass(frozen=True, slots=True)
class RefreshWanted:
    """A project's page is to be read anew from where it comes from."""

    project: NormalizedName


@dataclass(frozen=True, slots=True)
class Renamed:
    """The address holds another spelling of a project's name; `path` is the right one, below the index."""

    path: str


@dataclass(frozen=True, slots=True)
class Nothing:
    """The address can mean no project or version; `detail` says so as devpi does."""

    detail: str


Wanted = DocumentWanted | RefreshWanted | Renamed | Nothing


def is_devpi(face: Face, method: str, accept: bytes, user_agent: bytes) -> bool:
    """Return whether a request of the index service is answered in devpi's way, and not with a page.

    Installers that were given the index's own URL mean the simple page, unless they ask for devpi's JSON.
    Source: contract devpi sections 7 and 8.
    """
    if face.kind is FaceKind.SIMPLE:
        return method == "POST" and face.rest.removesuffix("/").endswith(_REFRESH)
    if face.kind not in (FaceKind.PROJECT, FaceKind.VERSION) or method not in ("GET", "HEAD"):
        return False
    return not chooses_page(face, user_agent.decode("latin-1"), accept.decode("latin-1"))


def wanted_at(face: Face, query: bytes) -> Wanted:
    """Return what a request means for which `is_devpi` holds.

    Args:
        query: flags count by being there, whatever their value.
    """
    rest = face.rest.removesuffix("/")
    if face.kind is FaceKind.SIMPLE:
        name = rest.removesuffix(_REFRESH)
        project = _project(name)
        return no_project(name) if project is None else RefreshWanted(project)
    name, slash, version = rest.partition("/")
    project = _project(name)
    if project is None:
        return no_project(name)
    if name != project:
        more = f"/{quote(version, safe='!+~')}" if slash else ""
        return Renamed(f"{project}{more}{'/' if face.rest.endswith('/') else ''}")
    if slash and (len(version) > MAX_VERSION or not version.isprintable()):
        return no_version(project, version)
    own = any(pair.partition(b"=")[0] == b"ignore_bases" for pair in query.split(b"&"))
    return DocumentWanted(project, version if slash else None, own)


def no_project(name: str) -> Nothing:
    """Return the words for a project that nobody knows."""
    return Nothing(f"no project {name[:100]!r}")


def no_version(project: NormalizedName, version: str) -> Nothing:
    """Return the words for a version that a project does not have."""
    return Nothing(f"The version {version[:100]} of project {project} does not exist.")


def _project(name: str) -> NormalizedName | None:
    try:
        return parse_project_name(name)
    except InvalidName:
        return None


class Identified(Member, Protocol):
    """A member of a merged view, with its id."""

    @property
    def id(self) -> IndexId:
        """Of its row."""


@dataclass(frozen=True, slots=True)
class Part:
    """One version on one index.

    Attributes:
        index: that it belongs to.
        url: of that index, without a slash at its end.
        display_name: of the project, for metadata that do not say it.
    """

    index: IndexName
    url: str
    display_name: str
    release: ReleaseRow
    files: Sequence[FileRow]
    attachments: Sequence[AttachmentRow]


Plan = dict[str, list[Part | MirroredPart]]
"""Version -> that version on each index that has it, nearest first: the first is shown, the others are shadowed."""


def is_known(members: Sequence[Identified], holdings: Holdings) -> bool:
    """Return whether there is a project to tell of: something of it is shown, or was until it came into quarantine."""
    rows = [holdings.projects[member.id] for member in members if member.id in holdings.projects]
    return any(row.quarantined or not holdings.empty(row) for row in rows)


def plan_of(members: Sequence[Identified], holdings: Holdings, root: str, hidden: Collection[FileName] = ()) -> Plan:
    """Return the versions of a project.

    Args:
        members: that show it, nearest first.
        root: the URL of the host, without a slash at its end.
        hidden: names that the index that was asked holds for review: no member's file of these shows.
    """
    plan: Plan = {}
    for member in members:
        row = holdings.projects.get(member.id)
        if row is None:
            continue
        for release, files in _releases(row, holdings, hidden):
            attached = holdings.attachments.get(release.id, ())
            part = Part(member.name, f"{root}/{member.name}", row.display_name, release, files, attached)
            plan.setdefault(release.version, []).append(part)
    return plan


def with_mirrored(plan: Plan, mirrored: Mapping[str, Sequence[MirroredPart]]) -> Plan:
    """Return a plan with what mirrors show: they come last, wherever they stand among the bases."""
    for version, parts in mirrored.items():
        plan.setdefault(version, []).extend(parts)
    return plan


def version_in(plan: Plan, sought: str) -> str | None:
    """Return the version that one asked for means: itself, else the nearest one of those that equal it.

    Args:
        plan: of the versions that equal the one asked for.
    """
    return sought if sought in plan else next(iter(plan), None)


def parts_of(plan: Plan) -> Iterator[Plan]:
    """Take a plan apart, so that the metadata of each part are in memory alone."""
    part: Plan = {}
    releases = weight = 0
    for version, shown in plan.items():
        more = _weight(shown)
        if part and (releases + len(shown) > PART_RELEASES or weight + more > PART_BYTES):
            yield part
            part, releases, weight = {}, 0, 0
        part[version] = shown
        releases += len(shown)
        weight += more
    if part:
        yield part


def weight_of(plan: Plan) -> int:
    """Return how many bytes a plan's metadata take in the catalogue."""
    return sum(map(_weight, plan.values()))


def _weight(shown: Sequence[Part | MirroredPart]) -> int:
    return sum(one.release.weight for one in shown if isinstance(one, Part))


def releases_in(plan: Plan) -> list[ReleaseId]:
    """Return the releases whose metadata a plan needs."""
    return [one.release.id for shown in plan.values() for one in shown if isinstance(one, Part)]


def written(plan: Plan, metadata: Mapping[ReleaseId, str]) -> bytes:
    """Return a plan's versions as the members of a JSON object, without its braces.

    Args:
        metadata: JSON text of every release; a version whose release is not there is left out.
    """
    found = {version: verdata(shown, metadata) for version, shown in plan.items()}
    return orjson.dumps({version: document for version, document in found.items() if document is not None})[1:-1]


def with_root(text: bytes, root: str) -> bytes:
    """Return versions that were written with links that begin with `/` (an empty root), with the host's URL in front.

    Args:
        root: the URL of the host, without a slash at its end.
    """
    # Nothing that people wrote looks so: within a JSON text the quotation marks are escaped.
    return text.replace(_LINK, _LINK[:-1] + orjson.dumps(root)[1:-1] + b"/")


_LINK = b'href":"/'
"""How a link of a document with an empty root begins: those of `href` and of `for_href`."""


def verdata(shown: Sequence[Part | MirroredPart], metadata: Mapping[ReleaseId, str]) -> dict[str, Any] | None:
    """Return what devpi says of a version, with what it shadows; None when its releases are gone."""
    every = [one.verdata() if isinstance(one, MirroredPart) else _verdata(one, metadata) for one in shown]
    found = [document for document in every if document is not None]
    if len(found) > 1:
        found[0]["+shadowing"] = found[1:]
    return found[0] if found else None


def _verdata(part: Part, metadata: Mapping[ReleaseId, str]) -> dict[str, Any] | None:
    """Return what devpi says of a version on an index, None when its release is gone."""
    if part.release.id not in metadata:
        return None
    fields = orjson.loads(metadata[part.release.id])
    document: dict[str, Any] = {"name": _text(fields.get("name")) or part.display_name, "version": part.release.version}
    for key in _TEXTS:
        document[key] = _text(fields.get(key))
    for key, ours in _LISTS.items():
        document[key] = _list(fields.get(ours))
    if links := _links(part):
        document["+links"] = links
    return document


def _text(value: Any) -> str:
    text = ",".join(value) if isinstance(value, list) else value
    return text if isinstance(text, str) and text != _UNKNOWN else ""


def _list(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [f"{label}, {url}" for label, url in value.items()]
    values = [value] if isinstance(value, str) else value or []
    return [text for text in values if text and text != _UNKNOWN]


def _releases(
    row: ProjectRow, holdings: Holdings, hidden: Collection[FileName]
) -> list[tuple[ReleaseRow, list[FileRow]]]:
    """Return each release of a project that is shown, with its visible files; one whose files are all hidden is not."""
    found: dict[ReleaseId, tuple[ReleaseRow, list[FileRow]]] = {}
    for file in holdings.files.get(row.id, ()):
        if file.file_name in hidden:
            continue
        found.setdefault(file.release.id, (file.release, []))[1].append(file)
    for release in holdings.registered.get(row.id, ()):
        found.setdefault(release.id, (release, []))
    return list(found.values())


def _links(part: Part) -> list[dict[str, Any]]:
    """Return `+links`: release files, then documentation, then the test results of the files."""
    links, hrefs = [], {}
    for file in part.files:
        hrefs[file.id] = _href(part.url, file.sha256[:16], file.file_name)
        log = log_of(file.history, part.index, file.uploader, file.uploaded_at)
        links.append(_link("releasefile", hrefs[file.id], file.sha256, log))
    for attachment in sorted(part.attachments, key=lambda attachment: attachment.kind != DOC):
        about = None if attachment.file_id is None else hrefs.get(attachment.file_id)
        if attachment.file_id is not None and about is None:
            # Of a file that is not visible.
            continue
        href = _href(part.url, attachment.path_key, attachment.file_name)
        log = log_of(attachment.history, part.index, attachment.added_by, attachment.added_at)
        link = _link("doczip" if attachment.kind == DOC else "toxresult", href, attachment.sha256, log)
        links.append(link if about is None else {**link, "for_href": about})
    return links


def _link(rel: str, href: str, sha256: Sha256, log: list[dict[str, Any]]) -> dict[str, Any]:
    return {"rel": rel, "href": href, "hash_spec": f"sha256={sha256}", "hashes": {"sha256": sha256}, "log": log}


def _href(url: str, path_key: str, file_name: str) -> str:
    return f"{url}/+f/{path_key[:3]}/{path_key[3:]}/{quote(file_name)}"


def log_of(history: History, index: IndexName, uploader: str | None, at: datetime) -> list[dict[str, Any]]:
    """Return what happened to a file in devpi's words: replacements first, the upload, then pushes.

    Args:
        history: as stored; the upload itself is told by `uploader` and `at`, unless it is there.
        index: that the file belongs to. What was pushed here was uploaded to where the first push took it from, unless
            that is a mirror.

    Source: contract devpi section 4.5.
    """
    entries = [{key: value for key, value in entry.items() if key != FROM_MIRROR} for entry in history]
    if any(entry.get("what") == "upload" or entry.get(FROM_MIRROR) for entry in history):
        return entries
    before = [entry for entry in entries if entry.get("what") == "overwrite"]
    after = [entry for entry in entries if entry.get("what") != "overwrite"]
    origin = next((entry["src"] for entry in after if entry.get("what") == "push" and "src" in entry), str(index))
    upload = {"what": "upload", "who": uploader, "when": list(at.astimezone(UTC).timetuple()[:6]), "dst": origin}
    return [*before, upload, *after]
