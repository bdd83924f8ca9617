"""Loads the signer of a URI, and sees to it that nothing wrong ever leaves it."""

from __future__ import annotations

from securesystemslib.exceptions import Error as SecureSystemsError
from securesystemslib.exceptions import KeyMismatchError
from securesystemslib.signer import CryptoSigner, Key, SecretsHandler, Signature, Signer, SSlibKey

from countermark.core.signing.access import KeyAccess, SecretKind, Wanted
from countermark.core.signing.faults import KeyUnusable, words
from countermark.core.signing.files import read_private
from countermark.core.signing.services import REMEDIES, open_service_key
from countermark.core.signing.uris import ENCRYPTED_FILE, FILE, HARDWARE, VARIABLE, KeyUri, parse_token, parse_uri

_TRIAL = b"countermark: does this key belong to its public half?"
"""What is signed when a key is loaded: no metadata, and nothing that could be taken for some."""

_BY_ITSELF = "See to the store of the key; it is used again by itself."

_MISMATCH = "Correct the URI or the public key: nothing was signed with it."


def load_signer(uri: str, key: Key, access: KeyAccess, *, role: str = "") -> Signer:
    """Return the signer of a private key, after it has shown that it signs as its public half says.

    Its `sign` verifies every signature before it returns it, and raises nothing but `KeyUnusable`.

    Args:
        uri: where the private half is; see `uris`.
        key: the public half.
        access: folders, secrets and variables that may be used.
        role: what the key is for, for messages.

    Raises:
        KeyUnusable: it cannot be used; the message names role and key id, and says what to do.
    """
    name = f"key {key.keyid[:16]}" + (f" of role {role}" if role else "")
    try:
        place = parse_uri(uri)
        checked = CheckedSigner(_open(place, key, access), key, name, REMEDIES.get(place.scheme, _BY_ITSELF))
    except KeyUnusable as error:
        raise error.about(name) from error
    checked.sign(_TRIAL)
    return checked


class CheckedSigner(Signer):
    """A signer whose every signature is verified with the public key before anybody gets it.

    URIs and public keys that do not belong together sign happily, and hardware fails in ways of its own.
    """

    def __init__(self, inner: Signer, key: Key, name: str, remedy: str = _BY_ITSELF) -> None:
        self._inner = inner
        self._remedy = remedy
        self._key = key
        self._name = name

    @property
    def public_key(self) -> Key:
        """The public half, as it was given."""
        return self._key

    @classmethod
    def from_priv_key_uri(
        cls, priv_key_uri: str, public_key: Key, secrets_handler: SecretsHandler | None = None
    ) -> Signer:
        """Load by securesystemslib's interface; see `load_signer`."""
        if secrets_handler is None:
            return load_signer(priv_key_uri, public_key, KeyAccess())
        return load_signer(priv_key_uri, public_key, KeyAccess(secret=lambda wanted: secrets_handler(str(wanted))))

    def sign(self, payload: bytes) -> Signature:
        """Sign, and verify.

        Raises:
            KeyUnusable: there is no signature, or it is not one of the public key.
        """
        try:
            signature = self._inner.sign(payload)
        except KeyUnusable as error:
            raise error.about(self._name) from error
        except Exception as error:
            # Each store has errors of its own, and the signers' interface names none of them.
            raise KeyUnusable(words(error), self._remedy).about(self._name) from error
        try:
            self._key.verify_signature(signature, payload)
        except SecureSystemsError as error:
            problem = "what its URI names signs with another key than the public one"
            raise KeyUnusable(problem, _MISMATCH).about(self._name) from error
        return signature


def _open(uri: KeyUri, key: Key, access: KeyAccess) -> Signer:
    if not isinstance(key, SSlibKey):
        raise KeyUnusable("its public half is of a kind that signs nothing here", "Take Ed25519 or P-256.")
    if uri.scheme in (FILE, ENCRYPTED_FILE, VARIABLE):
        private = read_private(uri, access, lambda: access.secret(Wanted(SecretKind.PASSPHRASE, key.keyid)))
        try:
            return CryptoSigner(private, key)
        except KeyMismatchError as error:
            raise KeyUnusable("what its URI names is the private half of another key", _MISMATCH) from error
        except (ValueError, SecureSystemsError) as error:
            raise KeyUnusable(f"private and public key do not fit: {words(error)}", _MISMATCH) from error
    if uri.scheme == HARDWARE:
        check_token_library()
        from countermark.core.signing.tokens import TokenSigner  # noqa: PLC0415 - needs an extra

        return TokenSigner(parse_token(uri), key, access)
    return open_service_key(uri, key, access)


def check_token_library() -> None:
    """Refuse tokens where python-pkcs11 is not installed.

    Raises:
        KeyUnusable: says what to install.
    """
    try:
        import pkcs11  # noqa: F401, PLC0415 - an extra
    except ImportError as error:
        raise KeyUnusable(
            "keys on tokens need the library python-pkcs11, which is not installed", "Install countermark[hsm]."
        ) from error
