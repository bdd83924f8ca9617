"""Whether a certificate bears out what a provenance object says of the publisher. Imports sigstore.

Source: PEP 740, "Provenance objects"; contract python-index section 4.2; the documentation of Fulcio's certificate
extensions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cryptography.x509 import Certificate
from pydantic import ValidationError
from pypi_attestations import CircleCIPublisher, GitHubPublisher, GitLabPublisher, GooglePublisher

from countermark.core.attestations.results import Failed, Step

_PUBLISHERS = {
    "GitHub": GitHubPublisher,
    "GitLab": GitLabPublisher,
    "Google": GooglePublisher,
    "CircleCI": CircleCIPublisher,
}

_EXTENSIONS = "1.3.6.1.4.1.57264.1."
"""Beginning of the object identifiers of what a certificate says of the build."""

_NAMED = {
    "sha": "13",
    "ref": "14",
    "repository_id": "15",
    "repository_owner_id": "17",
    "runner_environment": "11",
    "event_name": "20",
    "repository_visibility": "22",
}
"""Claims of identity tokens that certificates repeat word for word."""


def check_identity(publisher: Mapping[str, Any], certificate: Certificate, claims: Mapping[str, str]) -> None:
    """Check a certificate that was found good against its publisher's part of a provenance object.

    Args:
        claims: of the certificate, by object identifier.

    Raises:
        Failed: IDENTITY; the kind is not known, the part is not one of its kind, or the certificate is somebody else's.
    """
    kind = _PUBLISHERS.get(publisher["kind"])
    if kind is None:
        raise Failed(Step.IDENTITY, f"this kind of publisher is not known here: {publisher['kind'][:60]!r}")
    said = {key: value for key, value in publisher.items() if key != "claims"}
    try:
        policy = kind.model_validate(said, strict=True)._as_policy()  # noqa: SLF001 - the one way to it, contract 4.2
    except ValidationError as error:
        raise Failed(Step.IDENTITY, f"the publisher is no {publisher['kind']} publisher: {_first(error)}") from error
    try:
        policy.verify(certificate)
    except Exception as error:
        # Also what a certificate without the extension asked for leads to.
        raise Failed(Step.IDENTITY, f"the certificate is not this publisher's: {error}") from error
    _check_claims(publisher.get("claims"), claims)


def unproven(publisher: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what a publisher's part says that no certificate can bear out."""
    known = _PUBLISHERS.get(publisher["kind"])
    if known is None:
        return tuple(sorted(publisher))
    proven = known.model_fields.keys() - {"environment"} | {"claims", "kind"}
    return tuple(sorted(key for key, value in publisher.items() if key not in proven and value is not None))


def _check_claims(said: Any, claims: Mapping[str, str]) -> None:
    if said is None:
        return
    if not isinstance(said, dict):
        raise Failed(Step.IDENTITY, "the publisher's claims are no object")
    for name, value in said.items():
        where = name if name.startswith(_EXTENSIONS) else _EXTENSIONS + _NAMED.get(name, "")
        if where not in claims:
            raise Failed(Step.IDENTITY, f"the certificate does not bear out the claim {name[:60]!r}")
        if claims[where] != value:
            raise Failed(Step.IDENTITY, f"the certificate says otherwise about the claim {name[:60]!r}")


def _first(error: ValidationError) -> str:
    found = error.errors()[0]
    return f"{'.'.join(map(str, found['loc']))}: {found['msg']}"
