"""What is asked and answered about metadata: files as they are served, links of the chain, what trust signs. Pure.

Without the TUF library: who serves asks a process that has it (`shared.attesting.worker`).
Source: trust contract sections 1.1 and 3.3.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from countermark.core.digest import Sha256, parse_sha256

UNREADABLE, NO_TARGET, BELOW_THRESHOLD, EXPIRED, OLDER, OTHER, MISMATCH = 10, 11, 20, 21, 22, 23, 31
"""What a client ends with. Source: trust contract section 3.3."""

MAX_ROOTS = 256
"""Roots that are walked through, as many as stock clients do."""


@dataclass(frozen=True, slots=True)
class Served:
    """The files of an index as they are served; None for one that cannot be had.

    Attributes:
        roots: from version 1 on, without a gap.
        bin_name: of the bin that the target belongs to.
        withheld: role -> why its file is not served: it is missing, or it is not the one that the catalogue names. What
            is there all the same is checked first.
    """

    roots: tuple[bytes, ...] = ()
    timestamp: bytes | None = None
    snapshot: bytes | None = None
    targets: bytes | None = None
    trust: bytes | None = None
    registry: bytes | None = None
    bin: bytes | None = None
    bin_name: str = ""
    withheld: Mapping[str, str] = field(default_factory=dict)

    def to_document(self) -> dict[str, Any]:
        """Return this as a part of a question."""
        contents = {one: getattr(self, one) for one in _FILES}
        return {
            "roots": self.roots,
            "files": {one: body for one, body in contents.items() if body is not None},
            "bin_name": self.bin_name,
            "withheld": dict(self.withheld),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Served:
        """Read what `to_document` made, bytes in base64."""
        return cls(
            roots=tuple(base64.b64decode(root) for root in document["roots"]),
            bin_name=document["bin_name"],
            withheld=document["withheld"],
            **{one: base64.b64decode(body) for one, body in document["files"].items()},
        )


_FILES = ("timestamp", "snapshot", "targets", "trust", "registry", "bin")


@dataclass(frozen=True, slots=True)
class Link:
    """A link of the chain: `code` is 0 where it holds, else what a client ends with."""

    name: str
    code: int
    reason: str
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MetadataReport:
    """What was found out of an index's metadata.

    Attributes:
        links: root, timestamp, snapshot, target, up to the first that does not hold.
        sha256: of the target that was asked for; None where the chain does not hold.
        length: of it, in bytes.
        trusted: targets of the trust role, path -> sha256, once they are known.
        expires: when the first of the files does; None where the chain does not hold.
    """

    links: tuple[Link, ...]
    sha256: Sha256 | None = None
    length: int = 0
    trusted: Mapping[str, str] = field(default_factory=dict)
    expires: datetime | None = None

    def to_document(self) -> dict[str, Any]:
        """Return this in JSON."""
        return {
            "links": [{one.name: getattr(link, one.name) for one in fields(Link)} for link in self.links],
            "sha256": self.sha256,
            "length": self.length,
            "trusted": dict(self.trusted),
            "expires": None if self.expires is None else self.expires.isoformat(),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> MetadataReport:
        """Read what `to_document` made.

        Raises:
            ValueError: it is something else, or holds without a target.
        """
        try:
            sha256, expires = document["sha256"], document["expires"]
            found = cls(
                links=tuple(Link(**link) for link in document["links"]),
                sha256=None if sha256 is None else parse_sha256(sha256),
                length=int(document["length"]),
                trusted=document["trusted"],
                expires=None if expires is None else datetime.fromisoformat(expires),
            )
        except (LookupError, TypeError) as error:
            raise ValueError("this is no report on metadata") from error
        if (found.sha256 is None) is all(link.code == 0 for link in found.links) or (
            (found.sha256 is None) is not (found.expires is None)
        ):
            raise ValueError("this report on metadata contradicts itself")
        return found


@dataclass(frozen=True, slots=True)
class TrustFiles:
    """What shows that the trust role signs something: roots from version 1 on, without a gap, and the files below."""

    roots: tuple[bytes, ...]
    targets: bytes
    trust: bytes

    def to_document(self) -> dict[str, Any]:
        """Return this as a part of a question."""
        return {"roots": self.roots, "targets": self.targets, "trust": self.trust}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> TrustFiles:
        """Read what `to_document` made, bytes in base64."""
        return cls(
            tuple(base64.b64decode(root) for root in document["roots"]),
            base64.b64decode(document["targets"]),
            base64.b64decode(document["trust"]),
        )


@dataclass(frozen=True, slots=True)
class TrustReport:
    """What the trust role signs, or why its file is not believed; whether it expired is for whoever asks.

    Attributes:
        refused: why it is not believed, for people; None where all signatures hold.
        versions: of root, targets and trust, by role.
        expires: when each of them does, by role.
        targets: path -> (sha256, length in bytes).
    """

    refused: str | None = None
    versions: Mapping[str, int] = field(default_factory=dict)
    expires: Mapping[str, datetime] = field(default_factory=dict)
    targets: Mapping[str, tuple[Sha256, int]] = field(default_factory=dict)

    def to_document(self) -> dict[str, Any]:
        """Return this in JSON."""
        return {
            "refused": self.refused,
            "versions": dict(self.versions),
            "expires": {role: moment.isoformat() for role, moment in self.expires.items()},
            "targets": {path: list(one) for path, one in self.targets.items()},
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> TrustReport:
        """Read what `to_document` made.

        Raises:
            ValueError: it is something else, or holds without saying of which files.
        """
        try:
            found = cls(
                document["refused"],
                {role: int(document["versions"][role]) for role in document["versions"]},
                {role: datetime.fromisoformat(moment) for role, moment in document["expires"].items()},
                {path: (parse_sha256(sha256), int(length)) for path, (sha256, length) in document["targets"].items()},
            )
        except (LookupError, TypeError, AttributeError) as error:
            raise ValueError("this is no report on trust") from error
        complete = found.versions.keys() == found.expires.keys() == set(TRUST_CHAIN)
        if (found.refused is None) is not complete:
            raise ValueError("this report on trust contradicts itself")
        return found


TRUST_CHAIN = ("root", "targets", "trust")
"""The roles that say what trust signs, from the anchor down."""
