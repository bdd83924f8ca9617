"""Each trick about logs and times fails at its own step. Trust contract section 6 (24 and 25)."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from sigstore.models import Bundle
from sigstore.verify import Verifier, policy

from countermark.core.attestations.judgements import BundleReport
from countermark.core.attestations.results import Step
from countermark.core.attestations.trust_root import Root
from tests.support.sigstore.instance import Instance, Logged
from tests.support.sigstore.keys import LogKey, TiledLogKey
from tests.support.sigstore.log import TransparencyLog
from tests.support.sigstore.log_v2 import TiledLog
from tests.support.sigstore.stamps import StampAuthority
from tests.unit.attestations.bundles import ENTRY, STAMPS, check, failed, payload, replaced, signed

AT = 1_750_000_000


@pytest.fixture(scope="module")
def instance() -> Instance:
    """An instance whose parts no test replaces."""
    return Instance()


def entry_of(bundle: dict[str, Any]) -> Any:
    """Return the log entry of a bundle."""
    return bundle["verificationMaterial"]["tlogEntries"][0]


def code(report: BundleReport) -> int:
    """Return the exit code of a failure."""
    return failed(report)[1]


class TestLogs:
    """Row 24."""

    @pytest.mark.parametrize("log", ["v1", "v2"])
    def test_foreign_log(self, instance: Instance, log: Logged) -> None:
        """An entry of a log that the root does not name is none, though it has the same names."""
        foreign = Instance(instance.provider, instance.ct_log)
        foreign.authority, foreign.stamps = instance.authority, instance.stamps
        assert failed(check(instance, signed(foreign, log=log))) == (Step.LOG, 61)

    @pytest.mark.parametrize("log", ["v1", "v2"])
    def test_entry_of_another_signature(self, instance: Instance, log: Logged) -> None:
        """An entry that was made for something else proves nothing, be it of the same payload."""
        made, other = signed(instance, log=log), signed(instance, log=log)
        made["verificationMaterial"]["tlogEntries"] = other["verificationMaterial"]["tlogEntries"]
        assert failed(check(instance, made)) == (Step.LOG, 61)

    @pytest.mark.parametrize("log", ["v1", "v2"])
    @pytest.mark.parametrize(
        ("path", "value"),
        [
            (["logIndex"], "3"),
            (["inclusionProof", "logIndex"], "3"),
            (["inclusionProof", "treeSize"], "99"),
            (["inclusionProof", "hashes"], []),
            (["inclusionProof", "hashes", 0], base64.b64encode(bytes(32)).decode()),
            (["inclusionProof", "rootHash"], base64.b64encode(bytes(32)).decode()),
            (["inclusionProof", "checkpoint", "envelope"], "rekor.test - 1\n1\nAA==\n\n\u2014 x AAAAAAAA\n"),
            (["inclusionProof", "checkpoint", "envelope"], "x"),
            (["inclusionProof", "checkpoint"], None),
            (["inclusionProof"], None),
            (["canonicalizedBody"], base64.b64encode(b"{}").decode()),
            (["kindVersion"], {"kind": "dsse", "version": "0.0.2"}),
            (["kindVersion"], {"kind": "intoto", "version": "0.0.2"}),
            (["kindVersion"], {"kind": "hashedrekord", "version": "0.0.1"}),
            (["logId", "keyId"], base64.b64encode(bytes(32)).decode()),
        ],
    )
    def test_altered(self, instance: Instance, log: Logged, path: list[Any], value: Any) -> None:
        """Whatever is changed or removed of an entry fails it."""
        made = replaced(signed(instance, log=log), [*ENTRY, *path], value)
        assert failed(check(instance, made)) == (Step.LOG, 61)

    @pytest.mark.parametrize("log", ["v1", "v2"])
    def test_none(self, instance: Instance, log: Logged) -> None:
        """A certificate of an authority with a CT log wants an entry of a log, with a stamp as well."""
        made = signed(instance, log=log, stamped=True)
        made["verificationMaterial"]["tlogEntries"] = []
        assert failed(check(instance, made)) == (Step.LOG, 61)
        del made["verificationMaterial"]["tlogEntries"]
        assert failed(check(instance, made)) == (Step.LOG, 61)

    def test_altered_promise(self, instance: Instance) -> None:
        """A promise that the log did not make, also of a time at which the certificate held."""
        made = signed(instance)
        promise = [*ENTRY, "inclusionPromise", "signedEntryTimestamp"]
        assert code(check(instance, replaced(made, promise, base64.b64encode(b"x" * 70).decode()))) == 61
        made = signed(instance, at=AT)
        assert failed(check(instance, replaced(made, [*ENTRY, "integratedTime"], str(AT + 2)))) == (Step.LOG, 61)

    @pytest.mark.parametrize("value", ["1", str(AT + 100_000)])
    def test_altered_time(self, instance: Instance, value: str) -> None:
        """A time at which the certificate did not hold."""
        made = replaced(signed(instance, at=AT), [*ENTRY, "integratedTime"], value)
        assert failed(check(instance, made)) == (Step.WINDOWS, 61)

    @pytest.mark.parametrize("value", ["x", "1e3", " 1", "-1", "\u0661", 5, "1" * 30])
    def test_numbers(self, instance: Instance, value: Any) -> None:
        """Numbers are written as protobuf's JSON has them."""
        made = replaced(signed(instance), [*ENTRY, "logIndex"], value)
        assert failed(check(instance, made)) == (Step.STRUCTURE, 51)

    @pytest.mark.parametrize(("index", "size"), [(3, 4), (6, 7), (9, 10)])
    def test_another_size_of_the_tree(self, index: int, size: int) -> None:
        """The hashes that prove one index prove another in a tree of another size: the signed size decides.

        The library takes the size from the proof. The last of six leaves has two hashes beside its way, both to the
        left, as have the last of four, of seven and of ten.
        """
        instance = Instance()
        instance.log_v2 = TiledLog(instance.log_v2.key, before=5)
        made = signed(instance, log="v2")
        proof = entry_of(made)["inclusionProof"]
        assert (proof["logIndex"], proof["treeSize"]) == ("5", "6")
        assert check(instance, made).failure is None
        entry_of(made)["logIndex"] = proof["logIndex"] = str(index)
        proof["treeSize"] = str(size)
        bundle, sigstore = Bundle.from_json(json.dumps(made)), Root(instance.trusted_root()).sigstore
        assert Verifier(trusted_root=sigstore).verify_dsse(bundle, policy.UnsafeNoOp())
        assert failed(check(instance, made)) == (Step.LOG, 61)

    @pytest.mark.parametrize(
        ("before", "signer", "good"),
        [
            ("", "rekor2.test", True),
            ("", "sekor.test", False),
            ("", "rekor2.test.evil", False),
            ("\u2014 witness.test AAAAAAAAAAAA\n", "rekor2.test", True),
            ("\u2014 rekor2.test AAAAAAAAAAAA\n", "witness.test", False),
        ],
    )
    def test_who_signed_a_checkpoint(self, instance: Instance, before: str, signer: str, good: bool) -> None:
        """The line with the log's key names the log: nothing signs that name; lines of witnesses do not count."""
        made = signed(instance, log="v2")
        checkpoint = entry_of(made)["inclusionProof"]["checkpoint"]
        envelope = checkpoint["envelope"].replace("\u2014 rekor2.test", f"\u2014 {signer}")
        checkpoint["envelope"] = envelope.replace("\n\n", f"\n\n{before}")
        report = check(instance, made)
        assert report.failure is None if good else failed(report) == (Step.LOG, 61)

    def test_checkpoint_of_another_log(self) -> None:
        """A checkpoint is the log's own by its name as well, though the key be right."""
        instance = Instance()
        instance.log.origin = "other.test - 1"
        assert failed(check(instance, signed(instance))) == (Step.LOG, 61)

    def test_another_log_of_the_same_root(self) -> None:
        """An entry in the name of one log with the key of another, though the root trusts both, is neither's."""
        instance = Instance()
        other = TiledLogKey("https://other.test", "other.test")
        other_log = TiledLog(other)
        made = signed(instance, log="v2")

        def add(root: Any) -> None:
            root["tlogs"].append(other.listed())

        assert check(instance, made, change=add).failure is None
        instance.log_v2 = other_log
        made = signed(instance, log="v2")
        assert (
            check(instance, made, change=lambda root: root["tlogs"].append(LogKey("https://x").listed())).failure
            is None
        )
        # The id that the root lists with another key.
        wrong = TiledLogKey("https://other.test", "other.test").listed() | {"logId": other.listed()["logId"]}
        keys = TiledLogKey("https://more.test", "more.test", other.key).listed()
        assert failed(check(instance, made, change=lambda root: root.update(tlogs=[wrong, keys]))) == (Step.LOG, 61)

    def test_a_promise_in_the_second_log(self, instance: Instance) -> None:
        """Logs of the second version promise nothing: what says they did is refused."""
        made, first = signed(instance, log="v2"), signed(instance)
        entry_of(made)["inclusionPromise"] = entry_of(first)["inclusionPromise"]
        assert failed(check(instance, made)) == (Step.LOG, 61)
        entry_of(made)["integratedTime"] = entry_of(first)["integratedTime"]
        assert failed(check(instance, made)) == (Step.LOG, 61)

    def test_a_promise_of_no_time(self, instance: Instance) -> None:
        """A promise without its time is not verified by the library, so it is none."""
        made = replaced(signed(instance, stamped=True), [*ENTRY, "integratedTime"], "0")
        assert failed(check(instance, made)) == (Step.LOG, 61)


class TestWindows:
    """Rows 24 and 26: the root says from when to when; the library looks at no end but that of stamps."""

    @pytest.mark.parametrize(
        ("log", "part", "place", "step"),
        [
            ("v1", "tlogs", 0, Step.WINDOWS),
            ("v2", "tlogs", 1, Step.WINDOWS),
            ("v1", "ctlogs", 0, Step.WINDOWS),
            ("v2", "ctlogs", 0, Step.WINDOWS),
            ("v1", "certificateAuthorities", 0, Step.CERTIFICATE),
            ("v2", "certificateAuthorities", 0, Step.CERTIFICATE),
            ("v2", "timestampAuthorities", 0, Step.LOG),
        ],
    )
    def test_ended(self, instance: Instance, log: Logged, part: str, place: int, step: Step) -> None:
        """What was done after the root's end for a log or an authority does not count; what was done before does."""
        made = signed(instance, log=log)

        def ends(year: int) -> Callable[[Any], None]:
            def change(root: Any) -> None:
                holder = root[part][place]
                holder.get("publicKey", holder)["validFor"]["end"] = f"{year}-01-01T00:00:00Z"

            return change

        assert failed(check(instance, made, change=ends(2024))) == (step, 60 if step == Step.CERTIFICATE else 61)
        assert check(instance, made, change=ends(datetime.now(UTC).year + 2)).failure is None

    def test_not_begun(self, instance: Instance) -> None:
        """Nor does what was done before."""

        def begins(root: Any) -> None:
            root["tlogs"][0]["publicKey"]["validFor"]["start"] = "2030-01-01T00:00:00Z"

        assert code(check(instance, signed(instance, at=AT), change=begins)) == 61


class TestTimes:
    """Row 25."""

    @pytest.mark.parametrize("log", ["v1", "v2"])
    @pytest.mark.parametrize("later", [-5, 601])
    def test_the_certificate_did_not_hold(self, instance: Instance, log: Logged, later: int) -> None:
        """A certificate holds for ten minutes: what was signed after or before them is refused by its time."""
        assert failed(check(instance, signed(instance, log=log, later=later))) == (Step.WINDOWS, 61)

    def test_every_proven_time_counts(self) -> None:
        """A stamp of a time at which the certificate did not hold spoils a good promise."""
        instance = Instance()
        made = signed(instance, at=AT)
        signature = base64.b64decode(made["dsseEnvelope"]["signatures"][0]["sig"])
        stamp = base64.b64encode(instance.stamps.stamp(signature, AT + 3600)).decode()
        assert failed(check(instance, replaced(made, STAMPS, [{"signedTimestamp": stamp}]))) == (Step.WINDOWS, 61)

    def test_long_ago(self, instance: Instance) -> None:
        """A certificate need not hold now."""
        assert check(instance, signed(instance, at=AT, log="v2")).failure is None

    def test_stamp_of_another_signature(self, instance: Instance) -> None:
        """A stamp that was made for something else proves nothing."""
        made, other = signed(instance, log="v2"), signed(instance, log="v2")
        stamps = other["verificationMaterial"]["timestampVerificationData"]
        made["verificationMaterial"]["timestampVerificationData"] = stamps
        assert failed(check(instance, made)) == (Step.LOG, 61)

    def test_foreign_stamps(self, instance: Instance) -> None:
        """A stamp of an authority that the root does not name proves nothing; beside a promise it does no harm."""
        foreign = Instance(instance.provider, instance.ct_log, log=instance.log, log_v2=instance.log_v2)
        foreign.authority, foreign.stamps = instance.authority, StampAuthority()
        assert failed(check(instance, signed(foreign, log="v2"))) == (Step.LOG, 61)
        assert check(instance, signed(foreign, log="v1", stamped=True)).failure is None

    @pytest.mark.parametrize("stamps", [[], None, [{"signedTimestamp": "AAAA"}]])
    def test_no_stamp(self, instance: Instance, stamps: Any) -> None:
        """An entry of the second version without a stamp, or with what is none, has no time."""
        made = replaced(signed(instance, log="v2"), STAMPS, stamps)
        assert failed(check(instance, made)) == (Step.LOG, 61)

    def test_neither_promise_nor_stamp(self, instance: Instance) -> None:
        """The time that an entry merely says is none."""
        made = replaced(signed(instance), [*ENTRY, "inclusionPromise"], None)
        assert failed(check(instance, made)) == (Step.LOG, 61)


def test_the_first_log_is_no_second(instance: Instance) -> None:
    """Entries of both logs are not exchanged for each other's."""
    made, other = signed(instance, stamped=True), signed(instance, log="v2", payload=payload())
    made["verificationMaterial"]["tlogEntries"] = other["verificationMaterial"]["tlogEntries"]
    assert code(check(instance, json.dumps(made).encode())) == 61
    assert TransparencyLog(LogKey("https://rekor.test")).origin == "rekor.test - 1"
