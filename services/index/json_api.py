"""Composes the documents of the JSON API from a signed page and what the catalogue says of its files. Pure.

The page decides what is shown: which files, their marks and digests. So this API never says more, or earlier, than the
simple pages do.
Source: contract python-index section 1.9, items 1 to 5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

import orjson
from packaging.version import Version

from countermark.core.digest import Sha256
from countermark.core.names import FileName, IndexName, NormalizedName
from shared.catalogue.reading import FileDetails, ReleaseDetails
from shared.formats.python.merged import origin_of
from shared.formats.python.pages import QUARANTINED

_TEXTS = (
    "author", "author_email", "description_content_type", "download_url", "home_page", "license", "license_expression",
    "maintainer", "maintainer_email", "requires_python", "summary",
)  # fmt: skip
_LISTS = ("dynamic", "license_files", "provides_extra", "requires_dist")
"""Keys of `info` that are null when a release does not say them, as the public index has it."""

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
    """What of a signed page document is shown here; no versions when the project lists nothing."""

    serial: int
    versions: Sequence[str]
    files: Sequence[Mapping[str, Any]]


def read_page(document: bytes) -> SignedPage:
    """Read a signed page document, of which the bytes were checked."""
    page = orjson.loads(document)
    hidden = page.get("project-status", {}).get("status") == QUARANTINED
    return SignedPage(page["meta"]["_last-serial"], [] if hidden else page["versions"], page["files"])


def latest_version(page: SignedPage, details: Mapping[tuple[Sha256, FileName], FileDetails]) -> str:
    """Return the version that stands for a project: the newest that is neither yanked nor a pre-release, else the
    newest that is not yanked, else the newest. A release is yanked when all its files are.

    Source: contract python-index section 1.9.5.
    """
    offered = {_details(file, details).version for file in page.files if file["yanked"] is False}
    newest_first = sorted(page.versions, key=lambda version: (Version(version), version), reverse=True)
    unyanked = [version for version in newest_first if version in offered]
    final = [version for version in unyanked if not Version(version).is_prerelease]
    return (final or unyanked or newest_first)[0]


def shown_version(page: SignedPage, wanted: str) -> str | None:
    """Return the listed version that one asked for means: itself, or one that equals it (1.0 and 1.0.0); else None."""
    if wanted in page.versions:
        return wanted
    version = Version(wanted)
    return next((listed for listed in page.versions if Version(listed) == version), None)


def release_origin(
    page: SignedPage, version: str, details: Mapping[tuple[Sha256, FileName], FileDetails], index: IndexName
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
class Composer:
    """Everything a document is made of; `index` is the one that the release belongs to."""

    index: IndexName
    addresses: Addresses
    page: SignedPage
    details: Mapping[tuple[Sha256, FileName], FileDetails]

    def compose(
        self,
        version: str,
        release: ReleaseDetails,
        vulnerabilities: Sequence[Mapping[str, Any]] = (),
        *,
        all_releases: bool,
    ) -> bytes:
        """Return a document about a version.

        Args:
            version: one that the page lists.
            release: what that version says of itself.
            vulnerabilities: known ones of that version, as `shared.reading.advisories` has them.
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
            "vulnerabilities": vulnerabilities,
            "ownership": {"roles": [{"role": "Owner", "user": self.index.owner}], "organization": None},
        }
        return orjson.dumps(document)

    def _info(self, version: str, release: ReleaseDetails, files: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        fields = release.fields
        yanked = all(file["yanked"] for file in files)
        reasons = [file["yanked_reason"] for file in files if file["yanked_reason"]]
        info: dict[str, Any] = {key: fields.get(key) or None for key in (*_TEXTS, *_LISTS)}
        return {
            **info,
            "name": release.display_name,
            "version": version,
            "description": fields.get("description", ""),
            "keywords": ",".join(fields.get("keywords", ())) or None,
            "classifiers": fields.get("classifiers", []),
            "platform": ",".join(fields.get("platforms", ())) or None,
            "docs_url": None,
            "bugtrack_url": None,
            "project_url": self.addresses.page,
            "package_url": self.addresses.page,
            "release_url": self.addresses.release(version),
            "project_urls": fields.get("project_urls") or None,
            "yanked": yanked,
            "yanked_reason": reasons[0] if yanked and reasons else None,
            "downloads": _NOT_COUNTED,
        }

    def _file(self, file: Mapping[str, Any], details: FileDetails) -> dict[str, Any]:
        yanked, uploaded = file["yanked"], datetime.fromisoformat(file["upload-time"])
        return {
            "filename": file["filename"],
            "url": self.addresses.file(file["url"]),
            "packagetype": details.package_type,
            "python_version": _python_version(file["filename"], details.package_type),
            "size": file["size"],
            "digests": {
                "md5": details.md5,
                "sha256": file["hashes"]["sha256"],
                "blake2b_256": details.blake2b_256,
            },
            "md5_digest": details.md5,
            "has_sig": False,
            "comment_text": "",
            "requires_python": file.get("requires-python"),
            "upload_time": f"{uploaded:%Y-%m-%dT%H:%M:%S}",
            "upload_time_iso_8601": f"{uploaded:%Y-%m-%dT%H:%M:%S.%f}Z",
            "yanked": yanked is not False,
            "yanked_reason": yanked if isinstance(yanked, str) else None,
            "downloads": -1,
            "core-metadata": file.get("core-metadata", False),
        }


_UNKNOWN = FileDetails("", "", "", "")


def _details(file: Mapping[str, Any], details: Mapping[tuple[Sha256, FileName], FileDetails]) -> FileDetails:
    """Return the details of a listed file; of no version when they were not looked up."""
    return details.get((file["hashes"]["sha256"], file["filename"]), _UNKNOWN)


def _python_version(file_name: str, package_type: str) -> str:
    """Return the Python tag of a wheel's name, `source` for what is no wheel."""
    return file_name.removesuffix(".whl").split("-")[-3] if package_type == "bdist_wheel" else "source"
