"""For whom a certificate was issued, and what it says of the build. Needs cryptography.

Source: Fulcio's certificate specification and its list of object identifiers; trust contract sections 4 and 6 (22).
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509

from countermark.core.attestations.facts import EXTENSIONS, SanType
from countermark.core.attestations.results import Failed, Step

_USER_NAME = x509.ObjectIdentifier(f"{EXTENSIONS}7")
"""Of the other name that stands for an account without an address."""

_TEXTS = frozenset(f"{EXTENSIONS}{number}" for number in range(1, 7))
"""The old extensions: their value is the text itself, not a UTF8String."""

_UTF8_STRING = 0x0C
_MAX_TEXT = 4096


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose a certificate is.

    Attributes:
        claims: object identifier -> value.
        issuer: who knew the identity; None where the certificate does not say.
    """

    san: str
    san_type: SanType
    claims: dict[str, str]
    issuer: str | None


def read_identity(certificate: x509.Certificate) -> Identity:
    """Read it of a certificate that was found good.

    Raises:
        Failed: CERTIFICATE; it has not exactly one name, its extensions contradict each other, or hold what nobody
            could read on a screen as it is.
    """
    try:
        extensions = certificate.extensions
        names = list(extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
        claims = {
            oid: _text(oid, extension.value)
            for extension in extensions
            if (oid := extension.oid.dotted_string).startswith(EXTENSIONS)
        }
        found = [_name(name) for name in names]
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension) as error:
        raise _bad(f"its extensions cannot be read: {error}") from error
    if len(names) != 1:
        raise _bad(f"it is for {len(names)} names, not for exactly one")
    [(san, kind)] = found
    for value in (san, *claims.values()):
        # Also what turns the direction of writing: a reader is to see what was compared.
        if len(value) > _MAX_TEXT or not value.isprintable():
            raise _bad(f"it holds a text that cannot be printed: {value[:60]!r}")
    old, new = claims.get(f"{EXTENSIONS}1"), claims.get(f"{EXTENSIONS}8")
    if old is not None and new is not None and old != new:
        raise _bad("its old and its new extension name different issuers")
    return Identity(san, kind, claims, new or old)


def _bad(detail: str) -> Failed:
    return Failed(Step.CERTIFICATE, f"the certificate does not say whose it is: {detail}")


def _name(name: x509.GeneralName) -> tuple[str, SanType]:
    match name:
        case x509.UniformResourceIdentifier():
            return name.value, SanType.URI
        case x509.RFC822Name():
            return name.value, SanType.EMAIL
        case x509.OtherName() if name.type_id == _USER_NAME:
            return _utf8_string(name.value), SanType.OTHER
        case _:
            return str(name.value), SanType.OTHER


def _text(oid: str, value: x509.ExtensionType) -> str:
    content = value.value if isinstance(value, x509.UnrecognizedExtension) else value.public_bytes()
    return content.decode() if oid in _TEXTS else _utf8_string(content)


def _utf8_string(content: bytes) -> str:
    """Return a UTF8String in DER.

    Raises:
        ValueError: it is none.
    """
    if len(content) < 2 or content[0] != _UTF8_STRING:
        raise ValueError("an extension holds no UTF8String")
    length, at = content[1], 2
    if length >= 0x80:
        digits = length & 0x7F
        if not 1 <= digits <= 2 or len(content) < 2 + digits:
            raise ValueError("an extension holds a text of a length that is not known")
        length, at = int.from_bytes(content[2 : 2 + digits], "big"), 2 + digits
        if length < 0x80 or length >> 8 * (digits - 1) == 0:
            raise ValueError("an extension holds a length that is not DER")
    if len(content) != at + length:
        raise ValueError("an extension holds more or less than one text")
    return content[at:].decode()
