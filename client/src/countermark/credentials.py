"""Credentials for one origin: from a token or password given to us, from the URL, or from netrc.

They are bound to the origin of the repository (or index) they were given for; the transport asks `header_for` before
each request, so a redirect or a foreign artifact base never sees them.
"""

from __future__ import annotations

import base64
import netrc
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from countermark.core.errors import UsageFault
from countermark.location import Origin, origin_of, parse_url

Notify = Callable[[str], None]
"""Tells the person one sentence that is not an error."""


@dataclass(frozen=True, slots=True)
class Secrets:
    """What the person gave besides the URL: a token, a user name with a password, a netrc file; never printed."""

    token: str | None = field(default=None, repr=False)
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    netrc: Path | None = None


@dataclass(frozen=True, slots=True)
class Credentials:
    """The value of an `Authorization` header and the one origin that may see it."""

    origin: Origin
    authorization: str = field(repr=False)

    def header_for(self, url: str) -> dict[str, str]:
        """Return the header to send to `url`: none when its origin is another."""
        try:
            same = origin_of(url) == self.origin
        except ValueError:
            return {}
        return {"Authorization": self.authorization} if same else {}


def find_credentials(url: str, secrets: Secrets, notify: Notify) -> Credentials | None:
    """Return the credentials for the origin of `url`, or None.

    A user name or password in the URL comes first, then a token, then user name and password, then netrc.

    Raises:
        UsageFault: a user name without a password, or the reverse; a token that cannot stand in a header.
    """
    parts = parse_url(url)
    if parts.scheme == "file":
        return None
    origin = origin_of(parts)
    found = _from_url(url) or _from_secrets(secrets) or _from_netrc(secrets.netrc, origin, notify)
    if found is None:
        return None
    if origin.scheme == "http" and not origin.is_loopback:
        notify(f"the credentials for {origin.host} travel unencrypted, since its address begins with http://")
    return Credentials(origin, found)


def _from_url(url: str) -> str | None:
    parts = urlsplit(url)
    if parts.username is None and parts.password is None:
        return None
    return _basic(unquote(parts.username or ""), unquote(parts.password or ""))


def _from_secrets(secrets: Secrets) -> str | None:
    if secrets.token:
        if not secrets.token.isascii() or any(ord(character) <= 32 for character in secrets.token):
            raise UsageFault("the token holds spaces or characters that no token has", "Copy it again, without quotes.")
        return f"Bearer {secrets.token}"
    if bool(secrets.username) != bool(secrets.password):
        raise UsageFault("a user name needs a password, and a password a user name", "Give both, or a token alone.")
    return _basic(secrets.username, secrets.password) if secrets.username and secrets.password else None


def _from_netrc(file: Path | None, origin: Origin, notify: Notify) -> str | None:
    if file is None:
        return None
    try:
        found = netrc.netrc(str(file)).authenticators(origin.host)
    except FileNotFoundError:
        return None
    except (netrc.NetrcParseError, OSError, UnicodeError) as error:
        notify(f"ignored the netrc file: {error}")
        return None
    return _basic(found[0], found[2]) if found and found[2] else None


def _basic(username: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode("ascii")
