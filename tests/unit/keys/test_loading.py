"""Keys in files and variables, made, loaded and refused; and key services whose library or settings are missing."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from securesystemslib.signer import CryptoSigner, Key, SecretsHandler, Signature, Signer

from countermark.core.signing.access import ConfiguredSecrets, KeyAccess, SecretKind, Wanted
from countermark.core.signing.faults import KeyUnusable
from countermark.core.signing.loading import CheckedSigner, load_signer
from countermark.core.signing.making import FoundKey, find_key, make_key

PASSPHRASE = "correct horse battery staple"


def access_to(folder: Path, passphrase: str = PASSPHRASE, **environ: str) -> KeyAccess:
    """Return access to a folder, with one passphrase for everything."""
    return KeyAccess(folder=folder, secret=lambda wanted: passphrase, environ=environ)


def refusal(uri: str, found: FoundKey, access: KeyAccess) -> str:
    """Return the words with which a key is refused; they name the key and the role."""
    with pytest.raises(KeyUnusable) as caught:
        load_signer(uri, found.key, access, role="snapshot")
    words = str(caught.value)
    assert f"key {found.key.keyid[:16]} of role snapshot cannot be used" in words
    assert PASSPHRASE not in words
    return words


@pytest.mark.parametrize("uri", ["file2:new/a.pem", "pkcs8:new/a.pem"])
def test_a_key_is_made_and_signs(uri: str, tmp_path: Path) -> None:
    """Its file belongs to its owner alone, is never written over, and the key found again is the one made."""
    access = access_to(tmp_path)
    made = make_key(uri, access)
    file = tmp_path / "new/a.pem"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert (b"ENCRYPTED" in file.read_bytes()) == uri.startswith("pkcs8:")
    signature = load_signer(made.uri, made.key, access).sign(b"payload")
    made.key.verify_signature(signature, b"payload")
    assert find_key(uri, access).key == made.key
    before = file.read_bytes()
    with pytest.raises(KeyUnusable, match="not written over"):
        make_key(uri, access)
    assert file.read_bytes() == before


def test_a_key_in_a_variable(tmp_path: Path) -> None:
    """A variable holds the same PEM as a file, encrypted or not."""
    for scheme in ("file2", "pkcs8"):
        made = make_key(f"{scheme}:{scheme}.pem", access_to(tmp_path))
        access = access_to(tmp_path, KEY=(tmp_path / f"{scheme}.pem").read_text())
        made.key.verify_signature(load_signer("env:KEY", made.key, access).sign(b"payload"), b"payload")
    assert "variable OTHER is not set" in refusal("env:OTHER", made, access)
    assert "no private key" in refusal("env:KEY", made, access_to(tmp_path, KEY="nonsense"))
    assert "more than" in refusal("env:KEY", made, access_to(tmp_path, KEY="x" * 70_000))


def test_the_wrong_way_to_open_a_file(tmp_path: Path) -> None:
    """Encrypted or not, wrong passphrase, no file, no key: each is told with what to do."""
    access = access_to(tmp_path)
    plain, sealed = make_key("file2:plain.pem", access), make_key("pkcs8:sealed.pem", access)
    assert "Write pkcs8: instead" in refusal("file2:sealed.pem", sealed, access)
    assert "is not encrypted" in refusal("pkcs8:plain.pem", plain, access)
    assert "Correct the passphrase" in refusal("pkcs8:sealed.pem", sealed, access_to(tmp_path, "wrong wrong wrong"))
    assert "No such file" in refusal("file2:absent.pem", plain, access)
    assert "Is a directory" in refusal("file2:.", plain, access)
    (tmp_path / "empty.pem").touch()
    assert "no private key" in refusal("file2:empty.pem", plain, access)
    (tmp_path / "huge.pem").write_bytes(b"x" * 70_000)
    assert "more than" in refusal("file2:huge.pem", plain, access)


def test_a_file_and_a_public_key_that_do_not_belong_together(tmp_path: Path) -> None:
    """Another key of the same kind, of another kind, and one that cannot sign are refused when loaded."""
    access = access_to(tmp_path)
    one, _ = make_key("file2:one.pem", access), make_key("file2:two.pem", access)
    assert "private half of another key" in refusal("file2:two.pem", one, access)
    for name, private in (("ec", generate_ec(SECP256R1())), ("x", X25519PrivateKey.generate())):
        pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (tmp_path / f"{name}.pem").write_bytes(pem)
        assert "do not fit" in refusal(f"file2:{name}.pem", one, access)


@pytest.mark.parametrize("passphrase", ["", "short"])
def test_a_weak_passphrase_makes_no_key(passphrase: str, tmp_path: Path) -> None:
    """Whoever has the file may guess for ever: fewer than twelve characters are refused, and nothing is written."""
    with pytest.raises(KeyUnusable, match="fewer than 12"):
        make_key("pkcs8:a.pem", access_to(tmp_path, passphrase))
    assert list(tmp_path.iterdir()) == []


class Another(Signer):
    """A store that signs with another key than it should, under the name of the right one."""

    def __init__(self, expected: Key) -> None:
        self._expected = expected
        self._signer = CryptoSigner(Ed25519PrivateKey.generate())

    @property
    def public_key(self) -> Key:
        """The expected key."""
        return self._expected

    @classmethod
    def from_priv_key_uri(
        cls, priv_key_uri: str, public_key: Key, secrets_handler: SecretsHandler | None = None
    ) -> Signer:
        """Not needed."""
        raise NotImplementedError

    def sign(self, payload: bytes) -> Signature:
        """Sign wrongly."""
        if payload == b"broken":
            raise ZeroDivisionError("the wire\nis cut")
        return Signature(self._expected.keyid, self._signer.sign(payload).signature)


def test_a_wrong_signature_never_leaves() -> None:
    """What a store signs is verified first, and whatever a store raises becomes one error with words."""
    key = CryptoSigner(Ed25519PrivateKey.generate()).public_key
    checked = CheckedSigner(Another(key), key, "key abc of role bins")
    with pytest.raises(KeyUnusable, match=r"key abc of role bins cannot be used: .* another key than the public"):
        checked.sign(b"payload")
    with pytest.raises(KeyUnusable, match="ZeroDivisionError: the wire is cut"):
        checked.sign(b"broken")


def test_key_services_without_library_or_settings(tmp_path: Path) -> None:
    """A missing extra, region or address fails when the key is loaded, with what to install or set."""
    made = make_key("file2:a.pem", access_to(tmp_path))
    access = access_to(tmp_path)
    assert "Install countermark[gcpkms]" in refusal("gcpkms:projects/p/x", made, access)
    assert "Install countermark[azurekms]" in refusal("azurekms://v.vault.azure.net/keys/k/1", made, access)
    assert "Set it to the https URL" in refusal("hv:name/1", made, access)
    assert "names no version" in refusal("hv:name", made, access_to(tmp_path, VAULT_ADDR="http://127.0.0.1:1"))
    words = refusal("hsm:2", made, KeyAccess(folder=tmp_path))
    assert "signs with P-256 and P-384" in words
    with pytest.raises(KeyUnusable, match="are made with the means of their store"):
        make_key("awskms:abc", access)


def test_a_pkcs11_library_that_is_none(tmp_path: Path) -> None:
    """A missing path, and a path where nothing can be loaded, name the setting and the file."""
    with pytest.raises(KeyUnusable, match=r"signing\.pkcs11_module"):
        find_key("hsm:2", KeyAccess())
    with pytest.raises(KeyUnusable, match="cannot be loaded"):
        find_key("hsm:2", KeyAccess(module=str(tmp_path / "none.so")))


def test_configured_secrets(tmp_path: Path) -> None:
    """PINs go by label, passphrases by key id or how it begins; a file is read each time it is asked for."""
    file = tmp_path / "pin"
    file.write_text("4711\n")
    source = ConfiguredSecrets({"token:a": f"file:{file}", "key:01234567": "open"}, "signing.secrets")
    assert source(Wanted(SecretKind.PASSPHRASE, "0123456789abcdef")) == "open"
    assert source(Wanted(SecretKind.PIN, "a")) == "4711"
    file.write_text("4712")
    assert source(Wanted(SecretKind.PIN, "a")) == "4712"
    with pytest.raises(KeyUnusable, match=r'PIN of token b is not configured.*signing.secrets, as "token:b"'):
        source(Wanted(SecretKind.PIN, "b"))
    for content in (b"", b"\xff", b"x" * 70_000):
        file.write_bytes(content)
        with pytest.raises(KeyUnusable, match="holds no secret"):
            source(Wanted(SecretKind.PIN, "a"))
    file.unlink()
    with pytest.raises(KeyUnusable, match="cannot be read"):
        source(Wanted(SecretKind.PIN, "a"))
    twice = ConfiguredSecrets({"key:01234567": "a", "key:0123456789": "b"}, "signing.secrets")
    with pytest.raises(KeyUnusable, match="configured twice"):
        twice(Wanted(SecretKind.PASSPHRASE, "0123456789abcdef"))
