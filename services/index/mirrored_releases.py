"""What mirrors add to documents of the JSON API: their files on a page, and what their upstreams say of them. Pure.

The page that is served comes first: no file, release or digest stands in a document that does not stand there.
Source: contract python-index sections 1.9 and 5.1 item 9.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from countermark.core.names import IndexName, NormalizedName
from services.index.json_api import Described, FileKey, SignedPage
from shared.catalogue.reading import FileDetails
from shared.formats.python.foreign import kind_of, version_named
from shared.formats.python.json_facts import JsonFacts
from shared.formats.python.merged import origin_of
from shared.formats.python.names import SDIST, WHEEL, release_key
from shared.formats.python.versions import version_order

MirroredFiles = Mapping[IndexName, Mapping[FileKey, FileDetails]]
"""By mirror, of those that have files on a page."""

_NOBODY: Mapping[str, Any] = {"roles": [], "organization": None}


def mirrored_files(
    page: SignedPage, index: IndexName, mirrors: Collection[IndexName], project: NormalizedName
) -> MirroredFiles:
    """Return the files of a page that come from mirrors, with what their names say of them. Blocking.

    Args:
        index: whose page it is.
    """
    found: dict[IndexName, dict[FileKey, FileDetails]] = {}
    versions, listed = set(page.versions), {release_key(version): version for version in reversed(page.versions)}
    for file in page.files if mirrors else ():
        origin, name = origin_of(file, index), file["filename"]
        if origin not in mirrors or (written := version_named(name, project)) is None:
            continue
        # A page may list 1.0 and 1.0.0, which are one release to installers and two to it.
        version = written if written in versions else listed.setdefault(release_key(written), written)
        details = FileDetails(version, kind_of(name) or SDIST, "", "")
        found.setdefault(origin, {})[file["hashes"]["sha256"], name] = details
    return found


def with_releases(page: SignedPage, mirrored: MirroredFiles) -> SignedPage:
    """Return a page that names the versions of all its files, newest first: upstreams need do neither."""
    if not mirrored:
        return page
    named = {details.version for files in mirrored.values() for details in files.values()}
    return replace(page, versions=sorted({*page.versions, *named}, key=version_order, reverse=True))


def detailed(files: Mapping[FileKey, FileDetails], facts: JsonFacts | None) -> dict[FileKey, FileDetails]:
    """Return files of a mirror with what its upstream says of them; where it says it of other bytes, nothing. Blocking.

    What a wheel is its name says, which installers go by.
    """
    said = {} if facts is None else facts.files
    found = {}
    for (sha256, name), details in files.items():
        file = said.get(name)
        if file is not None and file.sha256 == sha256:
            is_wheel = details.package_type == WHEEL
            kind = file.package_type if file.package_type not in ("", WHEEL) and not is_wheel else details.package_type
            details = replace(
                details,
                package_type=kind,
                md5=file.md5,
                blake2b_256=file.blake2b_256,
                python_version=file.python_version,
                comment=file.comment,
            )
        found[sha256, name] = details
    return found


def described_upstream(facts: JsonFacts | None, project: NormalizedName) -> Described:
    """Return what a mirrored release says of itself: nothing while its upstream has not said it."""
    if facts is None:
        return Described(project, {}, (), _NOBODY)
    return Described(facts.display_name, facts.info, facts.vulnerabilities, facts.ownership or _NOBODY)
