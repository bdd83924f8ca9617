"""What the commands of a ceremony share: where an event and a trusted root come from, and what is asked of a person."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import typer
from tuf.api.exceptions import DownloadError, DownloadHTTPError
from tuf.ngclient import FetcherInterface

from countermark.cache import Cache
from countermark.ceremony.asking import Ceremonies
from countermark.ceremony.files import read_document, read_file
from countermark.ceremony.proposing import parse_pairs
from countermark.ceremony.reviewing import Review, RootSource, delegators, review
from countermark.ceremony.words import missing_words
from countermark.cli.connecting import connect
from countermark.cli.screen import Screen
from countermark.core.ceremony.changes import MAX_TARGET_BYTES
from countermark.core.ceremony.documents import SignatureFile, SigningEvent, parse_event
from countermark.core.ceremony.faults import CeremonyFault
from countermark.core.ceremony.payload import metadata_bytes, parse_payload
from countermark.core.ceremony.standing import Standing, standing
from countermark.core.ceremony.tree import SHARED_ROLES
from countermark.core.digest import InvalidDigest, Sha256, parse_sha256, sha256_of
from countermark.core.errors import CeremonyRefused, NetworkFailure, UsageFault
from countermark.location import Location, parse_location
from countermark.metadata_folder import kept_root, kept_versions
from countermark.newest_root import NewestRoot
from countermark.roots import MAX_ROOT_BYTES, PinStore, TrustedRoot, read_root_file, root_url
from countermark.settings import Settings, read_settings
from countermark.transport import Transport


@dataclass(frozen=True, slots=True)
class Source:
    """What options say of where an event, and trust, come from."""

    repository: str | None
    token: str | None
    root: Path | None


def reviewed(named: str, source: Source, screen: Screen) -> Review:
    """Return an event of a file or of the server, checked against the root that this machine trusts.

    With a file, the network is not used at all.

    Raises:
        ClientError: as `review`; the event or the root cannot be read.
    """
    settings, now = read_settings(os.environ), datetime.now(UTC)
    if Path(named).is_file():
        event = read_document(Path(named), parse_event)
        url = source.repository or settings.repository
        location = None if url is None else parse_location(url)
        trusted = _trusted(source, settings, location)
        kept = _kept(settings, location, trusted)
        return review(event, trusted, now, None if kept is None else partial(kept_root, kept), _seen(kept))
    connection = connect(source.repository, screen, source.token)
    event = Ceremonies(connection.registry()).event(named)
    with Transport(credentials=connection.credentials) as transport:
        trusted = _trusted(source, settings, connection.location)
        kept = _kept(settings, connection.location, trusted)
        roots = _served(NewestRoot(transport), connection.location, kept)
        return review(event, trusted, now, roots, _seen(kept))


def counted(event: SigningEvent) -> Standing:
    """Count the signatures of an event by the key lists that it brings.

    Raises:
        CeremonyRefused: it brings none that can be read.
    """
    try:
        signatures = [each.signature for each in event.signatures]
        return standing(event.role, event.payload, signatures, delegators(event))
    except CeremonyFault as error:
        raise CeremonyRefused(f"the signatures of event {event.id} cannot be counted: {error}") from error


def published(event: SigningEvent, standing: Standing) -> bytes:
    """Return the file of an event as it is published: its payload with the signatures that count.

    Raises:
        CeremonyRefused: signatures are missing.
    """
    if not standing.is_ready:
        raise CeremonyRefused(f"event {event.id} lacks signatures: {missing_words(standing.missing)}")
    counting = {}
    for each in event.signatures:
        # A key may be there twice, once with a signature that does not verify.
        if counted(replace(event, signatures=(each,))).valid:
            counting[each.signature.keyid] = each.signature
    return metadata_bytes(event.payload, list(counting.values()))


def expected_digest(yes: bool, sha256: str | None) -> Sha256 | None:
    """Return the digest that the payload must have, None when only a person says so.

    Raises:
        UsageFault: nobody is asked, and no digest is given; or it is none.
    """
    if yes and sha256 is None:
        raise UsageFault("--yes without --sha256 would sign whatever the server says", "Give the payload's --sha256.")
    try:
        return None if sha256 is None else parse_sha256(sha256)
    except InvalidDigest as error:
        raise UsageFault(str(error), "It is what `countermark ceremony show` says.") from error


def ask(event: SigningEvent) -> None:
    """Ask the person whether to sign.

    Raises:
        CeremonyRefused: the answer is no.
    """
    question = f"Sign {event.role} version {event.version}, sha256 {event.payload_sha256}?"
    try:
        agreed = typer.confirm(question, err=True)
    except typer.Abort as error:
        raise CeremonyRefused("nothing was signed: nobody answered", "A script gives --yes and --sha256.") from error
    if not agreed:
        raise CeremonyRefused("nothing was signed, as you said")


def check_signed(path: Path, file: SignatureFile, event: SigningEvent) -> None:
    """Refuse a signature file that is not of an event's payload, or whose signatures do not verify.

    Raises:
        CeremonyRefused: so.
    """
    if file.payload_sha256 != event.payload_sha256:
        raise CeremonyRefused(
            f"{path} signs another payload than event {event.id} has: sha256 {file.payload_sha256}, not "
            f"{event.payload_sha256}",
            "Nothing was sent. Find out who saw the other payload.",
        )
    try:
        found = standing(event.role, event.payload, file.signatures, delegators(event))
    except CeremonyFault as error:
        raise CeremonyRefused(f"the signatures in {path} cannot be checked: {error}") from error
    if found.wrong:
        raise CeremonyRefused(f"{path}: the signature by key {found.wrong[0]} is wrong", "Nothing was sent.")


def target_lines(event: SigningEvent, targets: Sequence[str]) -> list[str]:
    """Compare targets of a payload with files on this machine, `PATH=FILE` each.

    Raises:
        CeremonyRefused: one is another, or no target of the payload.
    """
    pairs = parse_pairs("--target", targets, "PATH=FILE")
    signed: Mapping[str, object] = getattr(parse_payload(event.role, event.payload), "targets", {})
    lines = []
    for path, file in pairs:
        digest = sha256_of(read_file(Path(file), MAX_TARGET_BYTES))
        found = getattr(signed.get(path), "hashes", {}).get("sha256")
        if found != digest:
            said = f"the payload has {found}" if found else "the payload has no such target"
            raise CeremonyRefused(f"target {path} is not {file}, whose sha256 is {digest}: {said}", "Do not sign.")
        lines.append(f"target {path} is {file}")
    return lines


def _trusted(source: Source, settings: Settings, location: Location | None) -> TrustedRoot | None:
    named = source.root or settings.root
    if named is not None:
        return read_root_file(named)
    pin = None if location is None else PinStore(settings.pins_folder).find(location.deployment)
    return None if pin is None else pin.root


def _kept(settings: Settings, location: Location | None, trusted: TrustedRoot | None) -> Path | None:
    """Return the folder of what downloads from there have verified on this machine; it may be missing."""
    if location is None or trusted is None:
        return None
    return Cache(settings.cache_folder).known(location, trusted.sha256)


def _seen(kept: Path | None) -> Mapping[str, int]:
    return {} if kept is None else kept_versions(kept, SHARED_ROLES)


def _served(source: FetcherInterface, location: Location, kept: Path | None) -> RootSource:
    """Return what finds a version of root where it is served; one that is kept back there, in what this machine has."""

    def find(number: int) -> bytes | None:
        try:
            return source.download_bytes(root_url(location, number), MAX_ROOT_BYTES)
        except DownloadHTTPError as error:
            if error.status_code in {403, 404}:
                return None if kept is None else kept_root(kept, number)
            raise NetworkFailure(str(error)) from error
        except DownloadError as error:
            raise NetworkFailure(str(error)) from error

    return find
