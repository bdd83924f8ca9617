"""What is asked and answered about an index's metadata: the files as they are served, the links of the chain. Pure.

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
        """Return this in JSON, bytes in base64."""
        contents = {one: getattr(self, one) for one in _FILES}
        return {
            "roots": [base64.b64encode(root).decode() for root in self.roots],
            "files": {one: base64.b64encode(body).decode() for one, body in contents.items() if body is not None},
            "bin_name": self.bin_name,
            "withheld": dict(self.withheld),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Served:
        """Read what `to_document` made."""
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
