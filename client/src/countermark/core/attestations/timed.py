"""sigstore's verifier, made to tell which times it found proven. Imports sigstore.

It keeps them to itself, and says in the same words that a certificate is foreign and that it had expired. What is
overridden is no public part of it: should that be renamed, no times are told, and nothing verifies.
Source: trust contract sections 5.2 and 6 (25).
"""

from __future__ import annotations

from datetime import datetime

from cryptography.x509 import Certificate
from sigstore._internal.timestamp import TimestampVerificationResult
from sigstore.models import Bundle
from sigstore.verify import Verifier

from countermark.core.attestations.own_authority import check_held


class TimedBundle(Bundle):
    """A bundle that learns when it was signed.

    Attributes:
        times: what was proven; None before, and where it was not asked for.
    """

    times: list[datetime] | None = None


class ClockedVerifier(Verifier):
    """Tells a `TimedBundle` the times, and refuses a certificate that did not hold then.

    It may verify for several threads at once.
    """

    def _establish_time(self, bundle: Bundle) -> list[TimestampVerificationResult]:
        """Do as sigstore does.

        Raises:
            Failed: WINDOWS.
        """
        found = super()._establish_time(bundle)
        if isinstance(bundle, TimedBundle):
            bundle.times = [one.time for one in found]
            check_held(bundle.signing_certificate, bundle.times)
        return found


class Reached:
    """A policy of sigstore that takes every certificate, and tells that it was asked: chain, time and SCT are good
    then. Who it is is looked at afterwards, so that each failure has its own name.
    """

    def __init__(self) -> None:
        self.reached = False

    def verify(self, cert: Certificate) -> None:
        """Take the certificate."""
        self.reached = True
