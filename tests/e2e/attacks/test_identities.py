"""Rows 22 and 23: bundles that verify, by somebody whom the policy does not name."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.attacks.attested import Attested, attack, attested
from tests.e2e.attacks.conftest import Scene
from tests.e2e.attacks.names import WHEEL
from tests.support.builds import RELEASE_BUILD_TYPE, body
from tests.support.sigstore.tokens import GITHUB
from tests.support.tampering.table import Case, attacks

pytestmark = pytest.mark.embedded

_IDENTITY = "(identity) failed"
_WORKFLOW = "https://github.com/acme/widget/.github/workflows/release.yml"


def _claims(**changes: str) -> Any:
    """Return what signs the genuine statement as somebody else, whose provenance says the truth about that."""

    def forge(made: Attested) -> bytes:
        claims = made.pipeline.claims("1.10", **changes)
        said = {key: claims[key] for key in ("repository", "ref")}
        predicate = made.pipeline.predicate("1.10", **said)
        payload = made.pipeline.payload(WHEEL, made.content, predicate=predicate)
        return made.pipeline.bundle(WHEEL, made.content, payload=payload, claims=claims)

    return forge


def _by_mail(made: Attested) -> bytes:
    """Sign as an e-mail address whose text is that of the URI that the policy names."""
    claims = {"sub": "x", "email": f"{_WORKFLOW}@refs/tags/v1.10", "email_verified": "true"}
    return made.pipeline.bundle(WHEEL, made.content, claims=claims)


@attacks(
    22,
    Case("another repository of the same owner", 60, _IDENTITY, _claims(repository="acme/gadget")),
    Case("a fork", 60, _IDENTITY, _claims(repository="mallory/widget")),
    Case("another workflow of the repository", 60, _IDENTITY, _claims(workflow="nightly.yml")),
    Case("a branch instead of a tag", 60, _IDENTITY, _claims(ref="refs/heads/v1.10")),
    Case("the repository in other case", 60, _IDENTITY, _claims(repository="Acme/Widget")),
    Case("the workflow in other case", 60, _IDENTITY, _claims(workflow="Release.yml")),
    Case(
        "a look-alike (Cyrillic a) in the repository's name",
        60,
        _IDENTITY,
        _claims(repository="%D0%B0cme/widget"),
    ),
    Case("the repository's name with more behind it", 60, _IDENTITY, _claims(repository="acme/widget-evil")),
    Case("the issuer with a slash behind it", 60, _IDENTITY, _claims(iss=f"{GITHUB}/")),
    Case("another issuer", 60, _IDENTITY, _claims(iss="https://ci.example.com")),
    Case("an e-mail address whose text is that of the URI", 60, _IDENTITY, _by_mail),
)
def test_row_22_identity_confusion(case: Case, scene: Scene) -> None:
    """Who signed is compared character by character, with the kind of name and the issuer."""
    attack(case, scene)


@attacks(
    22,
    Case(
        "the certificate of the genuine workflow, for a source that the policy does not name",
        60,
        _IDENTITY,
        None,
    ),
)
def test_row_22_other_source(case: Case, scene: Scene) -> None:
    """A workflow that others may call is no proof of the source: the certificate names that by itself."""
    made = attested(scene)
    claims = made.pipeline.claims("1.10") | {"repository": "mallory/widget"}
    payload = made.pipeline.payload(
        WHEEL, made.content, predicate=made.pipeline.predicate("1.10", repository="mallory/widget")
    )
    made.name(made.pipeline.bundle(WHEEL, made.content, payload=payload, claims=claims))
    made.ends(case)


@attacks(
    23,
    Case(
        "the predicate claims the trusted builder, the certificate is another workflow's",
        60,
        _IDENTITY,
        False,
    ),
    Case("the same, and that workflow may build other projects", 62, "builder", True),
)
def test_row_23_builder_forgery(case: Case, scene: Scene) -> None:
    """The certificate says who built a file; what the predicate says of it is only ever asked for more."""
    made = attested(scene)
    if case.given:
        nightly = f"""  nightly:
    root: "private"
    issuer: "{GITHUB}"
    san: {{workflow: "{_WORKFLOW.replace("release", "nightly")}", refs: ["refs/tags/*"]}}
    builder_ids: ["https://ci.example/acme/builders/nightly"]
    build_types: ["{RELEASE_BUILD_TYPE}"]
    level: 1
"""
        rest = 'builders: ["nightly"]'
        made.trust({"trust/policy.yaml": made.pipeline.policy(builders=nightly, rest=rest)})
    made.name(body(made.genuine(claims=made.pipeline.claims("1.10", workflow="nightly.yml"))))
    made.ends(case)
