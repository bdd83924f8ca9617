"""Which files are meant: from a name, a version or a range, and allowed digests, to files of the signed documents.

Nothing here reads a listing that is not signed, and nothing resolves dependencies: what is named is what is taken.

Source: PEP 440 (version specifiers), PEP 592 (yanked files), PEP 700 (fields of a page).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from packaging.specifiers import SpecifierSet
from packaging.tags import Tag
from packaging.utils import NormalizedName
from packaging.version import Version

from countermark.core.binding import check_latest, check_page
from countermark.core.digest import Sha256
from countermark.core.errors import NoSuchTarget, PointerMismatch, PointerUnreadable, UsageFault
from countermark.core.filenames import Distribution
from countermark.core.names import IndexName, latest_target, page_target
from countermark.core.page import MAX_PAGE_BYTES, MalformedPage, Page, PageFile, choose, parse_page
from countermark.core.pointer import MAX_POINTER_BYTES, MalformedPointer, parse_latest
from countermark.updater import TrustedIndex


@dataclass(frozen=True, slots=True)
class Interpreter:
    """The Python that a wheel is chosen for: its version, and the tags it runs, best first."""

    version: Version
    tags: Sequence[Tag]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to download of a project.

    Attributes:
        project: the project.
        version: exactly this version; None: one of `versions`, or, when that is empty too, the latest.
        file: this file; None: the one that fits best.
        all_files: all files of the release instead.
        versions: the range a version is chosen from, as of PEP 440.
        hashes: the digests that are allowed; none: each that the index signed.
    """

    project: NormalizedName
    version: Version | None = None
    file: Distribution | None = None
    all_files: bool = False
    versions: SpecifierSet = field(default_factory=SpecifierSet)
    hashes: frozenset[Sha256] = frozenset()

    def __str__(self) -> str:
        return f"{self.project}=={self.version}" if self.version else f"{self.project}{self.versions}"


@dataclass(frozen=True, slots=True)
class Chosen:
    """A file that is meant; `listed` is the digest that the page states, when a page was read."""

    file: Distribution
    listed: Sha256 | None = None
    yanked: bool = False


@dataclass(frozen=True, slots=True)
class Chooser:
    """Chooses files from the signed documents of one index."""

    index: TrustedIndex
    name: IndexName
    interpreter: Interpreter

    def choose(self, wanted: Wanted) -> list[Chosen]:
        """Return the files that are meant, at least one.

        Raises:
            UsageFault: file and release contradict each other.
            NoSuchTarget: there is no such project, release or fitting file.
            PointerMismatch: a document is about something else, or no file of the release has an allowed digest.
            ClientError: as `TrustedIndex.read_target`.
        """
        if wanted.file is not None:
            if wanted.file.project != wanted.project or not _allows(wanted, wanted.file.version):
                raise UsageFault(f"{wanted.file.file_name} is no file of what was asked for", "Correct or drop --file.")
            return [Chosen(wanted.file)]
        version = wanted.version
        if version is None and not wanted.versions:
            latest = self._latest(wanted.project)
            if not wanted.all_files and not wanted.hashes:
                return [Chosen(latest)]
            version = latest.version
        page = read_page(self.index, self.name, wanted.project)
        if version is None:
            version = self._newest(page, wanted)
        files = page.of_version(version)
        if not files:
            raise NoSuchTarget(f"{page.index} has no {wanted.project} {version}", _newest_there(page))
        allowed = tuple(file for file in files if not wanted.hashes or file.sha256 in wanted.hashes)
        if not allowed or (wanted.all_files and len(allowed) < len(files)):
            raise PointerMismatch(
                f"{page.index} signed {wanted.project} {version} with other digests than the ones you allow",
                "Nothing was written. Either those digests are of other files, or the index is not the one you mean.",
            )
        taken = allowed if wanted.all_files else (_fitting(allowed, self.interpreter),)
        return [Chosen(file.distribution, file.sha256, file.yanked) for file in taken]

    def _latest(self, project: NormalizedName) -> Distribution:
        target = latest_target(project)
        try:
            latest = parse_latest(self.index.read_target(target, MAX_POINTER_BYTES))
        except MalformedPointer as error:
            raise PointerUnreadable(f"{target}: {error}") from error
        return check_latest(latest, self.name, project)

    def _newest(self, page: Page, wanted: Wanted) -> Version:
        """Return the newest release in the range that has a file for us; a yanked one is none."""
        usable: dict[Version, list[PageFile]] = {}
        for file in page.files:
            if not file.yanked:
                usable.setdefault(file.distribution.version, []).append(file)
        if not wanted.all_files:
            usable = {
                version: files
                for version, files in usable.items()
                if choose(files, self.interpreter.tags, self.interpreter.version) is not None
            }
        fitting = list(wanted.versions.filter(usable))
        if not fitting:
            raise NoSuchTarget(
                f"{page.index} has no release of {wanted.project} in {wanted.versions} for Python "
                f"{self.interpreter.version} on this machine",
                _newest_there(page),
            )
        return max(fitting)


def read_page(index: TrustedIndex, name: IndexName, project: NormalizedName) -> Page:
    """Return the signed page of a project.

    Raises:
        PointerUnreadable: it is malformed.
        PointerMismatch: it is of another index or project.
        ClientError: as `TrustedIndex.read_target`.
    """
    target = page_target(project)
    try:
        page = parse_page(index.read_target(target, MAX_PAGE_BYTES))
    except MalformedPage as error:
        raise PointerUnreadable(f"{target}: {error}") from error
    check_page(page, name, project)
    return page


def _allows(wanted: Wanted, version: Version) -> bool:
    if wanted.version is not None:
        return version == wanted.version
    return wanted.versions.contains(version, prereleases=True)


def _newest_there(page: Page) -> str:
    known = sorted({file.distribution.version for file in page.files}, reverse=True)[:5]
    return "Newest there: " + (", ".join(map(str, known)) or "none") + "."


def _fitting(files: Sequence[PageFile], interpreter: Interpreter) -> PageFile:
    chosen = choose(files, interpreter.tags, interpreter.version)
    if chosen is None:
        release = files[0].distribution
        raise NoSuchTarget(
            f"no file of {release.project} {release.version} fits Python {interpreter.version} on this machine",
            "Take one by name with --file, or all with --all: "
            + ", ".join(file.distribution.file_name for file in files[:5]),
        )
    return chosen
