"""URIs of private keys, taken apart strictly. Pure.

| URI | private half |
|---|---|
| `file2:<path>` | PKCS#8 in PEM, not encrypted |
| `pkcs8:<path>` | PKCS#8 in PEM, encrypted; the passphrase is never in the URI |
| `env:<variable>` | the same, of either kind, in a variable of the environment |
| `hsm:<id>?label=<token>` | key of that number on a PKCS#11 token; the PIN is never in the URI |
| `hv:<name>/<version>` | key of Vault's or OpenBao's Transit engine |
| `awskms:<key>`, `gcpkms:<key>`, `azurekms://<key>` | key of a cloud's key service |

Source: trust contract section 2.4; securesystemslib, `securesystemslib.signer`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlsplit

from countermark.core.signing.faults import KeyUnusable

FILE = "file2"
ENCRYPTED_FILE = "pkcs8"
VARIABLE = "env"
HARDWARE = "hsm"
VAULT = "hv"
CLOUDS = ("awskms", "gcpkms", "azurekms")
SCHEMES = (FILE, ENCRYPTED_FILE, VARIABLE, HARDWARE, VAULT, *CLOUDS)

_LONGEST = 2000
"""Characters of a URI."""

_MOST_ID = (1 << 64) - 1
"""The highest number of a key on a token: the identifiers of PKCS#11 are bytes, these fit into eight."""

_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_VAULT_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\Z")


@dataclass(frozen=True, slots=True)
class KeyUri:
    """A URI: its scheme and the rest."""

    scheme: str
    place: str

    def __str__(self) -> str:
        return f"{self.scheme}:{self.place}"


@dataclass(frozen=True, slots=True)
class TokenPlace:
    """A key on a token. Without a label it is on the only token; without a number a new key gets a free one."""

    number: int | None
    label: str | None

    def __str__(self) -> str:
        query = "" if self.label is None else "?" + urlencode({"label": self.label})
        return f"{HARDWARE}:{'' if self.number is None else self.number}{query}"


@dataclass(frozen=True, slots=True)
class VaultPlace:
    """A key in Vault; without a version the newest is meant."""

    name: str
    version: int | None

    def __str__(self) -> str:
        return f"{VAULT}:{self.name}" + ("" if self.version is None else f"/{self.version}")


def parse_uri(text: str) -> KeyUri:
    """Take a URI apart, and refuse what no scheme understands.

    Raises:
        KeyUnusable: the scheme is unknown, or the rest is not as the scheme wants it.
    """
    scheme, colon, place = text.partition(":")
    if not colon or scheme not in SCHEMES:
        known = ", ".join(f"{known}:" for known in SCHEMES)
        raise KeyUnusable(f"{_shown(scheme)!r} is no scheme of a private key", f"There are {known}.")
    if len(text) > _LONGEST or not text.isprintable():
        raise KeyUnusable(f"the {scheme}: URI has more than {_LONGEST} characters or some that nobody sees")
    uri = KeyUri(scheme, place)
    if scheme == HARDWARE:
        parse_token(uri)
    elif scheme == VAULT:
        parse_vault(uri)
    elif scheme == VARIABLE and not _VARIABLE_NAME.match(place):
        # The value may be the key itself, written there by mistake: it is not repeated.
        raise KeyUnusable("an env: URI names a variable of the environment", "Write env:NAME.")
    elif not place:
        raise KeyUnusable(f"the {scheme}: URI names nothing", f"Write {_example(scheme)}.")
    return uri


def parse_token(uri: KeyUri) -> TokenPlace:
    """Read an `hsm:` URI.

    Raises:
        KeyUnusable: it is not `hsm:[<number>][?label=<token>]`.
    """
    remedy = "Write hsm:<number>?label=<token>; the PIN comes from the secrets, never from the URI."
    parts = urlsplit(str(uri))
    pairs = parse_qsl(parts.query, keep_blank_values=True, max_num_fields=10)
    unknown = sorted({name for name, _ in pairs} - {"label"})
    if unknown or len(pairs) > 1 or parts.fragment or parts.netloc:
        told = f"knows no {', '.join(map(_shown, unknown))}" if unknown else "says something twice or too much"
        raise KeyUnusable(f"an hsm: URI {told}", remedy)
    if parts.path and not (parts.path.isascii() and parts.path.isdecimal() and int(parts.path[:25]) <= _MOST_ID):
        raise KeyUnusable("the key of an hsm: URI is not a whole number", remedy)
    label = dict(pairs).get("label")
    if label == "" or (label and len(label.encode()) > 32):
        raise KeyUnusable("the label of a token has 1 to 32 bytes", remedy)
    return TokenPlace(int(parts.path) if parts.path else None, label)


def parse_vault(uri: KeyUri) -> VaultPlace:
    """Read an `hv:` URI.

    Raises:
        KeyUnusable: it is not `hv:<name>[/<version>]`.
    """
    name, _, version = uri.place.partition("/")
    is_number = version.isascii() and version.isdecimal() and len(version) < 10 and int(version) > 0
    if not _VAULT_NAME.match(name) or not (is_number or "/" not in uri.place):
        raise KeyUnusable("an hv: URI names a key of Transit and its version", "Write hv:<name>/<version>.")
    return VaultPlace(name, int(version) if version else None)


def _example(scheme: str) -> str:
    key = {"gcpkms": "projects/.../cryptoKeyVersions/1", "azurekms": "//<vault>.vault.azure.net/keys/<name>/<version>"}
    return f"{scheme}:" + key.get(scheme, "<path>" if scheme in (FILE, ENCRYPTED_FILE) else "<key id>")


def _shown(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text[:20])
