"""Trusted roots: reading, walking and remembering them.

A root is where trust starts, so it comes from a person: pinned with `countermark root pin`, given with `--root`, or,
only when asked for by a flag, taken from the repository at first use. All stage indexes of a deployment share one root
(architecture section 11.3), so it is remembered for the deployment, not for the index.

Source: TUF specification 1.0.34 section 5.3 (update the root role); trust contract sections 1.1 and 1.2.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from securesystemslib.signer import Key
from tuf.api.exceptions import DownloadError, DownloadHTTPError, RepositoryError, UnsignedMetadataError
from tuf.api.metadata import Metadata, Root
from tuf.ngclient import FetcherInterface

from countermark.cache import repository_key
from countermark.core.ceremony.faults import CeremonyFault
from countermark.core.ceremony.keys import fingerprint
from countermark.core.digest import Sha256, sha256_of
from countermark.core.errors import BelowThreshold, InvalidMetadata, LocalState, NetworkFailure, UsageFault
from countermark.credentials import Notify
from countermark.location import Location
from countermark.newest_root import NewestRoot
from countermark.records import write_record

MAX_ROOT_BYTES = 512_000
"""Bytes. Source: trust contract section 1.3 (the TUF library's own cap)."""

MAX_ROOTS = 256
"""Rotations walked at once. Source: trust contract section 1.3."""


@dataclass(frozen=True, slots=True)
class RoleKeys:
    """How many of which keys must sign a role."""

    role: str
    threshold: int
    keyids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TrustedRoot:
    """A root whose own threshold signed it: `data` are its exact bytes, `expires` is aware UTC."""

    data: bytes
    sha256: Sha256
    version: int
    expires: datetime
    roles: tuple[RoleKeys, ...]


class PinOrigin(StrEnum):
    """How a remembered root came to be trusted."""

    PINNED = "pinned"
    FIRST_USE = "first-use"


@dataclass(frozen=True, slots=True)
class Pin:
    """A remembered root of a deployment."""

    deployment: str
    origin: PinOrigin
    root: TrustedRoot


def read_root(data: bytes, previous: TrustedRoot | None = None) -> TrustedRoot:
    """Verify a root by itself and, when given, by its predecessor.

    Raises:
        BelowThreshold: too few of its own, or of the previous root's, keys signed it, or it counts a key twice.
        InvalidMetadata: it is not root metadata, demands more keys than it lists, or is not the next version.
    """
    try:
        metadata = Metadata[Root].from_bytes(data)
        root = metadata.signed
        if not isinstance(root, Root):
            raise InvalidMetadata("the file is metadata of another role than root")
        for name, role in root.roles.items():
            if role.threshold > len(role.keyids):
                raise InvalidMetadata(f"the root demands {role.threshold} keys for {name} and lists {len(role.keyids)}")
        _refuse_doubles(root)
        if previous is not None:
            if root.version != previous.version + 1:
                raise InvalidMetadata(f"root version {root.version} follows version {previous.version}")
            before = Metadata[Root].from_bytes(previous.data).signed
            before.verify_delegate(Root.type, metadata.signed_bytes, metadata.signatures)
        root.verify_delegate(Root.type, metadata.signed_bytes, metadata.signatures)
    except UnsignedMetadataError as error:
        raise BelowThreshold(f"not a usable root: {error}") from error
    except RepositoryError as error:
        raise InvalidMetadata(f"not a usable root: {error}") from error
    return TrustedRoot(
        data=data,
        sha256=sha256_of(data),
        version=root.version,
        expires=root.expires,
        roles=tuple(RoleKeys(name, role.threshold, tuple(role.keyids)) for name, role in sorted(root.roles.items())),
    )


def _refuse_doubles(root: Root) -> None:
    """Refuse a root by which one holder could meet a threshold alone: a key counts once, not once for each of its ids.

    Raises:
        BelowThreshold: a role lists one key under two ids.
    """
    for name, role in root.roles.items():
        keys = [root.keys[keyid] for keyid in role.keyids if keyid in root.keys]
        if len(set(map(_same_for_all_forms, keys))) < len(keys):
            raise BelowThreshold(
                f"root version {root.version} lists one key under two ids for {name}, so one holder would count twice",
                "Do not use it, and tell the people who run this registry.",
            )


def _same_for_all_forms(key: Key) -> bytes:
    """Return what a key has in each of its spellings; of a kind that is not known here, its value as it is written."""
    try:
        return fingerprint(key)
    except CeremonyFault:
        return json.dumps(key.keyval, sort_keys=True).encode()


def walk_roots(location: Location, source: FetcherInterface) -> tuple[TrustedRoot, ...]:
    """Fetch the roots of a repository, from version 1 to the newest, each verified by the one before.

    Raises:
        NetworkFailure: the repository serves no `1.root.json`, or cannot be read.
        MetadataRefused: a root of the chain does not verify.
    """
    chain: list[TrustedRoot] = []
    roots = NewestRoot(source)
    while len(chain) < MAX_ROOTS:
        url = root_url(location, len(chain) + 1)
        try:
            data = roots.download_bytes(url, MAX_ROOT_BYTES)
        except DownloadHTTPError as error:
            # A bucket without listing rights answers 403 for what it does not hold.
            if chain and error.status_code in {403, 404}:
                return tuple(chain)
            raise NetworkFailure(
                f"{location.url} serves no root: {error}", "Check the address; a private index needs credentials."
            ) from error
        except DownloadError as error:
            raise NetworkFailure(str(error)) from error
        chain.append(read_root(data, chain[-1] if chain else None))
    raise InvalidMetadata(f"{location.url} serves more than {MAX_ROOTS} roots")


def root_url(location: Location, number: int) -> str:
    """Return the URL of one version of a repository's root."""
    return f"{location.metadata_url}/{number}.root.json"


def read_root_file(path: Path) -> TrustedRoot:
    """Read a root that a person names.

    Raises:
        UsageFault: the file cannot be read or is no root.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_ROOT_BYTES + 1)
        return read_root(data)
    except OSError as error:
        raise UsageFault(f"cannot read the root {path}: {error.strerror or error}") from error
    except (BelowThreshold, InvalidMetadata) as error:
        raise UsageFault(f"{path}: {error.problem}", "Name a root.json of the registry.") from error


class PinStore:
    """Remembered roots, one small file for each deployment.

    Args:
        folder: where they lie; made on the first write.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, deployment: str) -> Pin | None:
        """Return the remembered root of a deployment, or None.

        Raises:
            LocalState: the file is unreadable or damaged. It is never ignored: trust would start anew in silence.
        """
        path = self._path(deployment)
        try:
            fields = json.loads(path.read_bytes())
            root = read_root(base64.b64decode(fields["root"], validate=True))
            if fields["deployment"] != deployment or root.sha256 != fields["sha256"]:
                raise ValueError("it contradicts itself")
            return Pin(deployment, PinOrigin(fields["origin"]), root)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, BelowThreshold, InvalidMetadata) as error:
            raise LocalState(
                f"the pinned root {path} cannot be used: {error}", "Pin it again: countermark root pin URL FILE."
            ) from error

    def keep(self, pin: Pin) -> Path:
        """Remember a root in place of the deployment's earlier one; return the file.

        Raises:
            LocalState: it cannot be written.
        """
        document = {
            "deployment": pin.deployment,
            "origin": pin.origin.value,
            "sha256": pin.root.sha256,
            "version": pin.root.version,
            "root": base64.b64encode(pin.root.data).decode("ascii"),
        }
        return write_record(self._path(pin.deployment), document)

    def _path(self, deployment: str) -> Path:
        return self._folder / f"{repository_key(deployment)}.json"


@dataclass(frozen=True, slots=True)
class RootChoice:
    """What the person said about where trust starts: a root file, or that the repository may say so itself, once."""

    file: Path | None = None
    trust_on_first_use: bool = False


def choose_root(
    location: Location, choice: RootChoice, pins: PinStore, source: FetcherInterface, notify: Notify
) -> TrustedRoot:
    """Return the root to start from: the named file, else the remembered one, else, when allowed, the served one.

    A root remembered from first use of a repository on this machine gives way to another one, with a notice, when first
    use is allowed again; everywhere else a changed root is a failure until a person pins it.

    Raises:
        UsageFault: there is none and first use was not allowed; the message holds the commands to run.
        ClientError: the served root cannot be read or does not verify; see `walk_roots`.
    """
    if choice.file is not None:
        return read_root_file(choice.file)
    pin = pins.find(location.deployment)
    if pin is not None and not (_may_be_remade(pin, location, choice) and not _still_served(pin, location, source)):
        return pin.root
    if not choice.trust_on_first_use:
        raise UsageFault(f"no root is pinned for {location.deployment}", how_to_pin(location))
    newest = walk_roots(location, source)[-1]
    pins.keep(Pin(location.deployment, PinOrigin.FIRST_USE, newest))
    if pin is not None:
        notify(f"{location.deployment} on this machine has a new root; the one trusted at first use was forgotten")
    notify(f"trusting root version {newest.version} of {location.deployment} on first use: sha256 {newest.sha256}")
    return newest


def how_to_pin(location: Location) -> str:
    """Return the sentences that tell a person how to pin the root of a deployment."""
    return (
        f"Fetch it with `countermark root fetch {location.url} -o root.json`, compare its sha256 with one you got from "
        f"the people who run the registry, then pin it with `countermark root pin {location.url} root.json`. "
        "Or trust what is served now, once: --trust-on-first-use."
    )


def _may_be_remade(pin: Pin, location: Location, choice: RootChoice) -> bool:
    return pin.origin is PinOrigin.FIRST_USE and location.is_loopback and choice.trust_on_first_use


def _still_served(pin: Pin, location: Location, source: FetcherInterface) -> bool:
    try:
        return NewestRoot(source).download_bytes(root_url(location, pin.root.version), MAX_ROOT_BYTES) == pin.root.data
    except DownloadHTTPError as error:
        return error.status_code not in {403, 404}
    except DownloadError as error:
        raise NetworkFailure(str(error)) from error
