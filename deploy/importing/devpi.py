"""Imports an export of devpi-server: everything is checked before anything is written.

1. Read `dataindex.json` (`export`), gather what cannot come in as it is.
2. Read every file once and compare it with its record (`digesting`); look which names are taken here.
3. When anything was refused: report, and end, unless --skip-bad leaves it out.
4. Accounts, indexes, then files, versions without files, documentation and test results, in batches.

Each step leaves alone what is there: the same command goes on where it was cut, and changes nothing when it is done.
Source: contract devpi sections 4, 5, 6, 10, 15 and 18.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from countermark.core.digest import Sha256
from countermark.core.names import FileName, IndexName, NormalizedName
from deploy.errors import LaunchError, UsageError
from deploy.importing.digesting import BadFile, digest_all
from deploy.importing.export import DATA_INDEX, read_export
from deploy.importing.export_rows import (
    DOC,
    KINDS,
    RELEASE_FILE,
    CheckedFile,
    Export,
    ExportedFile,
    ExportedIndex,
    ForeignExport,
)
from deploy.importing.export_settings import Renames
from deploy.importing.report import NOTE, opened
from deploy.importing.running import BATCH, Options, Target, add_files, batches, opened_target, refuse, until_signed
from gateway.importing import ImportedAccount
from services.upload.importing import IMPORTED, LEFT, REFUSED, THERE, Annex, Candidate
from shared.auth.directory import IndexRecord
from shared.auth.passwords import password_matches
from shared.settings import Settings

MAX_DATA_INDEX = 1 << 30
"""Bytes of `dataindex.json`, which is read whole: a site of a million releases stays below it."""

_Checked = Mapping[str, list[CheckedFile]]


async def import_devpi(settings: Settings, folder: Path, options: Options, say: Callable[[str], None]) -> None:
    """Bring an export in.

    Raises:
        UsageError: the report cannot be written.
        LaunchError: the folder has no export, something was refused, or the deployment cannot be used.
    """
    with opened(options.report) as report:
        export = await asyncio.to_thread(_read, folder, options)
        for finding in export.findings:
            report.line(finding.kind, finding.what, finding.status, finding.why)
        async with opened_target(settings, report) as target:
            checked = await _check(target, folder, export, settings.uploads.max_file_bytes)
            if report.refused and not options.skip_bad:
                refuse(report, f"the export in {folder}")
            if not options.check:
                indexes = await _write(target, folder, export, checked)
                if options.wait:
                    await until_signed(target, indexes, say)
        for line in report.summary():
            say(f"{line}\n")
        if options.check:
            say("nothing was written: leave --check out to import\n")


def _read(folder: Path, options: Options) -> Export:
    path = folder / DATA_INDEX
    try:
        if path.stat().st_size > MAX_DATA_INDEX:
            raise LaunchError(f"{path} has more than {MAX_DATA_INDEX} bytes")
        document = path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"{folder} has no {DATA_INDEX} that can be read ({error.strerror}): name the folder that devpi-export made"
        ) from error
    try:
        return read_export(document, Renames(options.renames), public=not options.private)
    except ForeignExport as error:
        raise LaunchError(str(error)) from error


async def _check(target: Target, folder: Path, export: Export, most: int) -> _Checked:
    """Compare files with their records and with what is here; returns what can come in, by index."""
    checked: dict[str, list[CheckedFile]] = {}
    _, living = await target.people.existing()
    for exported in export.indexes:
        name = exported.index.name
        if living.get(name) is False:
            why = "an index of this name was deleted here: make it again, or import it as another with --rename."
            target.report.line("index", str(name), REFUSED, why)
            continue
        here = await target.index(name)
        if here is not None and here.type != exported.index.type:
            target.report.line("index", str(name), REFUSED, f"it is a {here.type} here; take another with --rename.")
            continue
        good = checked[str(name)] = []
        for batch in batches(exported.files, BATCH):
            good += await _check_files(target, folder, name, here, batch, most)
        names = {one.file.file_name for one in good if one.file.kind == RELEASE_FILE}
        checked[str(name)] = [one for one in good if one.file.about is None or _has(target, name, one, names)]
    return checked


def _has(target: Target, index: object, one: CheckedFile, names: set[FileName]) -> bool:
    if one.file.about in names:
        return True
    target.report.line("test-result", f"{index} {one.file.file_name}", REFUSED, "the file it is about was refused.")
    return False


async def _check_files(
    target: Target,
    folder: Path,
    name: IndexName,
    here: IndexRecord | None,
    files: Sequence[ExportedFile],
    most: int,
) -> list[CheckedFile]:
    digests = await digest_all(folder, [(file.path, file.digests) for file in files], most)
    good: list[CheckedFile] = []
    for file, digest in zip(files, digests, strict=True):
        if isinstance(digest, BadFile):
            target.report.line(KINDS[file.kind], file.path, REFUSED, str(digest))
        else:
            good.append(CheckedFile(file, digest))
    releases = [one for one in good if one.file.kind == RELEASE_FILE]
    pairs = [(one.file.coordinates, one.sha256) for one in releases]
    standing = await target.imports.standing(name, here, pairs)
    refused = set()
    for one, outcome in zip(releases, standing, strict=True):
        if outcome is not None and outcome.status == REFUSED:
            target.report.line("file", one.file.path, REFUSED, outcome.why, sha256=one.sha256)
            refused.add(one.file.path)
    return [one for one in good if one.file.path not in refused]


async def _write(target: Target, folder: Path, export: Export, checked: _Checked) -> list[IndexRecord]:
    there, _ = await target.people.existing()
    for account in export.accounts:
        if account.name in there:
            why = "it keeps its password and what it says of itself here."
            target.report.line("account", account.name, THERE, why)
        else:
            await _add_account(target, account)
    coming = [exported for exported in export.indexes if str(exported.index.name) in checked]
    names = {str(exported.index.name) for exported in coming}
    for exported in coming:
        added = await target.people.add_index(exported.index)
        why = "" if added else "it is kept as it is here."
        target.report.line("index", str(exported.index.name), IMPORTED if added else THERE, why)
        for base in exported.index.bases:
            if str(base) not in names and await target.index(base) is None:
                why = f"its base {base} is neither in the export nor here: it is named, and skipped."
                target.report.line("index", str(exported.index.name), NOTE, why)
    await target.resources.directory.refresh()
    records = []
    for exported in coming:
        record = target.resources.directory.index(exported.index.name)
        if record is not None and record.type == "stage":
            await _fill(target, folder, record, exported, checked[str(exported.index.name)])
            records.append(record)
        for path in exported.left:
            target.report.line("file", path, LEFT, "a mirror's files come from its upstream again.")
    return records


async def _add_account(target: Target, new: ImportedAccount) -> None:
    """Add an account; whoever had an empty password gets none, since that lets everybody in."""
    if new.password_hash is not None and await asyncio.to_thread(password_matches, new.password_hash, ""):
        new = ImportedAccount(new.name, None, new.email, new.profile, new.created_at, new.modified_at)
        why = f"its password was empty: it comes without, see countermark-server user passwd {new.name}."
        target.report.line("account", new.name, NOTE, why)
    added = await target.people.add_account(new)
    target.report.line("account", new.name, IMPORTED if added else THERE)


async def _fill(
    target: Target, folder: Path, record: IndexRecord, exported: ExportedIndex, checked: list[CheckedFile]
) -> None:
    """Bring in what an index holds."""
    files = [one for one in checked if one.file.kind == RELEASE_FILE]
    digests = {one.file.file_name: one.sha256 for one in files}
    for part in batches(files, BATCH):
        await add_files(target, record, [_candidate(folder, one, exported) for one in part])
    # Versions that have no files: registered ones, and those that have documentation alone.
    with_files = {(one.file.coordinates.project, one.file.coordinates.version) for one in files}
    bare = [release for pair, release in exported.releases.items() if pair not in with_files]
    for batch in batches(bare, BATCH):
        outcomes = await target.imports.register(record, batch)
        for release, outcome in zip(batch, outcomes, strict=True):
            at = release.coordinates
            target.report.line(
                "release", f"{record.name} {at.project} {at.version}", outcome.status, "it has no files."
            )
    rest = [one for one in checked if one.file.kind != RELEASE_FILE]
    for part in batches(rest, BATCH):
        outcomes = await target.imports.attach(record, [_annex(folder, one, digests) for one in part])
        for one, outcome in zip(part, outcomes, strict=True):
            what = f"{record.name} {one.file.file_name}"
            target.report.line(KINDS[one.file.kind], what, outcome.status, outcome.why, sha256=one.sha256)


def _candidate(folder: Path, one: CheckedFile, exported: ExportedIndex) -> Candidate:
    file, at = one.file, one.file.coordinates
    release = exported.releases.get((at.project, at.version))
    fields = {} if release is None else release.fields
    return Candidate(
        path=folder / file.path,
        coordinates=at,
        sha256=one.sha256,
        uploader=file.uploader,
        uploaded_at=file.uploaded_at,
        fields=fields,
        requires_python=fields.get("requires_python"),
        history=file.history,
    )


def _annex(folder: Path, one: CheckedFile, digests: Mapping[FileName, Sha256]) -> Annex:
    file = one.file
    return Annex(
        kind="doc" if file.kind == DOC else "test-result",
        path=folder / file.path,
        version=(NormalizedName(file.coordinates.project), file.coordinates.version),
        about=None if file.about is None else (file.about, digests[file.about]),
        file_name=file.file_name,
        sha256=one.sha256,
        added_by=file.uploader or None,
        added_at=file.uploaded_at,
        history=file.history,
    )
