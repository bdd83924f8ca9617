"""Attestations as they arrive: taken apart before anything is verified, and whose they have to be. Pure.

1. What arrives is up to four PEP 740 objects and Sigstore bundles in the form's field, or one of them at the endpoint.
2. Of objects structure, statement and subject are read here by PEP 740's rules, of bundles the structure; everything
   signed is verified elsewhere.
3. Of a token that was made for a trusted publisher, the certificate must repeat the claims: repository, workflow, their
   ids and the commit of the very run that uploads.

Source: contract python-index sections 4.1 and 4.2; trust contract section 6 (row 22); ADR 0037.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from countermark.core.attestations.bundle import MAX_BUNDLE_BYTES, read_bundle
from countermark.core.attestations.converting import bundle_of_pep740
from countermark.core.attestations.facts import EXTENSIONS, SanType, VerifiedBundle
from countermark.core.attestations.provenance import read_attestation
from countermark.core.attestations.results import Failed, Step
from countermark.core.attestations.statement import check_subject, read_statement
from countermark.core.digest import Sha256
from countermark.core.names import FileName
from countermark.core.strict_json import read_json
from services.upload.rules import Fields

FIELD = "attestations"
"""The form's field. Source: PEP 740, "Upload endpoint changes"."""

MOST_IN_FORM = 4
"""Attestations of one form; of PEP 740 objects one of each predicate type, of which there are two."""

MAX_FIELD_BYTES = 1 << 20
"""Bytes of the field; real ones have some 20,000."""

BUILD_PROVENANCE = frozenset(["https://slsa.dev/provenance/v1", "https://slsa.dev/provenance/v0.2"])
"""Predicate types of what a pointer may name. Source: architecture section 11.8; trust contract section 3.2."""

GITHUB, GITLAB, GOOGLE = (
    "https://token.actions.githubusercontent.com",
    "https://gitlab.com",
    "https://accounts.google.com",
)
"""Issuers of identities whose publishers PEP 740 objects can name."""

_GITHUB_HOST = "https://github.com"


class NoAttestations(Exception):
    """What arrived as attestations is refused; the message says which of them, at which check, and why."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """An attestation that was read, and not yet verified.

    Attributes:
        bundle: the bytes of the Sigstore bundle that it is; those that a PEP 740 object stands for.
        pep740: whether it came as a PEP 740 object.
    """

    bundle: bytes
    pep740: bool


def read_field(fields: Fields, file_name: FileName, sha256: Sha256) -> list[Arrived]:
    """Return the attestations that a form brings along with a file; none where it has no such field.

    Beside PEP 740 objects the field may hold Sigstore bundles as they are: what those objects have no place for could
    otherwise come only once the file is there, which a policy may forbid.

    Raises:
        NoAttestations: the field is no list of either, an object is not about this file, or one is there twice.
    """
    values = [value for value in fields.get(FIELD, ()) if value.strip()]
    if not values:
        return []
    if len(values) > 1:
        raise NoAttestations(f"the field {FIELD} is there {len(values)} times: send one JSON array")
    if len(values[0]) > MAX_FIELD_BYTES:
        raise NoAttestations(f"the field {FIELD} is longer than {MAX_FIELD_BYTES} bytes")
    try:
        found = read_json(values[0].encode())
    except ValueError as error:
        raise NoAttestations(f"the field {FIELD} is no JSON that can be read: {error}") from error
    if not isinstance(found, list) or not 1 <= len(found) <= MOST_IN_FORM:
        raise NoAttestations(f"the field {FIELD} must be a JSON array of 1 to {MOST_IN_FORM} attestations")
    read: list[Arrived] = []
    kinds: set[str] = set()
    for number, (document, text) in enumerate(zip(found, _elements(values[0], len(found)), strict=True), 1):
        if _is_bundle(document):
            read.append(_read_bundle(text.encode(), number))
            continue
        kind, one = _read_object(document, number, file_name, sha256)
        if kind in kinds:
            raise NoAttestations(f"there are two attestations of the predicate type {kind}: send one of each")
        kinds.add(kind)
        read.append(one)
    if len({one.bundle for one in read}) < len(read):
        raise NoAttestations("the same attestation is there twice: send each once")
    return read


def read_posted(body: bytes, file_name: FileName, sha256: Sha256) -> Arrived:
    """Return the one attestation that a request's body is: a Sigstore bundle, or a PEP 740 object.

    Raises:
        NoAttestations: it is neither, or a PEP 740 object about another file.
    """
    if len(body) > MAX_BUNDLE_BYTES:
        raise NoAttestations(f"the attestation has more than {MAX_BUNDLE_BYTES} bytes")
    try:
        document = read_json(body)
    except ValueError as error:
        raise NoAttestations(f"the body is no JSON that can be read: {error}") from error
    if _is_bundle(document):
        return _read_bundle(body, None)
    if isinstance(document, dict) and "verification_material" in document:
        return _read_object(document, None, file_name, sha256)[1]
    raise NoAttestations("the body must be one Sigstore bundle (with mediaType), or one PEP 740 attestation object")


def refused(failure: Failed, number: int | None = None) -> NoAttestations:
    """Return how a check that failed is told to whoever sent the attestation.

    Args:
        number: of the attestation in the field, from 1; None where there is one.
    """
    which = "the attestation" if number is None else f"attestation {number}"
    return NoAttestations(ascii_of(f"{which} fails the check {failure.step}: {failure.detail}"))


def ascii_of(text: str) -> str:
    """Return a text as every face can tell it."""
    return text.encode("ascii", "backslashreplace").decode("ascii")


def _is_bundle(document: Any) -> bool:
    return isinstance(document, dict) and "mediaType" in document


def _elements(text: str, count: int) -> Iterator[str]:
    """Yield the elements of a JSON array as they are written: a bundle's digest is that of its bytes.

    Args:
        text: an array of `count` elements, which was read before.
    """
    decoder, at = json.JSONDecoder(), text.index("[") + 1
    for _ in range(count):
        while text[at] in " \t\r\n,":
            at += 1
        begin, at = at, decoder.raw_decode(text, at)[1]
        yield text[begin:at]


def _read_bundle(body: bytes, number: int | None) -> Arrived:
    """Read a Sigstore bundle as far as that needs no trust."""
    try:
        read_bundle(body)
    except Failed as failure:
        raise refused(failure, number) from failure
    return Arrived(body, pep740=False)


def _read_object(document: Any, number: int | None, file_name: FileName, sha256: Sha256) -> tuple[str, Arrived]:
    """Read a PEP 740 object as far as that needs no trust; returns its predicate type beside it."""
    try:
        statement = read_statement(read_attestation(document).statement)
        check_subject(statement, file_name, sha256)
        return statement.predicate_type, Arrived(bundle_of_pep740(document), pep740=True)
    except Failed as failure:
        raise refused(failure, number) from failure


def check_publisher(publisher: Mapping[str, Any], facts: VerifiedBundle) -> None:
    """Check that a verified attestation is of the run that a trusted publisher's token was made for.

    Whatever the claims do not hold counts as another's: a token without them proves nothing of a run.

    Args:
        publisher: as kept with the token: `kind`, and `claims` of the identity token that asked for it.

    Raises:
        Failed: IDENTITY.
    """
    claims = publisher.get("claims")
    if not isinstance(claims, Mapping):
        raise Failed(Step.IDENTITY, "the token's trusted publisher is kept without claims: make a new token")
    demands = list(_demands(publisher.get("kind"), claims, facts))
    if len(demands) == 1:
        raise Failed(Step.IDENTITY, f"trusted publishers of the kind {publisher.get('kind')!r} are not known here")
    for what, wanted, found in demands:
        if wanted is None:
            raise Failed(Step.IDENTITY, f"the token's trusted publisher is kept without its {what}: make a new token")
        if found != wanted:
            raise Failed(
                Step.IDENTITY,
                f"its certificate's {what} is {'nothing' if found is None else repr(found)}, "
                f"that of the token's trusted publisher is {wanted!r}",
            )


def _demands(
    kind: Any, claims: Mapping[str, Any], facts: VerifiedBundle
) -> Iterator[tuple[str, str | None, str | None]]:
    """Yield what a certificate must say: what it is, what the token's claims have, what the certificate has."""
    issuer = _text(claims, "iss")
    yield "issuer", issuer, facts.issuer
    if kind == "GitHub":
        yield from _run(
            facts, _GITHUB_HOST, claims, ("repository", "workflow_ref", "repository_id", "repository_owner_id")
        )
    elif kind == "GitLab":
        yield from _run(facts, issuer, claims, ("project_path", "ci_config_ref_uri", "project_id", "namespace_id"))
    elif kind == "Google":
        yield "e-mail address", _text(claims, "email"), facts.san if facts.san_type is SanType.EMAIL else None


def _run(
    facts: VerifiedBundle, host: str | None, claims: Mapping[str, Any], names: Sequence[str]
) -> Iterator[tuple[str, str | None, str | None]]:
    repository, workflow, number, owner = (_text(claims, name) for name in names)
    at = None if repository is None or host is None else f"{host}/{repository}"
    yield "repository", at, facts.claim(12)
    # GitLab writes the host in front, GitHub does not.
    prefix = "https://" if names[1] == "ci_config_ref_uri" else f"{host}/"
    yield "workflow", None if workflow is None else f"{prefix}{workflow}", facts.claim(18)
    yield "repository id", number, facts.claim(15)
    yield "owner id", owner, facts.claim(17)
    yield "commit", _text(claims, "sha"), facts.claim(13)


def _text(claims: Mapping[str, Any], name: str) -> str | None:
    value = claims.get(name)
    return value if isinstance(value, str) and value else None


def publisher_of(facts: VerifiedBundle, environment: str | None = None) -> dict[str, Any] | None:
    """Return the publisher of an attestation as a PEP 740 provenance object names it, by its certificate alone; None
    for identities that such objects have no word for.

    Args:
        environment: of the run, which no certificate has; known of trusted publishers' tokens.
    """
    claims = {oid: value for oid, value in facts.certificate.items() if oid.startswith(EXTENSIONS)}
    if facts.issuer == GITHUB:
        found = _parts(facts, _GITHUB_HOST, "/.github/workflows/")
        kind = {"kind": "GitHub", "environment": environment}
        names = ("repository", "workflow")
    elif facts.issuer == GITLAB:
        found = _parts(facts, GITLAB, "//")
        kind = {"kind": "GitLab", "environment": environment}
        names = ("repository", "workflow_filepath")
    elif facts.issuer == GOOGLE and facts.san_type is SanType.EMAIL:
        return {"kind": "Google", "email": facts.san, "claims": claims}
    else:
        return None
    return None if found is None else kind | dict(zip(names, found, strict=True)) | {"claims": claims}


def _parts(facts: VerifiedBundle, host: str, separator: str) -> tuple[str, str] | None:
    """Return repository and workflow as a certificate of a forge names them; None where it does not."""
    source, config = facts.claim(12), facts.claim(18)
    if source is None or config is None or not source.startswith(f"{host}/"):
        return None
    if not config.startswith(f"{source}{separator}"):
        return None
    workflow = config.removeprefix(f"{source}{separator}").rpartition("@")[0]
    return (source.removeprefix(f"{host}/"), workflow) if workflow else None
