"""The roots that a bundle may be verified against, by the names that a policy gives them. Imports sigstore.

Source: trust contract sections 4 (`roots`), 5.3 ("Product") and 6 (26); ADR 0041.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from cryptography.x509 import Certificate, Name
from cryptography.x509.oid import NameOID
from sigstore.verify import Verifier

from countermark.core.attestations.own_authority import OwnAuthority
from countermark.core.attestations.results import Failed, Step
from countermark.core.attestations.stamps import StampAuthorities
from countermark.core.attestations.timed import ClockedVerifier
from countermark.core.attestations.trust_root import BadRoot, Root, read_document

_TEST = "test"
"""The organisation that the certificates of test instances are of."""


@dataclass(frozen=True, slots=True)
class KnownRoot:
    """One root.

    Attributes:
        name: as a policy has it; without a policy the target path.
        root: what was read; None where nothing could be.
        verifier: sigstore's, for a root with logs.
        refusal: why nothing is verified against it; None where it is good.
    """

    name: str
    root: Root | OwnAuthority | None
    verifier: Verifier | None
    refusal: Failed | None

    def knows(self, certificate: Certificate) -> bool:
        """Return whether an authority of this root has the name of a certificate's issuer."""
        return self.root is not None and any(one.subject == certificate.issuer for one in self.root.certificates)

    @property
    def stamp_authorities(self) -> StampAuthorities | None:
        """Its time stamping authorities; None where the root is not to be used."""
        return None if self.root is None or self.refusal is not None else self.root.stamp_authorities


def read_roots(
    contents: Mapping[str, bytes], test_roots: Collection[str], without_log: Collection[str]
) -> list[KnownRoot]:
    """Read roots, each by itself: one that cannot be used is no reason to do without the others.

    Args:
        contents: name -> `TrustedRoot` document; empty for one that is named and not there.
        test_roots: the names of those that may be a test instance's.
        without_log: the names of those that may name no log.
    """
    return [_read(name, content, name in test_roots, name in without_log) for name, content in contents.items()]


def _read(name: str, content: bytes, may_be_test: bool, may_lack_log: bool) -> KnownRoot:
    shown = repr(name[:100])
    try:
        root = _root(content) if content else _none()
    except BadRoot as error:
        return KnownRoot(name, None, None, Failed(error.step, f"the trust root {shown} cannot be used: {error}"))
    refusal = None
    if not may_be_test and _is_test(root):
        what = f"the trust root {shown} is a test instance's, and the policy does not name it in test_roots"
        refusal = Failed(Step.CERTIFICATE, what)
    elif isinstance(root, OwnAuthority) and not may_lack_log:
        what = f"the trust root {shown} names no transparency log, and no policy takes signatures without one"
        refusal = Failed(Step.LOG, what)
    verifier = ClockedVerifier(trusted_root=root.sigstore) if isinstance(root, Root) else None
    return KnownRoot(name, root, verifier, refusal)


def _root(content: bytes) -> Root | OwnAuthority:
    document = read_document(content)
    if document.tlogs or document.ctlogs or not document.timestamp_authorities:
        return Root(content)
    try:
        return OwnAuthority(document)
    except ValueError as error:
        raise BadRoot(str(error)) from error


def _none() -> Root:
    raise BadRoot("trust signs no such target")


def _is_test(root: Root | OwnAuthority) -> bool:
    certificates = [*root.certificates, *root.stamp_authorities.certificates]
    return any(_has_test(one.subject) or _has_test(one.issuer) for one in certificates)


def _has_test(name: Name) -> bool:
    return any(
        str(one.value).strip().casefold() == _TEST for one in name.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    )
