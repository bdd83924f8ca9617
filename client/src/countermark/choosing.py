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

from countermark.core.binding import check_latest
from countermark.core.digest import Sha256
from countermark.core.errors import NoSuchTarget, PointerMismatch, PointerUnreadable, UsageFault
from countermark.core.filenames import Distribution
from countermark.core.merging import Listed
from countermark.core.names import IndexName, latest_target
from countermark.core.page import PageFile, choose
from countermark.core.pointer import MAX_POINTER_BYTES, MalformedPointer, parse_latest
from countermark.trusted_view import TrustedView


@dataclass(frozen=True, slots=True)
class Interpreter:
    """The Python that a wheel is chosen for: its version (None: any), and the tags it runs, best first."""

    version: Version | None
    tags: Sequence[Tag]

    def __str__(self) -> str:
        return f"Python {self.version}" if self.version else "any Python"


NOBODY = Interpreter(Version("0"), ())
"""For files that are named: nothing is chosen for an interpreter."""


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
    """A file that is meant, and the index that owns it; `listed` is the digest that its page states, if it was read."""

    file: Distribution
    owner: IndexName
    listed: Sha256 | None = None
    yanked: bool = False


@dataclass(frozen=True, slots=True)
class Chooser:
    """Chooses files from the signed documents of an index and its bases."""

    view: TrustedView
    interpreter: Interpreter

    def choose(self, wanted: Wanted) -> list[Chosen]:
        """Return the files that are meant, at least one.

        Raises:
            UsageFault: file and release contradict each other.
            NoSuchTarget: there is no such project, release or fitting file.
            PointerMismatch: a document is about something else, or no file of the release has an allowed digest.
            ClientError: as `TrustedView.listed`.
        """
        if wanted.file is not None:
            if wanted.file.project != wanted.project or not _allows(wanted, wanted.file.version):
                raise UsageFault(f"{wanted.file.file_name} is no file of what was asked for", "Correct or drop --file.")
            return [self.find(wanted.file)]
        version = wanted.version
        if self.view.is_alone and version is None and not wanted.versions:
            latest = self._latest(wanted.project)
            if not wanted.all_files and not wanted.hashes:
                return [Chosen(latest, self.view.asked)]
            version = latest.version
        listed = tuple(self.view.listed(wanted.project))
        if version is None:
            version = self._newest(listed, wanted) if wanted.versions else _latest_of(listed)
        files = tuple(each for each in listed if each.file.distribution.version == version)
        if not files:
            raise self.view.missing(f"no {wanted.project} {version}", _newest_there(listed))
        allowed = tuple(each for each in files if not wanted.hashes or each.file.sha256 in wanted.hashes)
        if not allowed or (wanted.all_files and len(allowed) < len(files)):
            owners = " and ".join(sorted({str(each.owner) for each in files}))
            raise PointerMismatch(
                f"{owners} signed {wanted.project} {version} with other digests than the ones you allow",
                "Nothing was written. Either those digests are of other files, or the index is not the one you mean.",
            )
        return list(map(_chosen, allowed if wanted.all_files else (_fitting(allowed, self.interpreter),)))

    def find(self, file: Distribution) -> Chosen:
        """Return a file that is meant by its name. Without bases nothing is read: the pointer will say whether it is.

        Raises:
            NoSuchTarget: neither the index nor a base shows it.
            ClientError: as `TrustedView.listed`.
        """
        if self.view.is_alone:
            return Chosen(file, self.view.asked)
        for each in self.view.listed(file.project):
            if each.file.distribution.file_name == file.file_name:
                return _chosen(each)
        raise self.view.missing(f"no {file.file_name}")

    def _latest(self, project: NormalizedName) -> Distribution:
        target, name = latest_target(project), self.view.asked
        try:
            latest = parse_latest(self.view.index(name).read_target(target, MAX_POINTER_BYTES))
        except MalformedPointer as error:
            raise PointerUnreadable(f"{target}: {error}") from error
        return check_latest(latest, name, project)

    def _newest(self, listed: Sequence[Listed], wanted: Wanted) -> Version:
        """Return the newest release in the range that has a file for us; a yanked one is none."""
        usable: dict[Version, list[PageFile]] = {}
        for each in listed:
            if not each.file.yanked:
                usable.setdefault(each.file.distribution.version, []).append(each.file)
        if not wanted.all_files:
            usable = {
                version: files
                for version, files in usable.items()
                if choose(files, self.interpreter.tags, self.interpreter.version) is not None
            }
        fitting = list(wanted.versions.filter(usable))
        if not fitting:
            raise self.view.missing(
                f"no release of {wanted.project} in {wanted.versions} for {self.interpreter} on this machine",
                _newest_there(listed),
            )
        return max(fitting)


def _chosen(listed: Listed) -> Chosen:
    return Chosen(listed.file.distribution, listed.owner, listed.file.sha256, listed.file.yanked)


def _latest_of(listed: Sequence[Listed]) -> Version:
    """Return the newest release that is neither yanked nor a pre-release; else not yanked; else the newest.

    Each index signs which of its own is the latest; of several indexes together nobody does, so their signed pages say.
    Source: python-index contract section 1.9 (point 5).
    """

    def rank(each: Listed) -> tuple[bool, bool, Version]:
        version = each.file.distribution.version
        return (not each.file.yanked, not version.is_prerelease and not each.file.yanked, version)

    return max(listed, key=rank).file.distribution.version


def _allows(wanted: Wanted, version: Version) -> bool:
    if wanted.version is not None:
        return version == wanted.version
    return wanted.versions.contains(version, prereleases=True)


def _newest_there(listed: Sequence[Listed]) -> str:
    known = sorted({each.file.distribution.version for each in listed}, reverse=True)[:5]
    return "Newest there: " + (", ".join(map(str, known)) or "none") + "."


def _fitting(listed: Sequence[Listed], interpreter: Interpreter) -> Listed:
    chosen = choose([each.file for each in listed], interpreter.tags, interpreter.version)
    if chosen is None:
        release = listed[0].file.distribution
        raise NoSuchTarget(
            f"no file of {release.project} {release.version} fits {interpreter} on this machine",
            "Take one by name with --file, or all with --all: "
            + ", ".join(each.file.distribution.file_name for each in listed[:5]),
        )
    return next(each for each in listed if each.file is chosen)
