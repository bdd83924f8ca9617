"""Composes the documents of the JSON API from a page and what is known of its releases and files beside it. Pure.

The page decides what is shown: which files, their marks and digests. So this API never says more, or earlier, than the
simple pages do. What is known beside it comes from the catalogue, or for mirrored files from their upstream
(`services.index.mirrored_releases`).
Source: contract python-index section 1.9, items 1 to 5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import quote

import orjson

from countermark.core.digest import Sha256
from countermark.core.names import FileName, IndexName, NormalizedName
from shared.catalogue.reading import FileDetails, ReleaseDetails
from shared.exact import exact
from shared.formats.python.merged import origin_of
from shared.formats.python.pages import QUARANTINED
from shared.formats.python.versions import is_stable, parsed, version_order

_TEXTS = (
    "author", "author_email", "description_content_type", "download_url", "home_page", "license", "license_expression",
    "maintainer", "maintainer_email", "requires_python", "summary",
)  # fmt: skip
_LISTS = ("dynamic", "license_files", "provides_extra", "requires_dist")
"""Keys of `info` that are null when a release does not say them, as the public index has it."""

_MORE = ("bugtrack_url", "docs_url", "keywords", "platform", "project_urls")
"""Further ones that are null then."""

FileKey = tuple[Sha256, FileName]

_NOT_COUNTED = {"last_day": -1, "last_month": -1, "last_week": -1}


@dataclass(frozen=True, slots=True)
class Addresses:
    """URLs that a document prints: `root` is the index's, as clients see it, with a trailing slash."""

    root: str
    project: NormalizedName

    @property
    def page(self) -> str:
        """The project's simple page."""
        return f"{self.root}+simple/{self.project}/"

    def release(self, version: str) -> str:
        """The JSON document of a release."""
        return f"{self.root}pypi/{self.project}/{quote(version)}/json"

    def file(self, link: str) -> str:
        """A file, from the link that signed pages print."""
        return self.root + link.removeprefix("../../")


@dataclass(frozen=True, slots=True)
class SignedPage:
    """What of a page document is shown here; no versions when the project lists nothing."""

    serial: int
    versions: Sequence[str]
    files: Sequence[Mapping[str, Any]]


def read_page(document: bytes) -> SignedPage:
    """Read a page document, signed or made here."""
    page = orjson.loads(document)
    hidden = page.get("project-status", {}).get("status") == QUARANTINED
    return SignedPage(page["meta"]["_last-serial"], [] if hidden else page["versions"], page["files"])


def latest_version(page: SignedPage, details: Mapping[FileKey, FileDetails]) -> str:
    """Return the version that stands for a project: the newest that is neither yanked nor a pre-release, else the
    newest that is not yanked, else the newest. A release is yanked when all its files are.

    Source: contract python-index section 1.9.5.
    """
    offered = {_details(file, details).version for file in page.files if file["yanked"] is False}
    newest_first = sorted(page.versions, key=version_order, reverse=True)
    unyanked = [version for version in newest_first if version in offered]
    final = [version for version in unyanked if is_stable(version)]
    return (final or unyanked or newest_first)[0]


def shown_version(page: SignedPage, wanted: str) -> str | None:
    """Return the listed version that one asked for means: itself, or one that equals it (1.0 and 1.0.0); else None."""
    if wanted in page.versions:
        return wanted
    version = parsed(wanted)
    if version is None:
        return None
    return next((listed for listed in page.versions if parsed(listed) == version), None)


def release_origin(
    page: SignedPage, version: str, details: Mapping[FileKey, FileDetails], index: IndexName
) -> IndexName:
    """Return the index that a listed release belongs to: of several that have it the nearest.

    Args:
        index: the one whose page it is; a release without a listed file is its own.
    """
    for file in page.files:
        if _details(file, details).version == version:
            return origin_of(file, index)
    return index


@dataclass(frozen=True, slots=True)
class Described:
    """What a release says of itself, and what others say of it.

    Attributes:
        display_name: the project's, as it writes itself.
        info: keys of the document's `info`; those that are missing are null or empty there.
        vulnerabilities: objects as the API has them.
        ownership: as the API has it.
    """

    display_name: str
    info: Mapping[str, Any]
    vulnerabilities: Sequence[Mapping[str, Any]]
    ownership: Mapping[str, Any]


def described_hosted(release: ReleaseDetails, index: IndexName) -> Described:
    """Return what a release says of itself that is hosted here, in an index."""
    fields = release.fields
    info = {
        **{key: fields.get(key) for key in (*_TEXTS, *_LISTS, "project_urls")},
        "description": fields.get("description"),
        "keywords": ",".join(fields.get("keywords", ())),
        "classifiers": fields.get("classifiers"),
        "platform": ",".join(fields.get("platforms", ())),
    }
    ownership = {"roles": [{"role": "Owner", "user": index.owner}], "organization": None}
    return Described(release.display_name, info, (), ownership)


def with_known(release: Described, known: Sequence[Mapping[str, Any]]) -> Described:
    """Return what is said of a release with the vulnerabilities that were imported here: of one that others tell of as
    well, under its name or another one, what was imported counts."""
    names = {name for one in known for name in (one["id"], *one["aliases"])}
    others = [one for one in release.vulnerabilities if names.isdisjoint([one.get("id"), *(one.get("aliases") or ())])]
    return replace(release, vulnerabilities=[*known, *others])


@dataclass(frozen=True, slots=True)
class Composer:
    """Everything a document is made of."""

    addresses: Addresses
    page: SignedPage
    details: Mapping[FileKey, FileDetails]

    def compose(self, version: str, release: Described, *, all_releases: bool) -> bytes:
        """Return a document about a version.

        Args:
            version: one that the page lists.
            release: what that version says of itself.
            all_releases: whether the files of every release are listed too, as the project's document has them.
        """
        releases: dict[str, list[dict[str, Any]]] = {listed: [] for listed in reversed(self.page.versions)}
        for file in self.page.files:
            details = _details(file, self.details)
            # Without `all_releases`, details of the one version alone were looked up.
            if details.version in releases and (all_releases or details.version == version):
                releases[details.version].append(self._file(file, details))
        files = releases[version]
        document = {
            "info": self._info(version, release, files),
            "last_serial": self.page.serial,
            **({"releases": releases} if all_releases else {}),
            "urls": files,
            "vulnerabilities": release.vulnerabilities,
            "ownership": release.ownership,
        }
        return exact(orjson.dumps(document))

    def _info(self, version: str, release: Described, files: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        said = release.info
        yanked = bool(files) and all(file["yanked"] for file in files)
        reasons = [file["yanked_reason"] for file in files if file["yanked_reason"]]
        info: dict[str, Any] = {key: said.get(key) or None for key in (*_TEXTS, *_LISTS, *_MORE)}
        required = [file["requires_python"] for file in files if file["requires_python"]]
        return {
            **said,
            **info,
            "name": release.display_name,
            "version": version,
            "description": said.get("description") or "",
            "classifiers": said.get("classifiers") or [],
            "requires_python": info["requires_python"] or (required[0] if required else None),
            "project_url": self.addresses.page,
            "package_url": self.addresses.page,
            "release_url": self.addresses.release(version),
            "yanked": yanked,
            "yanked_reason": reasons[0] if yanked and reasons else None,
            "downloads": _NOT_COUNTED,
        }

    def _file(self, file: Mapping[str, Any], details: FileDetails) -> dict[str, Any]:
        yanked, said = file["yanked"], file.get("upload-time")
        uploaded = None if said is None else datetime.fromisoformat(said)
        return {
            "filename": file["filename"],
            "url": self.addresses.file(file["url"]),
            "packagetype": details.package_type,
            "python_version": _python_version(file["filename"], details),
            "size": file.get("size"),
            "digests": {
                "md5": details.md5 or None,
                "sha256": file["hashes"]["sha256"],
                "blake2b_256": details.blake2b_256 or None,
            },
            "md5_digest": details.md5 or None,
            "has_sig": False,
            "comment_text": details.comment,
            "requires_python": file.get("requires-python"),
            "upload_time": None if uploaded is None else f"{uploaded:%Y-%m-%dT%H:%M:%S}",
            "upload_time_iso_8601": None if uploaded is None else f"{uploaded:%Y-%m-%dT%H:%M:%S.%f}Z",
            "yanked": yanked is not False,
            "yanked_reason": yanked if isinstance(yanked, str) else None,
            "downloads": -1,
            "core-metadata": file.get("core-metadata", False),
        }


_UNKNOWN = FileDetails("", "", "", "")


def _details(file: Mapping[str, Any], details: Mapping[FileKey, FileDetails]) -> FileDetails:
    """Return the details of a listed file; of no version when they were not looked up."""
    return details.get((file["hashes"]["sha256"], file["filename"]), _UNKNOWN)


def _python_version(file_name: str, details: FileDetails) -> str:
    """Return the Python tag of a wheel's name, `source` for what is no wheel, unless something else is known."""
    if details.package_type == "bdist_wheel":
        return file_name.removesuffix(".whl").split("-")[-3]
    return details.python_version or "source"
