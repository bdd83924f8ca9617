"""What is known of a bundle that verified, in words that policies are evaluated against. Pure.

Source: trust contract sections 4 (policies) and 5.1; the documentation of Fulcio's certificate extensions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from countermark.core.digest import Sha256, parse_sha256

EXTENSIONS = "1.3.6.1.4.1.57264.1."
"""Beginning of the object identifiers of what a certificate says of the build."""


class RootKind(StrEnum):
    """What a root of trust consists of."""

    SIGSTORE = "sigstore"
    """An authority with a CT log and a transparency log."""
    CA = "ca"
    """An organisation's own authority, and a time stamping authority; no log."""
    KEY = "key"
    """A public key that a policy names."""


class SanType(StrEnum):
    """What kind of name a certificate is for: an e-mail address never equals a URI of the same text."""

    URI = "uri"
    EMAIL = "email"
    OTHER = "other"


class LogKind(StrEnum):
    """Which version of the transparency log took the signature in."""

    V1 = "v1"
    V2 = "v2"
    NONE = "none"


class MalformedFacts(ValueError):
    """A document is not what `VerifiedBundle.to_document` makes."""


@dataclass(frozen=True, slots=True)
class VerifiedBundle:
    """A bundle whose every step passed: signature, certificate, log and times are proven, its predicate is not.

    Attributes:
        bundle_sha256: of the bundle's bytes.
        predicate: what the signer says; None where the statement has none.
        root: the name of the root that it was verified against, as the policy has it; without a policy its target
            path; of a named key the key's name.
        issuer: of the identity that the certificate was issued for; None where it names none (own CA, key).
        san: the certificate's one subject alternative name; None for keys.
        certificate: what the certificate says of the build: object identifier (57264.1.*) -> value.
        key: sha256 of the DER of the named key that signed, in hex; else None.
        log_index: where in the log; None without one.
        log_origin: how the log names itself in its checkpoint; None without one.
        signed_at: seconds since 1970, as log or stamp prove it; 0 where nothing does (a key without log and stamp).
        subject_name: of the statement's subject that is the file.
    """

    bundle_sha256: Sha256
    predicate_type: str
    predicate: Mapping[str, Any] | None
    root: str
    root_kind: RootKind
    issuer: str | None
    san: str | None
    san_type: SanType | None
    certificate: Mapping[str, str]
    key: str | None
    log: LogKind
    log_index: int | None
    log_origin: str | None
    signed_at: int
    subject_name: str

    def claim(self, number: int) -> str | None:
        """Return what the certificate says under 57264.1.`number`, None where it says nothing."""
        return self.certificate.get(f"{EXTENSIONS}{number}")

    def to_document(self) -> dict[str, Any]:
        """Return this in JSON."""
        return {name: getattr(self, name) for name in _FIELDS} | {"certificate": dict(self.certificate)}

    @classmethod
    def from_document(cls, document: Any) -> VerifiedBundle:
        """Read what `to_document` made.

        Raises:
            MalformedFacts: it is something else.
        """
        if not isinstance(document, dict) or document.keys() != _FIELDS.keys():
            raise MalformedFacts("the facts of a bundle are no object with exactly the keys of one")
        for key, kinds in _FIELDS.items():
            if not isinstance(document[key], kinds) or isinstance(document[key], bool):
                raise MalformedFacts(f"{key} of a bundle's facts is of the wrong type")
        certificate = document["certificate"]
        if not all(isinstance(text, str) for pair in certificate.items() for text in pair):
            raise MalformedFacts("certificate of a bundle's facts holds something else than texts")
        san_type = document["san_type"]
        try:
            typed = {
                "bundle_sha256": parse_sha256(document["bundle_sha256"]),
                "root_kind": RootKind(document["root_kind"]),
                "san_type": None if san_type is None else SanType(san_type),
                "log": LogKind(document["log"]),
            }
        except ValueError as error:
            raise MalformedFacts(f"the facts of a bundle hold an unknown value: {error}") from error
        return cls(**(document | typed))


_TEXT, _NO_TEXT = (str,), (str, type(None))
_FIELDS: Mapping[str, tuple[type, ...]] = {
    "bundle_sha256": _TEXT,
    "predicate_type": _TEXT,
    "predicate": (dict, type(None)),
    "root": _TEXT,
    "root_kind": _TEXT,
    "issuer": _NO_TEXT,
    "san": _NO_TEXT,
    "san_type": _NO_TEXT,
    "certificate": (dict,),
    "key": _NO_TEXT,
    "log": _TEXT,
    "log_index": (int, type(None)),
    "log_origin": _NO_TEXT,
    "signed_at": (int,),
    "subject_name": _TEXT,
}
