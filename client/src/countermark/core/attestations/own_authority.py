"""A trust root of an organisation's own certificate authority, with time stamps and no log. Needs sigstore's models.

Written as a Sigstore trust root without transparency logs and CT logs. Nothing tells then that a certificate was issued
that should not have been, so a policy has to say that it takes signatures without a log.
Source: trust contract sections 4 (`log`), 5.1; ADR 0041.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from cryptography.x509 import Certificate, ExtendedKeyUsage, ExtensionNotFound, KeyUsage, load_der_x509_certificate
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import Criticality, ExtensionPolicy, PolicyBuilder, Store, VerificationError
from sigstore_models.trustroot import v1 as models

from countermark.core.attestations.results import Failed, Step
from countermark.core.attestations.stamps import StampAuthorities


class OwnAuthority:
    """Such a root, read."""

    def __init__(self, document: models.TrustedRoot) -> None:
        """Take a document that names no logs.

        Raises:
            ValueError: a certificate is none, or there is no authority of certificates or of time stamps.
        """
        self.authorities = [(one.valid_for, _chain(one)) for one in document.certificate_authorities]
        self.stamp_authorities = StampAuthorities(document.timestamp_authorities)
        if not self.authorities or not all(chain for _, chain in self.authorities):
            raise ValueError("it names no certificate authority")
        if not self.stamp_authorities:
            raise ValueError("it names neither a transparency log nor a time stamping authority")

    @property
    def certificates(self) -> list[Certificate]:
        """All certificates of its authorities."""
        return [certificate for _, chain in self.authorities for certificate in chain]

    def check(self, certificate: Certificate, stamps: Sequence[bytes], signature: bytes) -> list[datetime]:
        """Check certificate and time; returns when it was signed, at least one time.

        Raises:
            Failed: LOG without a stamp that counts, WINDOWS where the certificate did not hold then, CERTIFICATE.
        """
        times = self.stamp_authorities.times(stamps, signature)
        check_held(certificate, times)
        for time in times:
            self._check_chain(certificate, time)
        _check_usage(certificate)
        return times

    def _check_chain(self, certificate: Certificate, at: datetime) -> None:
        """Build the chain from the authorities that the root trusted at a time."""
        trusted = [
            one
            for period, chain in self.authorities
            if period.start <= at and (period.end is None or at <= period.end)
            for one in chain
        ]
        if not trusted:
            raise Failed(Step.CERTIFICATE, "the trust root did not trust the certificate's issuer when it signed")
        authorities, leaf = ExtensionPolicy.webpki_defaults_ca(), ExtensionPolicy.webpki_defaults_ee()
        # Clients' certificates have another extended usage by default; that of ours is looked at afterwards.
        authorities = authorities.may_be_present(ExtendedKeyUsage, Criticality.AGNOSTIC, None)
        leaf = leaf.may_be_present(ExtendedKeyUsage, Criticality.AGNOSTIC, None)
        builder = PolicyBuilder().store(Store(trusted)).time(at)
        verifier = builder.extension_policies(ca_policy=authorities, ee_policy=leaf).build_client_verifier()
        try:
            verifier.verify(certificate, [])
        except (VerificationError, ValueError) as error:
            raise Failed(Step.CERTIFICATE, f"no trusted authority issued the certificate: {error}") from error


def check_held(certificate: Certificate, times: Sequence[datetime]) -> None:
    """Check that a certificate held at all times that are proven.

    Raises:
        Failed: WINDOWS.
    """
    for time in times:
        if not certificate.not_valid_before_utc <= time <= certificate.not_valid_after_utc:
            raise Failed(Step.WINDOWS, f"the certificate did not hold when it signed, at {time:%Y-%m-%d %H:%M:%S} UTC")


def _check_usage(certificate: Certificate) -> None:
    try:
        usage = certificate.extensions.get_extension_for_class(KeyUsage).value
        purposes = certificate.extensions.get_extension_for_class(ExtendedKeyUsage).value
    except (ExtensionNotFound, ValueError) as error:
        raise Failed(Step.CERTIFICATE, "the certificate does not say what it is for") from error
    if not usage.digital_signature or ExtendedKeyUsageOID.CODE_SIGNING not in purposes:
        raise Failed(Step.CERTIFICATE, "the certificate is not for signing code")


def _chain(authority: models.CertificateAuthority) -> list[Certificate]:
    return [load_der_x509_certificate(one.raw_bytes) for one in authority.cert_chain.certificates]
