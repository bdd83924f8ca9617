"""Time stamps of RFC 3161, by the authorities that a trust root lists. Needs rfc3161-client and cryptography.

Source: RFC 3161 section 2.4.2; trust contract sections 5.1, 5.2 and 6 (25).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography.x509 import Certificate, load_der_x509_certificate
from rfc3161_client import TimeStampResponse, VerificationError, Verifier, VerifierBuilder, decode_timestamp_response
from sigstore_models.trustroot import v1 as models

from countermark.core.attestations.results import Failed, Step


@dataclass(frozen=True, slots=True)
class _Authority:
    certificates: list[Certificate]
    start: datetime
    end: datetime | None

    def verifier(self) -> Verifier:
        signer, *between, root = self.certificates
        builder = VerifierBuilder().tsa_certificate(signer).add_root_certificate(root)
        for certificate in between:
            builder = builder.add_intermediate_certificate(certificate)
        return builder.build()


class StampAuthorities:
    """The time stamping authorities of one trust root, or of several."""

    def __init__(self, listed: Sequence[models.CertificateAuthority]) -> None:
        """Read them.

        Raises:
            ValueError: a certificate is none.
        """
        self._authorities = [
            _Authority(
                [load_der_x509_certificate(one.raw_bytes) for one in authority.cert_chain.certificates],
                authority.valid_for.start,
                authority.valid_for.end,
            )
            for authority in listed
        ]

    def __bool__(self) -> bool:
        return bool(self._authorities)

    @property
    def certificates(self) -> list[Certificate]:
        """All certificates of theirs."""
        return [certificate for authority in self._authorities for certificate in authority.certificates]

    def times(self, stamps: Sequence[bytes], signature: bytes) -> list[datetime]:
        """Return when a signature was there, as each stamp says that one of the authorities made; at least one.

        Stamps of others say nothing, and do no harm: whoever signs may ask several authorities.

        Raises:
            Failed: LOG; a stamp cannot be read, or none is of these authorities, of this signature and of a time at
                which the root trusted who made it.
        """
        try:
            read = [decode_timestamp_response(stamp) for stamp in stamps]
        except ValueError as error:
            raise Failed(Step.LOG, "a time stamp cannot be read") from error
        found = [time for stamp in read if (time := self._time(stamp, signature)) is not None]
        if not found:
            what = (
                "no time stamp is one of a trusted authority over this signature" if stamps else "it has no time stamp"
            )
            raise Failed(Step.LOG, f"nothing proves when it was signed: {what}")
        return found

    def _time(self, stamp: TimeStampResponse, signature: bytes) -> datetime | None:
        for authority in self._authorities:
            if len(authority.certificates) < 2:
                continue
            try:
                # One verifier for each stamp: it takes apart what it is given.
                authority.verifier().verify_message(stamp, signature)
            except (VerificationError, ValueError):
                continue
            time = stamp.tst_info.gen_time
            if authority.start <= time and (authority.end is None or time <= authority.end):
                return time
        return None
