"""Reads `dataindex.json` of a devpi export, and gathers everything that cannot come in as it is. Pure.

Source: devpi-server 6.20, `importexport.py` (dump version 2); contract devpi sections 4, 5, 6 and 10.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import PurePosixPath
from typing import Any, TypeGuard

import orjson

from countermark.core.names import FileName, InvalidName, parse_file_name
from deploy.importing.export_rows import (
    DOC,
    KINDS,
    RELEASE_FILE,
    TEST_RESULT,
    Export,
    ExportedFile,
    ExportedIndex,
    Finding,
    ForeignExport,
)
from deploy.importing.export_settings import Renames, account_of, index_of
from gateway.importing import ImportedIndex
from shared.catalogue.importing import ImportedRelease
from shared.formats.interface import InvalidFile
from shared.formats.python.foreign import coordinates_of, fields_of_form
from shared.reading.devpi_rows import FROM_MIRROR

DATA_INDEX = "dataindex.json"
"""The file of an export that says what is in it."""

DUMP_VERSION = "2"
"""The one that devpi-server 6 writes."""

MOST_LOG = 1000
"""Entries of the log of one file."""

_TOP_KEYS = frozenset({"users", "indexes", "dumpversion", "pythonversion", "devpi_server", "uuid", "secret"})
_INDEX_KEYS = frozenset({"indexconfig", "projects", "files"})
_FILE_KEYS = frozenset({"version", "entrymapping", "log", "type", "projectname", "relpath", "for_entrypath"})
_MAPPING_KEYS = frozenset(
    {
        *("last_modified", "hash_spec", "hashes", "md5", "project", "version", "url", "size", "eggfragment"),
        *("requires_python", "yanked", "mimetype", "pypi_url"),
    }
)
_LOG_KEYS = frozenset({"what", "who", "when", "src", "dst", "count", "message"})

_Pair = tuple[str, str]


def read_export(document: bytes, renames: Renames, *, public: bool = True) -> Export:
    """Read what an export says.

    Raises:
        ForeignExport: it is no export of a version that is understood.
    """
    try:
        data = orjson.loads(document)
    except orjson.JSONDecodeError as error:
        raise ForeignExport(f"{DATA_INDEX} is no JSON ({error}): make the export again with devpi-export") from error
    if not isinstance(data, dict) or "dumpversion" not in data:
        raise ForeignExport(f"{DATA_INDEX} is none of devpi-export: it does not say its dumpversion")
    if str(data["dumpversion"]) != DUMP_VERSION:
        raise ForeignExport(
            f"the export has dump version {data['dumpversion']!r:.40}, and {DUMP_VERSION} is read here: "
            "make it again with a current devpi-server"
        )
    users, indexes = data.get("users"), data.get("indexes")
    if not _is_table(users) or not _is_table(indexes):
        raise ForeignExport(f"{DATA_INDEX} has no users and indexes that can be read: make the export again")
    export = Export()
    tell = export.findings.append
    for key in sorted(data.keys() - _TOP_KEYS):
        tell(Finding("export", DATA_INDEX, f"the key {key[:60]!r} is not known here; leave it out with --skip-bad."))
    for name, raw in users.items():
        account = account_of(name, raw, renames, tell)
        if account is not None:
            export.accounts.append(account)
    owners = {account.name for account in export.accounts}
    for name, raw in indexes.items():
        index = _index_of(name, raw, renames, public, export)
        if index is not None and index.index.name.owner not in owners:
            tell(Finding("index", name, "its owner is not among the accounts that come in; see there."))
        elif index is not None:
            export.indexes.append(index)
    _tell_twice(export)
    return export


def _is_table(value: Any) -> TypeGuard[dict[str, dict[str, Any]]]:
    return isinstance(value, dict) and all(isinstance(row, dict) for row in value.values())


def _tell_twice(export: Export) -> None:
    """Tell of names that two things got, by way of --rename, and leave the second out."""
    accounts = {account.name: account for account in reversed(export.accounts)}
    indexes = {str(index.index.name): index for index in reversed(export.indexes)}
    left = len(export.accounts) + len(export.indexes) - len(accounts) - len(indexes)
    if left:
        why = f"{left} accounts or indexes come in under names that others have as well; correct --rename."
        export.findings.append(Finding("export", DATA_INDEX, why))
        export.accounts, export.indexes = list(accounts.values()), list(indexes.values())


def _index_of(
    name: str, raw: Mapping[str, Any], renames: Renames, public: bool, export: Export
) -> ExportedIndex | None:
    tell = export.findings.append
    config = raw.get("indexconfig")
    if not isinstance(config, dict):
        tell(Finding("index", name, "it has no indexconfig that can be read."))
        return None
    for key in sorted(raw.keys() - _INDEX_KEYS):
        tell(Finding("index", name, f"the key {key[:60]!r} is not known here; leave it out with --skip-bad."))
    index = index_of(name, config, renames, public, tell)
    files, projects = raw.get("files") or [], raw.get("projects") or {}
    if index is None:
        return None
    if not isinstance(files, list) or not _is_table(projects):
        tell(Finding("index", name, "its files or projects cannot be read."))
        return None
    if index.type == "mirror":
        return ExportedIndex(index, (), {}, [str(file.get("relpath")) for file in files if isinstance(file, dict)])
    return _Reader(index, projects, export).read(files)


class _Reader:
    """Reads what one index holds."""

    def __init__(self, index: ImportedIndex, projects: Mapping[str, Any], export: Export) -> None:
        self._index = index
        self._export = export
        self._said: dict[_Pair, Mapping[str, Any]] = {}
        self._spelled: dict[_Pair, str] = {}
        for project, versions in projects.items():
            for version, said in versions.items():
                if isinstance(said, dict):
                    spelled = said.get("name") or project
                    self._said[_plain(project), version] = said
                    self._spelled[_plain(project), version] = str(spelled)

    def read(self, raw_files: list[Any]) -> ExportedIndex:
        """Return the index with its files in an order in which they can come in."""
        files = [file for raw in raw_files if (file := self._file(raw)) is not None]
        names = {file.file_name for file in files if file.kind == RELEASE_FILE}
        kept: list[ExportedFile] = []
        seen: dict[FileName, str] = {}
        for file in files:
            if file.kind == TEST_RESULT and file.about not in names:
                self._tell(file.kind, file.path, f"the file it is about, {file.about}, is not in the export.")
            elif file.kind == RELEASE_FILE and file.file_name in seen:
                self._tell(file.kind, file.path, f"the index has a file of this name already: {seen[file.file_name]}.")
            else:
                kept.append(file)
                if file.kind == RELEASE_FILE:
                    seen[file.file_name] = file.path
        return ExportedIndex(self._index, kept, dict(self._releases(kept)))

    def _tell(self, kind: str, what: str, why: str, **more: str) -> None:
        self._export.findings.append(Finding(KINDS.get(kind, "file"), what, why, **more))

    def _file(self, raw: Any) -> ExportedFile | None:
        if not isinstance(raw, dict) or not isinstance(raw.get("relpath"), str):
            self._tell("", str(self._index.name), "an entry of its files cannot be read.")
            return None
        path, kind, mapping = raw["relpath"], raw.get("type"), raw.get("entrymapping") or {}
        if kind not in KINDS:
            self._tell("", path, f"its type {kind!r:.40} is not known here; leave it out with --skip-bad.")
            return None
        if not isinstance(mapping, dict) or not _is_inside(path):
            self._tell(kind, path, "its entry cannot be read, or leads out of the export.")
            return None
        for key in sorted([*(raw.keys() - _FILE_KEYS), *(mapping.keys() - _MAPPING_KEYS)]):
            self._tell(kind, path, f"the key {key[:60]!r} is not known here; leave it out with --skip-bad.")
        try:
            return self._placed(raw, mapping)
        except InvalidFile as error:
            self._tell(kind, path, " ".join(error.issues))
        except InvalidName as error:
            self._tell(kind, path, f"{error}.")
        return None

    def _placed(self, raw: Mapping[str, Any], mapping: Mapping[str, Any]) -> ExportedFile:
        kind, path = raw["type"], raw["relpath"]
        project, version = str(raw.get("projectname", "")), str(raw.get("version", ""))
        base = PurePosixPath(path).name
        about = None
        if kind == TEST_RESULT:
            about = parse_file_name(PurePosixPath(str(raw.get("for_entrypath", ""))).name)
        spelled = self._spelled.get((_plain(project), version), project)
        # A release of documentation or of a test result is found by the name that any of its files could have.
        of = base if kind == RELEASE_FILE else about or "documentation.zip"
        coordinates = coordinates_of(spelled, version, of)
        name = parse_file_name(base if kind != DOC else f"{coordinates.project}-{version}.doc.zip")
        log = _log_of(raw.get("log"))
        uploads = [entry for entry in log if entry.get("what") == "upload"]
        if not uploads:
            # devpi notes every upload; what was pushed without one came from a mirror.
            log = [{**entry, FROM_MIRROR: True} if entry["what"] == "push" else entry for entry in log]
        who = str(uploads[-1].get("who") or "")[:64] if uploads else ""
        at = _modified(mapping.get("last_modified")) or (_moment(uploads[-1].get("when")) if uploads else None)
        return ExportedFile(
            kind=kind,
            path=path,
            coordinates=coordinates,
            file_name=name,
            digests=_digests(mapping, None if kind != TEST_RESULT else PurePosixPath(path).parent.name),
            uploader=who,
            uploaded_at=at or datetime(1970, 1, 1, tzinfo=UTC),
            history=[] if len(log) == 1 and log[0].get("dst") == str(self._index.name) and uploads else log,
            about=about,
        )

    def _releases(self, files: list[ExportedFile]) -> Iterator[tuple[_Pair, ImportedRelease]]:
        """Yield every version that is known, those of files by their coordinates."""
        first: dict[_Pair, datetime] = {}
        for file in files:
            pair = (file.coordinates.project, file.coordinates.version)
            first[pair] = min(first.get(pair, file.uploaded_at), file.uploaded_at)
        for (project, version), said in self._said.items():
            try:
                at = coordinates_of(self._spelled[project, version], version, "registered.zip")
            except InvalidFile as error:
                what = f"{self._index.name} {project} {version}"[:200]
                self._export.findings.append(Finding("release", what, " ".join(error.issues)))
                continue
            pair = (at.project, at.version)
            yield pair, ImportedRelease(at, fields_of_form(said), first.get(pair, datetime(1970, 1, 1, tzinfo=UTC)))


def _plain(project: str) -> str:
    """Return a project's name without differences of spelling; devpi's keys are of several ages."""
    return "-".join(part for part in "".join(c if c.isalnum() else " " for c in project.lower()).split())


def _is_inside(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return bool(parts) and not path.startswith("/") and ".." not in parts and "\0" not in path and len(path) < 4096


def _digests(mapping: Mapping[str, Any], folder: str | None) -> dict[str, str]:
    """Return the digests on record.

    Args:
        folder: of a test result: devpi-server 6.5 to 6.8 wrote the digest of the file that it is about into its record.
    """
    hashes = mapping.get("hashes")
    found = {str(name): str(value).lower() for name, value in hashes.items()} if isinstance(hashes, dict) else {}
    if mapping.get("md5"):
        found.setdefault("md5", str(mapping["md5"]).lower())
    name, equals, value = str(mapping.get("hash_spec") or "").partition("=")
    if equals:
        found.setdefault(name, value.lower())
    return {name: value for name, value in found.items() if folder != f"{name}={value}"}


def _log_of(raw: Any) -> list[dict[str, Any]]:
    """Return the entries of a log that can be kept, with the members that devpi's have."""
    entries = [entry for entry in raw if isinstance(entry, dict)][:MOST_LOG] if isinstance(raw, list) else []
    return [
        {key: value for key, value in entry.items() if key in _LOG_KEYS and len(str(value)) <= 500}
        for entry in entries
        if isinstance(entry.get("what"), str) and b"\\u0000" not in orjson.dumps(entry)
    ]


def _modified(text: Any) -> datetime | None:
    try:
        return parsedate_to_datetime(str(text)).astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return None


def _moment(parts: Any) -> datetime | None:
    try:
        year, month, day, hour, minute, second = map(int, parts)
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except (TypeError, ValueError, OverflowError):
        return None
