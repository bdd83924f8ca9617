"""The log entry of a bundle, as far as it can be looked at before sigstore verifies it. Pure.

Source: trust contract sections 5.1, 5.2 ("What it leaves to the caller") and 6 (24, 25).
"""

from __future__ import annotations

from dataclasses import dataclass

from countermark.core.attestations.bundle import SigstoreBundle
from countermark.core.attestations.facts import LogKind
from countermark.core.attestations.results import Failed, Step

_KINDS = {("dsse", "0.0.1"): LogKind.V1, ("hashedrekord", "0.0.2"): LogKind.V2}
"""Kind and version of an entry -> the log that makes such of DSSE envelopes."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry that is of a kind that can be verified.

    Attributes:
        log_index: as the entry says; None where nothing that is signed says so: a log of the first version counts in
            another way than its proofs, and only its promise binds the number.
        origin: how the log names itself in the checkpoint.
        promised_at: seconds since 1970, where the log promised; not verified yet.
    """

    kind: LogKind
    log_index: int | None
    origin: str
    promised_at: int | None


def read_entry(bundle: SigstoreBundle) -> Entry:
    """Look at the entry of a bundle.

    Raises:
        Failed: LOG; there is none, it is of another kind, or lacks what would prove it and its time.
    """
    entry = bundle.entry
    if entry is None:
        raise Failed(Step.LOG, "it is in no transparency log")
    version, proof, promise = (entry.get(key) or {} for key in ("kindVersion", "inclusionProof", "inclusionPromise"))
    if not isinstance(version, dict) or not isinstance(proof, dict) or not isinstance(promise, dict):
        raise Failed(Step.STRUCTURE, "a part of its log entry is no object")
    kind = _KINDS.get((str(version.get("kind")), str(version.get("version"))))
    if kind is None:
        said = f"{str(version.get('kind'))[:40]!r} {str(version.get('version'))[:20]!r}"
        raise Failed(Step.LOG, f"its log entry is of the kind {said}, which no log makes of statements")
    index, promised_at = _number(entry.get("logIndex", "0")), _number(entry.get("integratedTime") or "0")
    origin = _origin(proof)
    if kind == LogKind.V2:
        if promise or not bundle.stamps:
            what = "holds a promise" if promise else "has no time stamp"
            raise Failed(Step.LOG, f"nothing proves when it was signed: an entry of the second version {what}")
        if index != _number(proof.get("logIndex", "0")):
            # Nothing binds the outer one there.
            raise Failed(Step.LOG, "its log entry names another index than its proof")
        return Entry(kind, index, origin, None)
    if promise and not promised_at:
        raise Failed(Step.LOG, "its log entry promises no time")
    if not promise and not bundle.stamps:
        raise Failed(Step.LOG, "nothing proves when it was signed: it has neither a log's promise nor a time stamp")
    return Entry(kind, index if promise else None, origin, promised_at if promise else None)


def _origin(proof: dict[str, object]) -> str:
    """Return the first line of a proof's checkpoint."""
    checkpoint = proof.get("checkpoint")
    envelope = checkpoint.get("envelope") if isinstance(checkpoint, dict) else None
    if not isinstance(envelope, str) or not envelope:
        raise Failed(Step.LOG, "its log entry has no proof with a checkpoint")
    return envelope.partition("\n")[0]


def _number(text: object) -> int:
    """Return a number as protobuf's JSON has those of 64 bits."""
    if not isinstance(text, str) or not (text.isascii() and text.isdigit()) or len(text) > 20:
        raise Failed(Step.STRUCTURE, "a number of its log entry is not written as one")
    return int(text)
