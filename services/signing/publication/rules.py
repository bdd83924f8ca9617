"""What a batch changes: from the rows of the touched projects to the targets, marks and journal lines of a
publication. Pure.

Source: architecture sections 5 and 11.2; trust contract section 2.6.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from countermark.core.digest import Length, sha256_of
from countermark.core.names import FileName, IndexName, TargetPath, latest_target, pointer_target, summary_target
from countermark.core.pointer import Resource
from shared.catalogue import publication_rows as rows
from shared.catalogue.publication_rows import CurrentFile, FileState, JournalLine, NamedBundle, ProjectState, Request
from shared.formats.interface import PageFile, ProjectPage
from shared.formats.python.pages import provenance_url
from shared.ids import FileId
from shared.objects.keys import bundle_key
from shared.trust.metadata import TargetEntry, kind_of
from shared.trust.roles import RoleSpec

_DAY = timedelta(days=1)

QUARANTINED = "quarantined"
"""The status of a project of which nothing is visible. Source: PEP 792."""


class Names(Protocol):
    """Which file names a project lists."""

    def __len__(self) -> int: ...

    def __contains__(self, file_name: object, /) -> bool: ...


@dataclass(frozen=True, slots=True)
class ProjectPlan:
    """What a batch does to one project; `page` has those of its files that were looked at."""

    project: ProjectState
    page: ProjectPage
    added: tuple[FileState, ...]
    dropped: tuple[FileState, ...]
    journal: tuple[JournalLine, ...]
    repointed: tuple[FileState, ...] = ()
    """Visible files that stay, and whose pointers name another attestation from now on."""

    def unset(self, listed: Names) -> tuple[TargetPath, ...]:
        """Return the targets that stop existing: pointers of dropped files whose name no file took over, `_latest` of
        an empty project.

        Args:
            listed: all files that the project lists once this is done.
        """
        gone = [
            pointer_target(self.project.name, file.file_name) for file in self.dropped if file.file_name not in listed
        ]
        return (*gone, *(() if listed else (latest_target(self.project.name),)))

    def summaries(self, of_files: Mapping[FileId, bytes]) -> dict[TargetPath, bytes]:
        """Return the verification summaries that become targets: of files that are shown, or point elsewhere, now."""
        return {
            summary_target(self.project.name, file.file_name): of_files[file.id]
            for file in (*self.added, *self.repointed)
            if file.id in of_files
        }

    def former_summaries(self) -> list[TargetPath]:
        """Return where the summaries of files that go, or point elsewhere, may be targets."""
        return [summary_target(self.project.name, file.file_name) for file in (*self.dropped, *self.repointed)]


def is_visible(file: FileState) -> bool:
    """Return whether a file's marks allow it to be listed."""
    return not file.removed and not file.held


def plan_project(  # noqa: PLR0913 - what a batch knows of one project
    index: IndexName,
    serial: int,
    project: ProjectState,
    files: Sequence[FileState],
    requests: Sequence[Request] = (),
    *,
    arrived: Collection[FileId] = (),
    over: bool = False,
    index_url: str | None = None,
) -> ProjectPlan:
    """Decide what a batch does to a project.

    A quarantined project has no visible file, so that its pointers are dropped too; when it leaves quarantine, all its
    files count as added, and their pointers are rendered again.

    Args:
        files: the project's visible files and those of the batch whose bytes were checked; all files that were not
            removed when the project's status changed. Files that the batch does not change may be left out.
        requests: what people asked for in this batch, for the journal, in their order.
        arrived: files that were uploaded; one may have been listed before, when its name was used again meanwhile.
        over: the project is of a life of the index that has ended.
        index_url: what the addresses of provenance objects begin with; None when none may be printed.
    """
    visible = [] if over or project.status == QUARANTINED else [file for file in files if is_visible(file)]
    shown = {file.id for file in visible}
    added = tuple(file for file in visible if not file.published)
    dropped = tuple(file for file in files if file.published and file.id not in shown)
    return ProjectPlan(
        project=project,
        page=ProjectPage(
            index=index,
            project=project.name,
            serial=serial,
            status=project.status,
            status_reason=project.status_reason,
            files=[page_file(file, index_url) for file in visible],
        ),
        added=added,
        dropped=dropped,
        journal=(*_asked(project, requests), *_journal(project, added, dropped, arrived, over=over)),
        repointed=tuple(file for file in visible if file.repointed),
    )


def asked_releases(requests: Iterable[Request]) -> frozenset[str] | None:
    """Return the versions that requests are about, None when one of them may be about any file of the project."""
    versions = [None if request.action == rows.STATUS_CHANGE else request.version for request in requests]
    return None if None in versions else frozenset(version for version in versions if version is not None)


def page_file(file: FileState, index_url: str | None = None) -> PageFile:
    """Return a file as its page lists it, and as its pointer names it.

    Args:
        index_url: what the address of its provenance object begins with; None when it may not be printed.
    """
    named, printed = file.attestation, index_url is not None and file.has_provenance
    return PageFile(
        file_name=file.file_name,
        version=file.version,
        package_type=file.package_type,
        sha256=file.sha256,
        length=file.length,
        requires_python=file.requires_python,
        uploaded_at=file.uploaded_at,
        yanked=file.yanked,
        core_metadata_sha256=file.core_metadata_sha256,
        attestation=None if named is None else bundle_resource(file.file_name, named),
        provenance=provenance_url(index_url, file.sha256, file.file_name) if printed and index_url else None,
    )


def bundle_resource(file_name: FileName, bundle: NamedBundle) -> Resource:
    """Return a bundle as pointers name it: under its own digest. Source: trust contract section 3.2."""
    return Resource(f"/{bundle_key(bundle.sha256, file_name)}", bundle.sha256, bundle.length)


def _asked(project: ProjectState, requests: Iterable[Request]) -> Iterable[JournalLine]:
    """Say what was asked for; files that go have lines of their own."""
    for request in requests:
        match request.action:
            case "release.yank" | "release.unyank" | "release.remove":
                action = f"{request.action.removeprefix('release.')} release"
            case "project.remove":
                action = "remove project"
            case "file.yank" | "file.unyank":
                action = f"{request.action.removeprefix('file.')} file {request.file}"
            case rows.STATUS_CHANGE:
                action = f"set status {request.status}"
            case _:
                continue
        yield JournalLine(project.name, request.version, action, request.actor)


def _journal(
    project: ProjectState,
    added: Iterable[FileState],
    dropped: Iterable[FileState],
    arrived: Collection[FileId],
    *,
    over: bool,
) -> Iterable[JournalLine]:
    """Say which files came and went. Quarantine is no coming and going: the journal has the change of status."""
    for file in added:
        if not file.was_published or file.id in arrived:
            action = f"add {file.package_type} file {file.file_name}"
            yield JournalLine(project.name, file.version, action, file.uploader)
    for file in dropped:
        if over or not is_visible(file):
            yield JournalLine(project.name, file.version, f"remove file {file.file_name}", file.removed_by)


def entry_of(path: TargetPath, content: bytes) -> TargetEntry:
    """Return what targets metadata says of a target with these bytes."""
    return TargetEntry(path, sha256_of(content), Length(len(content)), kind_of(path))


def bins_due(
    current: Mapping[str, CurrentFile],
    spec: RoleSpec,
    now: datetime,
    most: int,
    *,
    at_once: int = 0,
    prefix: str = "",
) -> list[str]:
    """Return the bins to sign again, those that expire first.

    Some each day, so that the work rolls: as many as `most` lacks of those signed within a day, for whatever reason.
    And each that is due, at most `most` at a time, should the rolling not have come to it.

    Args:
        most: bins that a day, or a batch, signs again at the most.
        at_once: of a day's share, what this batch may sign.
        prefix: what the names of the bins begin with that the registry delegates to. Bins of an earlier count stay in
            `current` for ever and nobody asks for them: they are never signed again.
    """
    # Sums made once: there may be thousands of bins, in each batch.
    due_until, fresh_from = now + spec.resign_before, now + spec.lifetime - _DAY
    living = [file for file in current.values() if file.role.startswith(prefix)]
    aged = [file for file in living if file.expires_at <= fresh_from]
    due = sum(file.expires_at <= due_until for file in aged)
    rolling = min(most - (len(living) - len(aged)), at_once)
    wanted = max(min(due, most), rolling)
    if wanted <= 0:
        return []
    return [file.role for file in sorted(aged, key=lambda file: (file.expires_at, file.role))[:wanted]]


def bin_groups(old: Sequence[str], new: Sequence[str]) -> list[tuple[Sequence[str], Sequence[str]]]:
    """Pair the bins of two counts that hold the same targets: (old names, new names) of each pair.

    A bin is the first bits of a digest, so a bin of the smaller count is exactly several of the larger one: whatever
    the sizes, a move from one count to the other goes pair by pair.

    Args:
        old: names of all bins of one count, by number; how many they are is a power of two.
        new: those of the other count.

    Source: TAP 15.
    """
    groups = min(len(old), len(new))
    olds, news = len(old) // groups, len(new) // groups
    return [(old[g * olds : (g + 1) * olds], new[g * news : (g + 1) * news]) for g in range(groups)]


def group_by_bin(
    entries: Iterable[TargetEntry], unset: Iterable[TargetPath], bin_of: Callable[[str], str]
) -> dict[str, tuple[list[TargetEntry], list[TargetPath]]]:
    """Sort a batch's changes into bins: bin name -> (targets to set, target paths to unset)."""
    grouped: dict[str, tuple[list[TargetEntry], list[TargetPath]]] = {}
    for entry in entries:
        grouped.setdefault(bin_of(entry.path), ([], []))[0].append(entry)
    for path in unset:
        grouped.setdefault(bin_of(path), ([], []))[1].append(path)
    return grouped
