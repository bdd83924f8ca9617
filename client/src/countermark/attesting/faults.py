"""The errors of making attestations, and of what they are checked against."""

from __future__ import annotations

from countermark.core.errors import ClientError

_LONGEST = 300
"""Characters of another library's message that are repeated."""


class AttestFailed(ClientError):
    """No attestation was made: the statement, the identity, an instance's service or the result is not usable."""

    link = "attest"


class TrustFaulty(ClientError):
    """What an index is trusted by has ended, is about to, or cannot be used."""

    link = "trust"


def words(error: BaseException) -> str:
    """Return what another library said, and what it said that about, on one line and bounded."""
    told = [f"{type(error).__name__}: {error}" if str(error) else type(error).__name__]
    if error.__cause__ is not None and str(error.__cause__):
        told.append(str(error.__cause__))
    return " ".join(" ".join(told).split()).rstrip(".")[:_LONGEST]
