"""The provenance object of a hosted file: which of its attestations are in it, under which publisher. Pure.

PEP 740 knows four kinds of publishers and logs of the first version. What it cannot express is not in the object: one
attestation that a stock client cannot read would make it refuse all of them. Bundles are stored as they came, and each
is served under its own digest.
Source: contract python-index sections 1.8 and 4.1; trust contract section 5.2 (last line); architecture section 11.8.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from shared.exact import exact

SLSA_V1 = "https://slsa.dev/provenance/v1"
PUBLISH_V1 = "/attestations/publish/v1"
"""End of the type of statements that somebody published a file."""

GITHUB_ISSUER, GITHUB = "https://token.actions.githubusercontent.com", "https://github.com/"
GITLAB_ISSUER = GITLAB = "https://gitlab.com"
GOOGLE_ISSUER = "https://accounts.google.com"

_CLAIM = "1.3.6.1.4.1.57264.1."
_REPOSITORY, _BUILD_CONFIG = f"{_CLAIM}12", f"{_CLAIM}18"
_WORKFLOW = re.compile(r"\.github/workflows/([^/@]+)@")

Publisher = Mapping[str, Any]


def publisher_in_object(stored: Publisher | None, predicate_type: str, facts: Mapping[str, Any]) -> Publisher | None:
    """Return the publisher under which an attestation stands in the provenance object, None when it is not in it.

    Args:
        stored: as it came with a PEP 740 object.
        facts: of the verified bundle, as `VerifiedBundle.to_document` has them.
    """
    of_a_log = facts.get("root_kind") == "sigstore" and facts.get("log") == "v1"
    if not of_a_log or not (predicate_type == SLSA_V1 or predicate_type.endswith(PUBLISH_V1)):
        return None
    return publisher_of(facts) if stored is None else dict(stored)


def publisher_of(facts: Mapping[str, Any]) -> Publisher | None:
    """Return who published, as PEP 740 writes it, by what the certificate says; None for one that it does not know.

    `claims` are what the certificate says of the build, by object identifier. `environment` is in no certificate.
    """
    claims, issuer = dict(facts.get("certificate") or {}), facts.get("issuer")
    repository, config = str(claims.get(_REPOSITORY, "")), str(claims.get(_BUILD_CONFIG, ""))
    publisher: dict[str, Any] | None = None
    if issuer == GITHUB_ISSUER and repository.startswith(GITHUB):
        workflow = _WORKFLOW.match(config.removeprefix(f"{repository}/"))
        if workflow is not None:
            names = {"repository": repository.removeprefix(GITHUB), "workflow": workflow[1]}
            publisher = {"kind": "GitHub", **names, "environment": None}
    elif issuer == GITLAB_ISSUER and repository.startswith(f"{GITLAB}/"):
        path, _, _ = config.removeprefix(f"{repository}//").partition("@")
        if path and config.startswith(f"{repository}//"):
            name = repository.removeprefix(f"{GITLAB}/")
            publisher = {"kind": "GitLab", "repository": name, "workflow_filepath": path, "environment": None}
    elif issuer == GOOGLE_ISSUER and facts.get("san_type") == "email":
        publisher = {"kind": "Google", "email": facts.get("san")}
    return None if publisher is None else publisher | {"claims": claims or None}


def attestation_of(bundle: bytes) -> dict[str, Any]:
    """Return the PEP 740 attestation that a stored bundle makes.

    Raises:
        ValueError: it makes none; the bundle is not one that verified with a log of the first version.
    """
    try:
        document = orjson.loads(bundle)
        material, envelope = document["verificationMaterial"], document["dsseEnvelope"]
        if "certificate" in material:
            certificate = material["certificate"]["rawBytes"]
        else:
            certificate = material["x509CertificateChain"]["certificates"][0]["rawBytes"]
        [entry], [signature] = material["tlogEntries"], envelope["signatures"]
        return {
            "version": 1,
            "verification_material": {"certificate": certificate, "transparency_entries": [entry]},
            "envelope": {"statement": envelope["payload"], "signature": signature["sig"]},
        }
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"the bundle makes no attestation: {type(error).__name__}") from error


def provenance_object(found: Iterable[tuple[Publisher, Mapping[str, Any]]]) -> bytes:
    """Return a provenance object; the same arguments give the same bytes.

    Args:
        found: each attestation with its publisher, in order; those of one publisher become one bundle.
    """
    bundles: dict[bytes, dict[str, Any]] = {}
    for publisher, attestation in found:
        key = orjson.dumps(publisher, option=orjson.OPT_SORT_KEYS)
        bundle = bundles.setdefault(key, {"publisher": {"claims": None} | dict(publisher), "attestations": []})
        bundle["attestations"].append(attestation)
    return exact(orjson.dumps({"version": 1, "attestation_bundles": list(bundles.values())}))


def bundle_list(found: Iterable[tuple[str, str, int, str]]) -> bytes:
    """Return the list of bundles that stand in no provenance object: where each lies, as a pointer says it.

    Args:
        found: key, sha256 and length of each bundle, and the type of its predicate, in order.
    """
    bundles = [
        {"uri": f"/{key}", "digest": sha256, "length": length, "predicate_type": predicate_type}
        for key, sha256, length, predicate_type in found
    ]
    return exact(orjson.dumps({"version": 1, "bundles": bundles}))
