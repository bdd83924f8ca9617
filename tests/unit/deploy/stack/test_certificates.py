"""The certificates of one start: good for this machine's names, for those who trust the authority, and nobody else."""

from __future__ import annotations

import ssl
import stat
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deploy.stack.certificates import LIFETIME, Certificates, make_certificates
from shared.clock import SystemClock
from tests.support.clock import SettableClock


def shake_hands(certificates: Certificates, authority: Path, name: str) -> None:
    """Do a TLS handshake in memory, as a client that trusts one authority alone and expects a name."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificates.certificate, certificates.key)
    client = ssl.create_default_context(cafile=authority)
    if sys.version_info >= (3, 13):
        assert client.verify_flags & ssl.VERIFY_X509_STRICT
    else:
        client.verify_flags |= ssl.VERIFY_X509_STRICT
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname=name)
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (ours, theirs):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert ours.version() is not None
    assert ours.getpeercert()


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_who_trusts_the_authority_trusts_this_machine(tmp_path: Path, name: str) -> None:
    """Strict verification passes for both names, and the key is its owner's alone."""
    certificates = make_certificates(tmp_path / "tls", SystemClock())
    shake_hands(certificates, certificates.authority, name)
    assert stat.S_IMODE(certificates.key.stat().st_mode) == 0o600


def test_other_names_and_other_authorities_are_refused(tmp_path: Path) -> None:
    """A name it is not for, and the authority of another start, do not pass."""
    certificates = make_certificates(tmp_path / "one", SystemClock())
    other = make_certificates(tmp_path / "two", SystemClock())
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shake_hands(certificates, certificates.authority, "packages.example.org")
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(certificates, other.authority, "localhost")


def test_they_end(tmp_path: Path) -> None:
    """A start's certificates do not outlive their time."""
    long_ago = datetime.now(UTC) - LIFETIME - timedelta(hours=1)
    certificates = make_certificates(tmp_path, SettableClock(long_ago))
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        shake_hands(certificates, certificates.authority, "localhost")


def test_a_start_makes_new_ones_and_keeps_no_key_of_the_authority(tmp_path: Path) -> None:
    """Three files lie there after each start, none of them signs anything, and the authority is another one."""
    first = make_certificates(tmp_path, SystemClock()).authority.read_bytes()
    again = make_certificates(tmp_path, SystemClock())
    assert again.authority.read_bytes() != first
    assert {path.name for path in tmp_path.iterdir()} == {"ca.pem", "server.pem", "server.key"}
    assert again.key.read_text().count("PRIVATE KEY") == 2
