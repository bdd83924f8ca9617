"""What the offline `trust` role signs for attestations: the policy and the roots, as bytes and nothing read yet. Pure.

Source: trust contract sections 1.4 and 4; architecture section 11.3.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from countermark.core.digest import Sha256

MAX_POLICY_BYTES = 256 << 10
"""Bytes of a policy."""

MAX_ROOTS = 16
"""Roots of one trust file."""

MAX_ROOT_BYTES = 1 << 20
"""Bytes of a trust root; the public one has some 7,000."""

_MAX_PATH = 300


class BadTrustMaterial(ValueError):
    """What trust signs is too large or too much, or a document of it is none; the message is for people."""


@dataclass(frozen=True, slots=True)
class TrustMaterial:
    """The targets of `trust` that attestations are judged by, and whose word does not count.

    Attributes:
        policy: the bytes of `trust/policy.yaml`; None where none is signed.
        roots: target path (`trusted_root.json`, `trust/NAME.trusted_root.json`) -> bytes.
        version: of the trust role's file, for people; None where it is not known. No part of `sha256`.
        own_keys: sha256 (of the SubjectPublicKeyInfo) of the keys of the registry that takes or signs the file. What
            they signed is no evidence there, whatever the policy names: else a registry would take what it vouches for
            itself. Empty for clients, who ask what key holders demand.
    """

    policy: bytes | None = None
    roots: Mapping[str, bytes] = field(default_factory=dict)
    version: int | None = None
    own_keys: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        """Bound it.

        Raises:
            BadTrustMaterial: it is too large, or has too many roots.
        """
        if self.policy is not None and len(self.policy) > MAX_POLICY_BYTES:
            raise BadTrustMaterial(f"a policy has at most {MAX_POLICY_BYTES} bytes")
        if len(self.roots) > MAX_ROOTS:
            raise BadTrustMaterial(f"trust signs at most {MAX_ROOTS} roots")
        for path, content in self.roots.items():
            if len(content) > MAX_ROOT_BYTES:
                raise BadTrustMaterial(f"{path[:100]} has more than {MAX_ROOT_BYTES} bytes")

    def sha256(self) -> Sha256:
        """Return a digest of policy, roots and own keys: what was judged by the same digest was judged by the same
        material."""
        digest = hashlib.sha256(b"countermark trust material v1\n")
        parts = [(b"policy", self.policy)] if self.policy is not None else []
        parts += [(b"root " + path.encode(), content) for path, content in sorted(self.roots.items())]
        parts += [(b"own key", key.encode()) for key in sorted(self.own_keys)]
        for name, content in parts:
            # Lengths in front, so that no two materials are one sequence of bytes.
            digest.update(b"%d %b %d " % (len(name), name, len(content)))
            digest.update(content)
        return Sha256(digest.hexdigest())

    def to_document(self) -> dict[str, Any]:
        """Return this in JSON, but that its bytes are for whoever writes it to put in base64: there may be many."""
        own = sorted(self.own_keys)
        return {"policy": self.policy, "roots": dict(self.roots), "version": self.version, "own_keys": own}

    @classmethod
    def from_document(cls, document: Any) -> TrustMaterial:
        """Read what `to_document` made, once its bytes are in base64.

        Raises:
            BadTrustMaterial: it is something else, or out of bounds.
        """
        if not isinstance(document, dict) or document.keys() != {"policy", "roots", "version", "own_keys"}:
            raise BadTrustMaterial("trust material is an object with policy, roots, version and own_keys")
        policy, roots, version, own = (document[name] for name in ("policy", "roots", "version", "own_keys"))
        if version is not None and type(version) is not int:
            raise BadTrustMaterial("the version of trust material is a number")
        if not isinstance(roots, dict) or any(len(path) > _MAX_PATH for path in roots):
            raise BadTrustMaterial("the roots of trust material are an object of target paths")
        if not isinstance(own, list) or not all(isinstance(key, str) for key in own):
            raise BadTrustMaterial("the own keys of trust material are a list of texts")
        found = {path: _decoded(content, path, MAX_ROOT_BYTES) for path, content in roots.items()}
        signed = None if policy is None else _decoded(policy, "the policy", MAX_POLICY_BYTES)
        return cls(signed, found, version, frozenset(own))


def _decoded(text: Any, what: str, most: int) -> bytes:
    if not isinstance(text, str) or len(text) > most * 4 // 3 + 4:
        raise BadTrustMaterial(f"{what[:100]} is not a text of up to {most} bytes in base64")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadTrustMaterial(f"{what[:100]} is not base64") from error
