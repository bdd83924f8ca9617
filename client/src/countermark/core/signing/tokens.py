"""Keys on PKCS#11 tokens: HSMs, smart cards, SoftHSM. Imported only when a key's URI asks for it.

One session per token, logged in once, and one operation at a time per library: python-pkcs11 initialises libraries
without asking them to lock (`C_Initialize(NULL)`), and a second login to a token is refused anyway.

A PIN is never retried. Tokens lock themselves after a few wrong ones, so a token that refused its PIN is not tried
again by this process, whoever asks; a token that tells of wrong tries is not tried by a process that was just started
(`KeyAccess.after_wrong_pin`); and the last try is left to a person.

Source: PKCS#11 (OASIS, v2.40) sections 5.1, 5.4 and 5.6; trust contract section 2.4.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

import pkcs11
from cryptography.hazmat.primitives.serialization import load_der_public_key
from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass, TokenFlag
from pkcs11.exceptions import (
    MultipleObjectsReturned,
    NoSuchKey,
    PinExpired,
    PinIncorrect,
    PinInvalid,
    PinLenRange,
    PinLocked,
    PKCS11Error,
    UserAlreadyLoggedIn,
)
from pkcs11.util import biginteger
from pkcs11.util.ec import encode_ec_public_key, encode_ecdsa_signature, encode_named_curve_parameters
from securesystemslib.signer import Key, SecretsHandler, Signature, Signer, SSlibKey

from countermark.core.signing.access import KeyAccess, SecretKind, Wanted
from countermark.core.signing.faults import KeyUnusable, TokenAway, words
from countermark.core.signing.uris import KeyUri, TokenPlace, parse_token, parse_uri

_SCHEMES = {"secp256r1": "ecdsa-sha2-nistp256", "secp384r1": "ecdsa-sha2-nistp384"}
"""Curve -> scheme of a signature. Source: securesystemslib, `HSMSigner`."""

_DIGESTS = {"ecdsa-sha2-nistp256": hashlib.sha256, "ecdsa-sha2-nistp384": hashlib.sha384}

_DEFAULT_NUMBER = 2
"""The key meant when a URI names none: PIV's signature slot, as in securesystemslib."""

_BAD_PIN = (PinIncorrect, PinInvalid, PinLenRange, PinExpired, PinLocked)

T = TypeVar("T")


class _Library:
    """A PKCS#11 library, loaded once per process."""

    def __init__(self, path: str) -> None:
        self.lock = threading.RLock()
        self.path = path
        self.tokens: dict[str, _Token] = {}
        try:
            self._loaded = pkcs11.lib(path)
        except PKCS11Error as error:
            remedy = "Install the token's PKCS#11 library, or correct its path."
            raise KeyUnusable(f"the PKCS#11 library {path} cannot be loaded: {words(error)}", remedy) from error

    def find(self, label: str | None) -> pkcs11.Token:
        """Return the token of a label, or the only one.

        Raises:
            KeyUnusable: there is none, or more than one.
        """
        found = [
            token
            for token in self._loaded.get_tokens(token_flags=TokenFlag.TOKEN_INITIALIZED)
            if label is None or token.label == label
        ]
        if len(found) == 1:
            return found[0]
        which = "initialised token" if label is None else f"token {label!r}"
        if found:
            raise KeyUnusable(f"there is more than one {which}", "Give the tokens labels of their own, and name one.")
        raise TokenAway(f"there is no {which} behind {self.path}")

    def token(self, label: str | None) -> _Token:
        """Return the token of a label, or the only one; the same object each time."""
        named = self.find(None).label if label is None else label
        return self.tokens.setdefault(named, _Token(self, named))

    def restart(self) -> None:
        """Begin anew: a library may hold on to a token that was away, and then no session helps."""
        for token in self.tokens.values():
            token.forget()
        with contextlib.suppress(PKCS11Error):
            self._loaded.finalize()
        self._loaded.initialize()


class _Token:
    """A token and its one session. All methods are called with the library's lock held."""

    def __init__(self, library: _Library, label: str) -> None:
        self.label = label
        self._library = library
        self._session: pkcs11.Session | None = None
        self._keys: dict[int, pkcs11.SignMixin] = {}
        self._refused = False

    def forget(self) -> None:
        """Close the session."""
        self._keys.clear()
        if self._session is not None:
            with contextlib.suppress(PKCS11Error):
                self._session.close()
            self._session = None

    def session(self, access: KeyAccess, *, writing: bool = False) -> pkcs11.Session:
        """Return the session, logged in."""
        if writing:
            self.forget()
        if self._session is None:
            self._session = self._login(access, writing)
        return self._session

    def private(self, number: int, access: KeyAccess) -> pkcs11.SignMixin:
        """Return a private key, found once per session."""
        if number not in self._keys:
            found = _found(self.session(access), ObjectClass.PRIVATE_KEY, number, self.label)
            assert isinstance(found, pkcs11.SignMixin)
            self._keys[number] = found
        return self._keys[number]

    def public(self, number: int, access: KeyAccess) -> SSlibKey:
        """Return a public key, without logging in where the token shows it to everybody."""
        if self._session is None:
            with self._library.find(self.label).open() as session, contextlib.suppress(KeyUnusable):
                return _as_key(_found(session, ObjectClass.PUBLIC_KEY, number, self.label))
        return _as_key(_found(self.session(access), ObjectClass.PUBLIC_KEY, number, self.label))

    def make(self, number: int | None, access: KeyAccess) -> tuple[int, SSlibKey]:
        """Make a P-256 key that can never leave the token; returns its number, the given one or a free one."""
        session = self.session(access, writing=True)
        taken = {bytes(found[Attribute.ID]) for kind in _BOTH for found in session.get_objects({Attribute.CLASS: kind})}
        if number is None:
            number = next(free for free in range(_DEFAULT_NUMBER, len(taken) + 3) if biginteger(free) not in taken)
        elif biginteger(number) in taken:
            raise KeyUnusable(f"token {self.label!r} has a key {number} already", "Name another number, or none.")
        curve = {Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}
        public, _ = session.create_domain_parameters(KeyType.EC, curve, local=True).generate_keypair(
            mechanism=Mechanism.EC_KEY_PAIR_GEN,
            store=True,
            id=biginteger(number),
            label=f"countermark {number}",
            capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY,
            private_template={Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False, Attribute.PRIVATE: True},
        )
        key = _as_key(public)
        self.forget()
        return number, key

    def _login(self, access: KeyAccess, writing: bool) -> pkcs11.Session:
        if self._refused:
            raise self._refusal()
        found = self._library.find(self.label)
        self._check_tries(found.flags, access)
        pin = access.secret(Wanted(SecretKind.PIN, self.label))
        try:
            return found.open(rw=writing, user_pin=pin)
        except UserAlreadyLoggedIn:
            # By another part of this process: logins are the application's, not the session's.
            return found.open(rw=writing)
        except _BAD_PIN as error:
            self._refused = True
            raise self._refusal() from error

    def _refusal(self) -> KeyUnusable:
        return KeyUnusable(
            f"token {self.label!r} refused its PIN, and is not tried again by this process",
            "Correct the PIN, log in once by hand (`countermark key check`), then start again: "
            "tokens lock themselves after a few wrong PINs.",
        )

    def _check_tries(self, flags: TokenFlag, access: KeyAccess) -> None:
        if flags & TokenFlag.USER_PIN_LOCKED:
            problem, remedy = "is locked", "Unlock it with its own tool and the security officer's PIN."
        elif flags & TokenFlag.USER_PIN_FINAL_TRY:
            problem, remedy = "has one try of its PIN left, which is not taken", "Log in with the token's own tool."
        elif flags & TokenFlag.USER_PIN_COUNT_LOW and not access.after_wrong_pin:
            problem = "tells of a wrong PIN since the last login, and is not tried"
            remedy = "Correct the PIN, log in once by hand (`countermark key check`), then start again."
        else:
            return
        raise KeyUnusable(f"token {self.label!r} {problem}", remedy)


_BOTH = (ObjectClass.PUBLIC_KEY, ObjectClass.PRIVATE_KEY)

_LIBRARIES: dict[str, _Library] = {}
_LIBRARIES_LOCK = threading.Lock()


class TokenSigner(Signer):
    """A key on a token. Any number of threads may use it, and others of the same token beside it."""

    def __init__(self, place: TokenPlace, public_key: SSlibKey, access: KeyAccess) -> None:
        """Name the key; the token is asked when it is to sign.

        Raises:
            KeyUnusable: it is none of those that tokens are used for.
        """
        if public_key.scheme not in _DIGESTS:
            raise KeyUnusable(
                f"a token signs with P-256 and P-384, not with {public_key.scheme}", "Take another kind of key."
            )
        self._place = place
        self._key = public_key
        self._access = access

    @property
    def public_key(self) -> SSlibKey:
        """The public half that was given."""
        return self._key

    @classmethod
    def from_priv_key_uri(
        cls, priv_key_uri: str, public_key: Key, secrets_handler: SecretsHandler | None = None
    ) -> TokenSigner:
        """Load by securesystemslib's interface; see `Signer`."""
        if secrets_handler is None or not isinstance(public_key, SSlibKey):
            raise KeyUnusable("a token needs its PIN and a key that it can have", "Give a secrets handler.")
        access = KeyAccess(secret=lambda wanted: secrets_handler(str(wanted)), environ=os.environ)
        return cls(parse_token(parse_uri(priv_key_uri)), public_key, access)

    def sign(self, payload: bytes) -> Signature:
        """Sign; see `Signer`.

        Raises:
            KeyUnusable: the token is away, refuses the PIN or has no such key.
        """
        digest = _DIGESTS[self._key.scheme](payload).digest()
        number = _DEFAULT_NUMBER if self._place.number is None else self._place.number

        def signed(token: _Token) -> bytes:
            return bytes(token.private(number, self._access).sign(digest, mechanism=Mechanism.ECDSA))

        raw = _on_token(self._place.label, self._access, signed)
        return Signature(self._key.keyid, encode_ecdsa_signature(raw).hex())


def public_on_token(uri: KeyUri, access: KeyAccess) -> tuple[SSlibKey, str]:
    """Return the public half of an `hsm:` URI, and the URI with number and label.

    Raises:
        KeyUnusable: there is no such token or key.
    """
    place = parse_token(uri)
    number = _DEFAULT_NUMBER if place.number is None else place.number

    def found(token: _Token) -> tuple[SSlibKey, str]:
        return token.public(number, access), str(TokenPlace(number, token.label))

    return _on_token(place.label, access, found)


def make_on_token(uri: KeyUri, access: KeyAccess) -> tuple[SSlibKey, str]:
    """Make a key on a token, where it stays; returns its public half and its URI.

    Raises:
        KeyUnusable: the token is away, refuses the PIN, or has a key of that number.
    """
    place = parse_token(uri)

    def made(token: _Token) -> tuple[SSlibKey, str]:
        number, key = token.make(place.number, access)
        return key, str(TokenPlace(number, token.label))

    return _on_token(place.label, access, made, again=False)


def _on_token(label: str | None, access: KeyAccess, act: Callable[[_Token], T], *, again: bool = True) -> T:
    """Let one operation happen on a token; where its session broke, once more on a new one.

    Args:
        again: whether a second try does no harm.
    """
    with _library(access.module_path) as library:
        try:
            return act(library.token(label))
        except TokenAway:
            pass
        except PKCS11Error as error:
            if not again:
                raise _fault(label, error) from error
        try:
            library.restart()
            return act(library.token(label))
        except PKCS11Error as error:
            raise _fault(label, error) from error


@contextlib.contextmanager
def _library(path: str) -> Iterator[_Library]:
    with _LIBRARIES_LOCK:
        library = _LIBRARIES.get(path)
        if library is None:
            library = _LIBRARIES[path] = _Library(path)
    with library.lock:
        yield library


def _fault(label: str | None, error: PKCS11Error) -> TokenAway:
    which = "the token" if label is None else f"token {label!r}"
    return TokenAway(f"{which} does not do what it is asked: {words(error)}")


def _found(session: pkcs11.Session, kind: ObjectClass, number: int, label: str) -> pkcs11.Key:
    what = "private" if kind is ObjectClass.PRIVATE_KEY else "public"
    try:
        return session.get_key(kind, KeyType.EC, id=biginteger(number))
    except NoSuchKey as error:
        remedy = "Correct the number in the URI, or make the key (`countermark key new`)."
        raise KeyUnusable(f"token {label!r} has no {what} EC key {number}", remedy) from error
    except MultipleObjectsReturned as error:
        raise KeyUnusable(f"token {label!r} has several {what} keys {number}", "Give each its number.") from error


def _as_key(found: pkcs11.Key) -> SSlibKey:
    assert isinstance(found, pkcs11.PublicKey)
    public = load_der_public_key(encode_ec_public_key(found))
    curve = getattr(getattr(public, "curve", None), "name", "unknown")
    if curve not in _SCHEMES:
        raise KeyUnusable(f"the key is of curve {curve}", "Take P-256 or P-384.")
    return SSlibKey.from_crypto(public, scheme=_SCHEMES[curve])
