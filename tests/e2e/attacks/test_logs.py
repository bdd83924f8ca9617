"""Rows 24 to 26: transparency logs, times and trust roots."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.e2e.attacks.attested import ROOT_PATH, Attested, Document, attack, attested, entry_of, flipped
from tests.e2e.attacks.conftest import Scene
from tests.e2e.attacks.names import WHEEL
from tests.support.builds import Pipeline, body
from tests.support.sigstore.keys import LogKey
from tests.support.sigstore.log import TransparencyLog
from tests.support.sigstore.log_v2 import TiledLog
from tests.support.sigstore.stamps import StampAuthority
from tests.support.tampering.table import Case, attacks

pytestmark = pytest.mark.embedded

_IDENTITY, _LOG = "(identity) failed", "(log) failed"

_Alter = Callable[[Document], None]


def _altered(alter: _Alter, **how: Any) -> Any:
    """Return what alters the log entry of a genuine bundle."""

    def forge(made: Attested) -> Document:
        bundle = made.genuine(**how)
        alter(entry_of(bundle))
        return bundle

    return forge


def _foreign_log(**how: Any) -> Any:
    """Return what has the genuine identity sign, and a log of the thief's own, under the same name, take it in."""

    def forge(made: Attested) -> Document:
        instance = made.pipeline.instance
        genuine = (instance.log, instance.log_v2)
        instance.log, instance.log_v2 = TransparencyLog(LogKey("https://rekor.test")), TiledLog()
        try:
            return made.genuine(**how)
        finally:
            instance.log, instance.log_v2 = genuine

    return forge


def _other_entry(made: Attested) -> Document:
    bundle, other = made.genuine(), made.genuine()
    material = bundle["verificationMaterial"]
    material["tlogEntries"] = other["verificationMaterial"]["tlogEntries"]
    return bundle


def _index(entry: Document) -> None:
    entry["logIndex"] = str(int(entry["logIndex"]) - 1)


def _proof_index(entry: Document) -> None:
    entry["inclusionProof"]["logIndex"] = "1"


def _proof(entry: Document) -> None:
    entry["inclusionProof"]["hashes"][0] = flipped(entry["inclusionProof"]["hashes"][0])


def _checkpoint(entry: Document) -> None:
    checkpoint = entry["inclusionProof"]["checkpoint"]
    lines = checkpoint["envelope"].split("\n")
    lines[1] = str(int(lines[1]) + 1)
    checkpoint["envelope"] = "\n".join(lines)


def _time(entry: Document) -> None:
    entry["integratedTime"] = str(int(entry["integratedTime"]) - 1)


def _no_proof(entry: Document) -> None:
    del entry["inclusionProof"]


def _no_promise(entry: Document) -> None:
    entry.pop("inclusionPromise")


def _no_entry(made: Attested) -> Document:
    bundle = made.genuine()
    bundle["verificationMaterial"]["tlogEntries"] = []
    return bundle


@attacks(
    24,
    Case("a foreign log of the same name", 61, _LOG, _foreign_log()),
    Case("a foreign log of the same name, second version", 61, _LOG, _foreign_log(log="v2")),
    Case("the entry of another signature", 61, _LOG, _other_entry),
    Case("another index in the entry", 61, _LOG, _altered(_index)),
    Case("another index in the proof", 61, _LOG, _altered(_proof_index)),
    Case("another hash in the proof", 61, _LOG, _altered(_proof)),
    Case("another tree size in the checkpoint", 61, _LOG, _altered(_checkpoint)),
    Case("another time", 61, _LOG, _altered(_time)),
    Case("no proof", 61, _LOG, _altered(_no_proof)),
    Case("no promise, which alone has the time", 61, _LOG, _altered(_no_promise)),
    Case("no entry", 61, _LOG, _no_entry),
    Case("second version: another outer index, which nothing signs", 61, _LOG, _altered(_index, log="v2")),
    Case("second version: another hash in the proof", 61, _LOG, _altered(_proof, log="v2")),
)
def test_row_24_log_tricks(case: Case, scene: Scene) -> None:
    """A log that the trust role names has taken in this signature, and says where and when."""
    attack(case, scene)


@attacks(24, Case("a log that the trust root closed (validFor.end) before it took this in", 61, _LOG, None))
def test_row_24_closed_log(case: Case, scene: Scene) -> None:
    """What a log takes in after its end does not count."""
    made = attested(scene)
    made.pipeline.instance.log.key.end = datetime.now(UTC) - timedelta(days=1)
    made.trust({ROOT_PATH: made.pipeline.instance.trusted_root()})
    made.name(body(made.genuine()))
    made.ends(case)


def _foreign_stamp(made: Attested) -> Document:
    instance = made.pipeline.instance
    genuine, instance.stamps = instance.stamps, StampAuthority()
    try:
        return made.genuine(log="v2")
    finally:
        instance.stamps = genuine


def _other_stamp(made: Attested) -> Document:
    bundle, other = made.genuine(log="v2"), made.genuine(log="v2")
    material = bundle["verificationMaterial"]
    material["timestampVerificationData"] = other["verificationMaterial"]["timestampVerificationData"]
    return bundle


@attacks(
    25,
    Case("the log took it in after the certificate's end", 61, _LOG, lambda made: made.genuine(later=1200)),
    Case(
        "the stamp is from after the certificate's end",
        61,
        _LOG,
        lambda made: made.genuine(log="v2", later=1200),
    ),
    Case(
        "the log took it in before the certificate's beginning",
        61,
        _LOG,
        lambda made: made.genuine(later=-600),
    ),
    Case("the stamp of another signature", 61, _LOG, _other_stamp),
    Case("the stamp of a foreign authority", 61, _LOG, _foreign_stamp),
    Case("no stamp, second version of the log", 61, _LOG, lambda made: made.genuine(log="v2", stamped=False)),
)
def test_row_25_time_tricks(case: Case, scene: Scene) -> None:
    """When it was signed is proven by log or stamp, and the certificate held then."""
    attack(case, scene)


@attacks(26, Case("a trust root whose logs were emptied", 61, _LOG, None))
def test_row_26_no_logs(case: Case, scene: Scene) -> None:
    """Without a log that it names, a trust root proves nothing."""
    made = attested(scene)
    root = json.loads(made.pipeline.instance.trusted_root())
    made.trust({ROOT_PATH: json.dumps(root | {"tlogs": []}).encode()})
    made.ends(case)


@attacks(26, Case("the root of a test instance, under a policy that does not name it as one", 60, "test", None))
def test_row_26_test_double(case: Case, scene: Scene) -> None:
    """What says of itself that it is a test's is no root, unless the policy names it as that."""
    made = attested(scene)
    policy = made.pipeline.policy().replace(b'test_roots: ["private"]\n', b"")
    made.trust({"trust/policy.yaml": policy})
    made.ends(case)


@attacks(26, Case("the root of a test instance, and no policy at all", 60, "test", None))
def test_row_26_test_double_without_a_policy(case: Case, scene: Scene) -> None:
    """Nor is it one where nobody wrote a policy: an attestation that is named is verified, whoever demands it."""
    pipeline = Pipeline()
    made = attested(scene, pipeline)
    trust = scene.forger.signed("trust")
    del trust.targets["trust/policy.yaml"]
    scene.forger.put_shared("trust", trust)
    made.ends(case)


@attacks(26, Case("an authority that the trust root ended (validFor.end) before it signed", 60, "did not trust", None))
def test_row_26_expired_authority(case: Case, scene: Scene) -> None:
    """An authority counts for the time in which it was trusted."""
    made = attested(scene)
    made.pipeline.instance.authority.end = datetime.now(UTC) - timedelta(days=1)
    made.trust({ROOT_PATH: made.pipeline.instance.trusted_root()})
    made.name(body(made.genuine(at=int(time.time()) - 60)))
    made.ends(case)


@attacks(
    26,
    Case("a certificate without a timestamp of a CT log", 60, _IDENTITY, 0),
    Case("with two of them", 60, _IDENTITY, 2),
)
def test_row_26_ct_log(case: Case, scene: Scene) -> None:
    """Exactly one CT log vouches for a certificate."""
    made = attested(scene)
    made.pipeline.instance.authority.scts = case.given
    made.name(made.pipeline.bundle(WHEEL, made.content))
    made.ends(case)
