"""Options that several commands share, and what they open: a repository to prove files from, or its API."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from packaging.tags import sys_tags
from packaging.version import Version

from countermark.batch import MAX_WORKERS, Sources
from countermark.bundles import Bundles, Fetched, Local, summary_in
from countermark.cache import Cache
from countermark.choosing import Interpreter
from countermark.cli.screen import Screen
from countermark.core.errors import UsageFault
from countermark.core.names import IndexName, InvalidName, parse_index_name
from countermark.core.resolution import MOST_MEMBERS
from countermark.credentials import Credentials, Secrets, find_credentials
from countermark.evidence import Evidence, EvidenceWriter
from countermark.kept import Refusing
from countermark.location import Location, parse_location
from countermark.mirrors import Address, MirroredSource, read_mirrors
from countermark.progress import Meter, Silent
from countermark.reading import Reading
from countermark.registry import Registry, registry_base
from countermark.roots import PinStore, RootChoice
from countermark.settings import Settings, read_settings
from countermark.transport import ByteSource, Limits, Transport
from countermark.trusted_view import Folders
from countermark.verification import Keeping, PolicyMode, Repository, Verifier
from countermark.views import ViewChoice, ViewStore

RepositoryOption = Annotated[
    str | None,
    typer.Option(
        "--repository",
        metavar="URL",
        help="Index URL (https://host/owner/index) or static tree (.../indexes/owner/index; a folder too). "
        "Default: COUNTERMARK_REPOSITORY.",
    ),
]
IndexOption = Annotated[
    str | None,
    typer.Option(
        "--repository", metavar="URL", help="Index URL: https://host/owner/index. Default: COUNTERMARK_REPOSITORY."
    ),
]
RootOption = Annotated[Path | None, typer.Option("--root", help="Start from this root file instead of the pinned one.")]
FirstUseOption = Annotated[
    bool, typer.Option("--trust-on-first-use", help="Trust the root served now, when none is pinned yet.")
]
BaseOption = Annotated[
    list[str] | None,
    typer.Option(
        "--base",
        metavar="OWNER/INDEX",
        help="An index to ask after this one, in the order given, instead of the recorded bases; 'none' for none.",
    ),
]
MirrorOption = Annotated[
    list[str] | None,
    typer.Option(
        "--mirror",
        metavar="URL",
        help="Another address of the same index, asked when the one before it fails; repeatable. "
        "Default: COUNTERMARK_MIRRORS.",
    ),
]
PolicyOption = Annotated[
    PolicyMode, typer.Option("--policy", help="'none' stops after the digest and exits with 3 (integrity only).")
]
TokenOption = Annotated[str | None, typer.Option("--token", help="Better kept in COUNTERMARK_TOKEN: others see flags.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON objects, one a line.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no chain, no closing words.")]
OfflineOption = Annotated[
    bool, typer.Option("--offline", help="Read nothing from the network: the cache, or --evidence, has to suffice.")
]
WorkersOption = Annotated[int, typer.Option("--workers", min=1, max=MAX_WORKERS, help="Files moved at once.")]
WaitOption = Annotated[
    int, typer.Option("--wait", min=0, max=3600, metavar="SECONDS", help="How long to wait for publication.")
]


@dataclass(frozen=True, slots=True)
class Keep:
    """What options said about what is kept for later: attestations beside the files, and a folder of evidence."""

    beside: bool = False
    evidence: Path | None = None


@dataclass(frozen=True, slots=True)
class Given:
    """What options said is on this machine already: the file's attestation, evidence, and whether that is all."""

    offline: bool = False
    evidence: Path | None = None
    attestation: Path | None = None

    def bundles(self) -> Bundles:
        """Return where attestations come from.

        Raises:
            UsageFault: evidence is named for a run over the network.
        """
        if self.evidence is not None and not self.offline:
            raise UsageFault("--evidence goes with --offline", "Add --offline, or leave --evidence away.")
        summary = None if self.attestation is None else summary_in(self.attestation)
        named = self.attestation if summary is None else None
        if not self.offline and named is None:
            return Fetched(summary)
        if self.evidence is None:
            return Local(named, summary=summary)
        evidence = Evidence(self.evidence)
        return Local(named, evidence.attestation, evidence.further, summary)


@dataclass(frozen=True, slots=True)
class Asked:
    """What options said about where to read from, and where trust starts."""

    repository: str | None
    root: Path | None = None
    first_use: bool = False
    policy: PolicyMode = PolicyMode.SIGNED
    token: str | None = None
    bases: Sequence[str] | None = None
    keeping: Keep = field(default_factory=Keep)
    given: Given = field(default_factory=Given)
    mirrors: Sequence[str] | None = None

    def view(self) -> ViewChoice:
        """Return which bases are named.

        Raises:
            UsageFault: a name is none, or there are too many.
        """
        return ViewChoice(None if not self.bases else parse_bases(self.bases))


@dataclass(frozen=True, slots=True)
class Connection:
    """A repository and what is known about it on this machine."""

    settings: Settings
    location: Location
    credentials: Credentials | None

    def mirrors(self, named: Sequence[str] | None, screen: Screen) -> tuple[Address, ...]:
        """Return the mirrors that options or the environment name.

        Raises:
            UsageFault: as `read_mirrors`.
        """
        settings = self.settings

        def credentials_of(url: str) -> Credentials | None:
            # What was given for the repository stays with its origin; URL and netrc file say whom they are for.
            found = find_credentials(url, Secrets(netrc=settings.secrets.netrc), screen.notify)
            given = self.credentials
            return found or (given if given is not None and given.header_for(url) else None)

        return read_mirrors(settings.mirrors_of(self.location, named or ()), self.location, credentials_of)

    def registry(self) -> Registry:
        """Return the API of the repository.

        Raises:
            UsageFault: it is a static tree.
        """
        return Registry(registry_base(self.location), self.credentials)


@dataclass(frozen=True, slots=True)
class Opened:
    """A verifier, and the transports that files are read through side by side."""

    verifier: Verifier
    sources: Sources


def connect(repository: str | None, screen: Screen, token: str | None = None) -> Connection:
    """Return the repository that an option or the environment names, with credentials for it.

    Raises:
        UsageFault: none is named, or it is no address of an index.
    """
    settings = read_settings(os.environ)
    url = settings.repository_or(repository, "--repository")
    location = parse_location(url)
    return Connection(settings, location, find_credentials(url, settings.secrets_for(url, token), screen.notify))


@contextlib.contextmanager
def opened(asked: Asked, screen: Screen, meter: Meter | None = None, *, names: int = 1) -> Iterator[Opened]:
    """Open a repository for reading.

    Args:
        asked: which.
        screen: is told of steps.
        meter: follows files.
        names: how many things will be asked for; more of them get more time for their metadata.
    """
    bases, bundles = asked.view(), asked.given.bundles()
    mirrors: tuple[Address, ...] = ()
    with contextlib.ExitStack() as stack:
        if asked.given.offline:
            settings, location, folders = _without_network(asked, screen)
            first: ByteSource = Refusing()
            sources = stack.enter_context(Sources(lambda: contextlib.nullcontext(Refusing()), first))
        else:
            connection = connect(asked.repository, screen, asked.token)
            settings, location, folders = connection.settings, connection.location, _cache(connection.settings)
            mirrors = connection.mirrors(asked.mirrors, screen)
            make = _reading(connection, mirrors, _limits(settings.deadline, names))
            first = stack.enter_context(make())
            sources = stack.enter_context(Sources(make, first))
        repository = Repository(
            location=location,
            source=first,
            cache=folders,
            pins=PinStore(settings.pins_folder),
            choice=RootChoice(asked.root or settings.root, asked.first_use),
            notify=screen.notify,
            views=ViewStore(settings.views_folder),
            bases=bases,
            mirrors=tuple(mirror.location for mirror in mirrors),
        )
        evidence = None if asked.keeping.evidence is None else EvidenceWriter(asked.keeping.evidence, location)
        if evidence is not None:
            evidence.begin()
        keeping = Keeping(asked.keeping.beside, evidence)
        yield Opened(Verifier(repository, asked.policy, screen.step, meter or Silent(), bundles, keeping), sources)


def _reading(
    connection: Connection, mirrors: Sequence[Address], limits: Limits
) -> Callable[[], contextlib.AbstractContextManager[ByteSource]]:
    """Return what opens a source that reads the repository and its mirrors."""
    if not mirrors:
        return lambda: Transport(limits, connection.credentials)
    addresses = (Address(connection.location, connection.credentials), *mirrors)
    return lambda: MirroredSource(addresses, limits)


def _without_network(asked: Asked, screen: Screen) -> tuple[Settings, Location, Folders]:
    """Return what a run reads that opens no connection.

    Raises:
        UsageFault: trust is to start from what is served, or no repository is named, not even by the evidence.
    """
    if asked.mirrors:
        raise UsageFault("--offline and --mirror exclude each other", "Leave one of them away.")
    if asked.first_use:
        raise UsageFault(
            "--offline and --trust-on-first-use exclude each other", "Pin a root, or name one with --root."
        )
    settings = read_settings(os.environ)
    if asked.given.evidence is None:
        location = parse_location(settings.repository_or(asked.repository, "--repository"))
        return settings, location, _cache(settings, Reading.CACHE)
    evidence = Evidence(asked.given.evidence)
    said = evidence.repository()
    url = asked.repository or settings.repository
    if url is None:
        screen.notify(f"the evidence says it is of {said}: proven is what the root pinned for that says")
    return settings, parse_location(url or said), evidence


def _cache(settings: Settings, reading: Reading = Reading.ONLINE) -> Cache:
    return Cache(settings.cache_folder, reading=reading)


def _limits(deadline: timedelta | None, names: int) -> Limits:
    standard = Limits()
    if deadline is None:
        return Limits(metadata_total=standard.metadata_total + timedelta(seconds=2 * names))
    return Limits(metadata_total=deadline, grace=min(standard.grace, deadline))


def parse_bases(names: Sequence[str]) -> tuple[IndexName, ...]:
    """Return the bases that a person names; the word `none` alone names none.

    Raises:
        UsageFault: a name is none, or there are too many.
    """
    if list(names) == ["none"]:
        return ()
    if len(names) >= MOST_MEMBERS:
        raise UsageFault(f"{len(names)} bases are named", f"Name at most {MOST_MEMBERS - 1}.")
    try:
        return tuple(map(parse_index_name, names))
    except InvalidName as error:
        raise UsageFault(str(error), "Name each base as OWNER/INDEX, or 'none' alone.") from error


def this_interpreter(*, any_version: bool = False) -> Interpreter:
    """Return the Python that runs us; with `any_version`, this machine with whatever Python."""
    version = None if any_version else Version(".".join(map(str, sys.version_info[:3])))
    return Interpreter(version, tuple(sys_tags()))
