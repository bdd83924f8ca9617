"""Further evidence: attestations of a file beside the one that its pointer names, from wherever some may be had.

A publication names one build provenance; what else is attested lies beside it: the provenance object (PEP 740), and the
list of the bundles that such an object cannot hold. No signature of the registry covers either, and none is needed: a
bundle proves itself or is no evidence. Whoever withholds some leaves a demanding policy unsatisfied.

A source is a function, so that a new kind of evidence is one more line of `SOURCES`.
Source: architecture sections 6 and 11.8; trust contract section 3.3.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field

from tuf.api.exceptions import DownloadError, DownloadHTTPError, SlowRetrievalError

from countermark.core.attestations.converting import bundle_of_pep740
from countermark.core.attestations.listed import MAX_LIST_BYTES, MalformedList, read_bundle_list
from countermark.core.attestations.provenance import EMPTY_OBJECT, MAX_BYTES, read_provenance
from countermark.core.attestations.results import Failed
from countermark.core.digest import Length, Measured, sha256_of
from countermark.core.errors import ArtifactRefused, NetworkFailure
from countermark.core.names import FileName, NormalizedName
from countermark.core.pointer import Resource
from countermark.location import Location
from countermark.placing import compare
from countermark.transport import ByteSource

MOST = 16
"""Bundles that are looked at of a file, beside the one that its pointer names: as many as a registry keeps."""

MOST_SECONDS = 60.0
"""Within which all of one file is read from one address; what is not there by then is not there."""

OBJECT, LIST = ".provenance.json", ".bundles.json"
"""What follows a file's name in the names of the two documents."""


@dataclass(frozen=True, slots=True)
class About:
    """The file that evidence is looked for, and where its index lies."""

    place: Location
    project: NormalizedName
    file_name: FileName


@dataclass(frozen=True, slots=True)
class Further:
    """What a look at one place found.

    Attributes:
        bundles: unverified, each once.
        faults: what could not be read, one clause each.
    """

    bundles: tuple[bytes, ...] = ()
    faults: tuple[str, ...] = ()


@dataclass(slots=True)
class Reader:
    """Reads small documents, all of them until one moment.

    Attributes:
        until: on the monotonic clock, in seconds.
    """

    source: ByteSource
    until: float = field(default_factory=lambda: time.monotonic() + MOST_SECONDS)

    def read(self, url: str, most: int) -> bytes | None:
        """Return what lies at an address, None where nothing does.

        Args:
            most: bytes that it may have.

        Raises:
            NetworkFailure: it could not be read in time, or has more.
        """
        data = bytearray()
        try:
            with contextlib.closing(self._chunks(url, most)) as chunks:
                for chunk in chunks:
                    data += chunk
                    if len(data) > most:
                        raise NetworkFailure(f"{url} has more than {most} bytes")
        except DownloadHTTPError as error:
            if error.status_code == 404:
                return None
            raise NetworkFailure(str(error)) from error
        except DownloadError as error:
            raise NetworkFailure(str(error)) from error
        return bytes(data)

    def _chunks(self, url: str, most: int) -> Generator[bytes, None, None]:
        if time.monotonic() > self.until:
            raise SlowRetrievalError(f"no time left to read {url}")
        for chunk in self.source.stream(url, most):
            if time.monotonic() > self.until:
                raise SlowRetrievalError(f"{url} is not complete within its deadline")
            yield chunk


Source = Callable[[About, Reader], Further]
"""Looks at one place for evidence of one kind; whatever cannot be read is a fault, and no error."""


def of_object(about: About, reader: Reader) -> Further:
    """Return the attestations of a file's provenance object, each as the bundle that it is."""
    url = about.place.attested_url(about.project, about.file_name, OBJECT)
    try:
        body = reader.read(url, MAX_BYTES)
        if body is None or body == EMPTY_OBJECT:
            return Further()
        claimed = read_provenance(body)
    except NetworkFailure as error:
        return Further(faults=(error.problem,))
    except Failed as error:
        return Further(faults=(f"{url}: {error.detail}",))
    bundles, faults = list[bytes](), list[str]()
    for one in claimed:
        try:
            bundles.append(bundle_of_pep740(one.document))
        except Failed as error:
            faults.append(f"an attestation of {url}: {error.detail}")
    return Further(tuple(bundles), tuple(faults))


def of_list(about: About, reader: Reader) -> Further:
    """Return the bundles of a file that its provenance object cannot hold, by the list beside that."""
    url = about.place.attested_url(about.project, about.file_name, LIST)
    try:
        body = reader.read(url, MAX_LIST_BYTES)
        named = [] if body is None else read_bundle_list(body)
    except NetworkFailure as error:
        return Further(faults=(error.problem,))
    except MalformedList as error:
        return Further(faults=(f"{url}: {error}",))
    bundles, faults = list[bytes](), list[str]()
    for resource in named:
        try:
            bundles.append(_listed(about, reader, resource))
        except (NetworkFailure, ArtifactRefused) as error:
            faults.append(error.problem)
    return Further(tuple(bundles), tuple(faults))


def _listed(about: About, reader: Reader, resource: Resource) -> bytes:
    """Return a bundle of a list.

    Raises:
        NetworkFailure: it is not there, or could not be read in time.
        ArtifactRefused: it has other bytes than the list says.
    """
    url = about.place.artifact_url(resource.uri)
    body = reader.read(url, resource.length)
    if body is None:
        raise NetworkFailure(f"there is nothing at {url}")
    compare(resource, Measured(sha256_of(body), Length(len(body))), url)
    return body


SOURCES: tuple[Source, ...] = (of_object, of_list)
"""Where evidence may be, in the order in which it is looked for."""


def gather(about: About, source: ByteSource, sources: Sequence[Source] = SOURCES) -> Further:
    """Return all evidence that is to be had of a file at one address, within `MOST_SECONDS`; whatever goes wrong is a
    fault of what was found, and no error."""
    reader = Reader(source)
    return joined([look(about, reader) for look in sources])


def joined(found: Sequence[Further]) -> Further:
    """Return several looks as one, no more than `MOST` bundles of them."""
    bundles = tuple(dict.fromkeys(bundle for one in found for bundle in one.bundles))
    faults = tuple(fault for one in found for fault in one.faults)
    if len(bundles) > MOST:
        faults += (f"{len(bundles)} attestations are there, and {MOST} are looked at",)
    return Further(bundles[:MOST], faults)
