"""Makes keys where their store allows it, and shows the public half of those that exist."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.exceptions import Error as SecureSystemsError
from securesystemslib.signer import CryptoSigner, SSlibKey

from countermark.core.signing.access import KeyAccess, SecretKind, Wanted
from countermark.core.signing.faults import KeyUnusable, words
from countermark.core.signing.files import path_of, read_private, write_private
from countermark.core.signing.loading import check_token_library, load_signer
from countermark.core.signing.services import make_in_vault, public_in_service
from countermark.core.signing.uris import ENCRYPTED_FILE, FILE, HARDWARE, VARIABLE, VAULT, KeyUri, parse_uri


@dataclass(frozen=True, slots=True)
class FoundKey:
    """A public key and the URI of its private half."""

    key: SSlibKey
    uri: str


def make_key(place: str, access: KeyAccess) -> FoundKey:
    """Make a key: Ed25519 in a file or in Vault, P-256 on a token, which it cannot leave.

    Args:
        place: a URI; of `hsm:` the number and of `hv:` the version may be left out.
        access: folders and secrets; a passphrase that is asked for is a new one.

    Raises:
        KeyUnusable: the store makes no keys here, or has one of that name, or cannot be used.
    """
    uri = parse_uri(place)
    if uri.scheme in (FILE, ENCRYPTED_FILE):
        made = _in_file(uri, access)
    elif uri.scheme == HARDWARE:
        check_token_library()
        from countermark.core.signing.tokens import make_on_token  # noqa: PLC0415 - needs an extra

        made = FoundKey(*make_on_token(uri, access))
    elif uri.scheme == VAULT:
        made = FoundKey(*make_in_vault(uri, access))
    else:
        raise KeyUnusable(
            f"keys of {uri.scheme}: are made with the means of their store",
            "Make it there (P-256, for signing), then `countermark key show` its URI.",
        )
    load_signer(made.uri, made.key, access)
    return made


def find_key(place: str, access: KeyAccess) -> FoundKey:
    """Return the public half of the key of a URI, and the URI with everything that was left out of it.

    Raises:
        KeyUnusable: it cannot be had.
    """
    uri = parse_uri(place)
    if uri.scheme in (FILE, ENCRYPTED_FILE, VARIABLE):
        private = read_private(uri, access, lambda: access.secret(Wanted(SecretKind.PASSPHRASE, _name_of(uri))))
        try:
            return FoundKey(CryptoSigner(private).public_key, place)
        except (ValueError, SecureSystemsError) as error:
            raise KeyUnusable(f"that is no key that signs: {words(error)}", "Take Ed25519 or P-256.") from error
    if uri.scheme == HARDWARE:
        check_token_library()
        from countermark.core.signing.tokens import public_on_token  # noqa: PLC0415 - needs an extra

        return FoundKey(*public_on_token(uri, access))
    return FoundKey(*public_in_service(uri, access))


def _in_file(uri: KeyUri, access: KeyAccess) -> FoundKey:
    path = path_of(uri, access)
    if path.exists():
        # Before a person thinks of a passphrase; `write_private` is what never writes over one.
        raise KeyUnusable(f"{path} exists and is not written over", "Name another file.")
    private = Ed25519PrivateKey.generate()
    key = CryptoSigner(private).public_key
    is_encrypted = uri.scheme == ENCRYPTED_FILE
    passphrase = access.secret(Wanted(SecretKind.PASSPHRASE, key.keyid, is_new=True)) if is_encrypted else None
    write_private(path, private, passphrase)
    return FoundKey(key, str(uri))


def _name_of(uri: KeyUri) -> str:
    """Return what a person is told whose passphrase is asked, before the key id is known."""
    return uri.place
