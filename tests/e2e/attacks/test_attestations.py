"""Rows 10 and 19 to 21: what the bins' key is good for where files have provenance, and bundles about something else.

The registry refuses such bundles when they are uploaded, so it is the thief of the bins' key who names them.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tests.e2e.attacks.attested import Attested, Document, attack, attested
from tests.e2e.attacks.conftest import Scene
from tests.e2e.attacks.names import INDEX, OLDER, OTHER, WHEEL
from tests.support.builds import BUILDER, STATEMENT_V0_1, Pipeline, body
from tests.support.sigstore.instance import PUBLISH, statement
from tests.support.tampering.table import Case, attacks

pytestmark = pytest.mark.embedded

_STATEMENT, _SUBJECT = "(statement) failed", "(subject) failed"
_EVIL = b"not a wheel, but whoever installs it will not be asked\n"


def _by_the_thief(made: Attested) -> bytes:
    """Sign for the evil bytes with an account of the thief's own at the same Sigstore instance."""
    claims = made.pipeline.claims("1.10", repository="mallory/widget")
    return made.pipeline.bundle(WHEEL, _EVIL, claims=claims)


@attacks(
    10,
    Case("bins' key signs a pointer to other bytes, no attestation", 62, "demands an attestation", lambda _made: None),
    Case(
        "bins' key signs a pointer to other bytes, and names the genuine attestation",
        52,
        "about other bytes",
        lambda made: body(made.genuine()),
    ),
    Case(
        "bins' key signs a pointer to other bytes, attested by a pipeline of the thief's own",
        60,
        "identity",
        _by_the_thief,
    ),
    Case(
        "bins' key signs a pointer to other bytes, attested by a Sigstore instance of the thief's own",
        60,
        "identity",
        lambda _made: Pipeline().bundle(WHEEL, _EVIL),
    ),
)
def test_row_10_bins_key_under_a_policy(case: Case, scene: Scene) -> None:
    """Where the offline trust role holds a policy, the online key alone gets nothing installed; the genuine file is."""
    made = attested(scene)
    ended = scene.client.get("widget", "--file", WHEEL)
    assert ended.code == 0, ended.words
    (scene.client.dest / WHEEL).unlink()
    made.name(case.given(made), _EVIL)
    made.ends(case)


def _old_build(made: Attested) -> bytes:
    payload = made.pipeline.payload(WHEEL, made.content, "1.9")
    return made.pipeline.bundle(WHEEL, made.content, payload=payload, claims=made.pipeline.claims("1.9"))


@attacks(
    19,
    Case(
        "the bundle of another version",
        52,
        _SUBJECT,
        lambda made: made.pipeline.bundle(OLDER, made.content, "1.9"),
    ),
    Case("the bundle of other bytes of that name", 52, "other bytes", lambda made: made.pipeline.bundle(WHEEL, _EVIL)),
    Case("the bundle of the same file from an old build (its tag)", 62, "refs/tags/v1.9", _old_build),
)
def test_row_19_replay(case: Case, scene: Scene) -> None:
    """A good bundle of something else, or of another build, is none of this release."""
    attack(case, scene)


@attacks(19, Case("the bundle of the same file in another index, whose policy alone takes it", 62, "policy: ", None))
def test_row_19_replay_to_another_index(case: Case, scene: Scene) -> None:
    """An attestation names no index: that the policy does, and it is asked about the index that the pointer names."""
    made = attested(scene)
    elsewhere = made.pipeline.policy(more=f'    indexes: ["{OTHER}"]\n')
    made.trust({"trust/policy.yaml": elsewhere})
    made.ends(case)
    made.trust({"trust/policy.yaml": made.pipeline.policy(more=f'    indexes: ["{INDEX}"]\n')})
    assert scene.client.get("widget", "--file", WHEEL).code == 0


@attacks(
    19,
    Case("a build that is older than the policy allows (max_age_days)", 62, "days", None),
)
def test_row_19_old_attestation(case: Case, scene: Scene) -> None:
    """The newest policy decides about old builds."""
    made = attested(scene)
    made.trust({"trust/policy.yaml": made.pipeline.policy(more="    log: {max_age_days: 30}\n")})
    at = 1_700_000_000
    made.name(body(made.genuine(at=at)))
    made.ends(case)


def _subjects(*subjects: Any) -> Any:
    def forge(made: Attested) -> bytes:
        known = json.loads(made.pipeline.payload(WHEEL, made.content))["subject"][0]
        listed = [subject(known) for subject in subjects]
        return made.pipeline.bundle(
            WHEEL, made.content, payload=made.pipeline.payload(WHEEL, made.content, subject=listed)
        )

    return forge


@attacks(
    20,
    Case(
        "two subjects: this name with another digest, another name with this digest",
        52,
        _SUBJECT,
        _subjects(
            lambda known: {"name": known["name"], "digest": {"sha256": "a" * 64}},
            lambda known: {"name": OLDER, "digest": known["digest"]},
        ),
    ),
    Case(
        "the name of this file with the digest of another",
        52,
        _SUBJECT,
        _subjects(lambda known: {"name": known["name"], "digest": {"sha256": "b" * 64}}),
    ),
    Case(
        "the digest of this file with the name of another",
        52,
        _SUBJECT,
        _subjects(lambda known: {"name": OLDER, "digest": known["digest"]}),
    ),
    Case(
        "a digest only as sha1",
        52,
        _SUBJECT,
        _subjects(lambda known: {"name": known["name"], "digest": {"sha1": "5" * 40}}),
    ),
    Case("the name `_`", 52, _SUBJECT, _subjects(lambda known: {"name": "_", "digest": known["digest"]})),
    Case("no name", 52, _SUBJECT, _subjects(lambda known: {"digest": known["digest"]})),
    Case(
        "a digest in upper-case hex",
        52,
        _SUBJECT,
        _subjects(lambda known: {"name": known["name"], "digest": {"sha256": known["digest"]["sha256"].upper()}}),
    ),
    Case(
        "the name in other case",
        52,
        _SUBJECT,
        _subjects(lambda known: {"name": known["name"].replace("widget", "Widget"), "digest": known["digest"]}),
    ),
    Case("no subject at all", 51, "statement", _subjects()),
)
def test_row_20_subject_confusion(case: Case, scene: Scene) -> None:
    """One subject has this file's name and this file's sha256, exactly, or the bundle is not about it."""
    attack(case, scene)


def _typed(payload_type: str) -> Any:
    return lambda made: made.genuine(payload_type=payload_type)


def _old_statement(made: Attested) -> bytes:
    payload = made.pipeline.payload(WHEEL, made.content, _type=STATEMENT_V0_1)
    return made.pipeline.bundle(WHEEL, made.content, payload=payload)


def _type_twice(made: Attested) -> bytes:
    payload = made.pipeline.payload(WHEEL, made.content)
    doubled = payload.replace(b"{", b'{"_type": "https://in-toto.io/Statement/v0.1", ', 1)
    return made.pipeline.bundle(WHEEL, made.content, payload=doubled)


def _signed_twice(made: Attested) -> Document:
    bundle = made.genuine()
    bundle["dsseEnvelope"]["signatures"] *= 2
    return bundle


def _altered_payload(made: Attested) -> Document:
    bundle = made.genuine()
    payload = base64.b64decode(bundle["dsseEnvelope"]["payload"])
    altered = payload.replace(BUILDER.encode(), b"https://ci.example/acme/builders/RELEASE")
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(altered).decode()
    return bundle


@attacks(
    21,
    Case("payload type text/plain", 51, _STATEMENT, _typed("text/plain")),
    Case("Statement v0.1 with a predicate of v1", 51, _STATEMENT, _old_statement),
    Case("`_type` twice", 51, "twice", _type_twice),
    Case("two signatures in the envelope", 51, "signatures", _signed_twice),
    Case("half a bundle", 51, _STATEMENT, lambda made: body(made.genuine())[:2000]),
    Case("JSON nested 100,000 deep", 51, _STATEMENT, lambda _made: b"[" * 100_000),
    Case("no bundle at all", 51, _STATEMENT, lambda _made: b'{"mediaType": "text/plain"}'),
    Case("a bundle of 10 MB", 50, "allowed", lambda made: body(made.genuine()) + b" " * (10 << 20)),
    Case("a payload that was altered after it was signed", 60, "signature", _altered_payload),
)
def test_row_21_type_confusion(case: Case, scene: Scene) -> None:
    """What two readers could read differently, or is nothing that is read here, is refused before its signature."""
    attack(case, scene)


@attacks(
    21,
    Case(
        "a good attestation of another kind than the policy wants (I published this)",
        62,
        "demands an attestation of type",
        lambda made: made.pipeline.bundle(WHEEL, made.content, payload=statement(WHEEL, made.content, PUBLISH)),
    ),
)
def test_row_21_other_predicate(case: Case, scene: Scene) -> None:
    """What says that somebody published a file does not say who built it from what."""
    attack(case, scene)
