"""The credentials of mirrors' upstreams: each is for one mirror and for one server.

Whoever may configure a mirror can point it anywhere; what the operator keeps secret goes to the server alone that it
was given for. Pure.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from countermark.core.names import IndexName
from shared.outside import server_of


def checked_secret(text: str) -> str:
    """Return the URL of a server with user and password, as `mirrors.credentials` has it.

    Raises:
        ValueError: it is none; the message repeats nothing of it.
    """
    server = server_of(text)
    parts = None if server is None or server.port == 0 else urlsplit(text)
    if parts is None or not parts.username or parts.password is None:
        raise ValueError("credentials of a mirror are written https://user:password@host, a URL of its upstream")
    return text


def authorization_for(secrets: Mapping[str, SecretStr], mirror: IndexName, url: str | None) -> str | None:
    """Return the Authorization header for a URL that is asked on behalf of a mirror, None where it gets none."""
    secret = secrets.get(str(mirror))
    if secret is None or url is None:
        return None
    url_of_server = secret.get_secret_value()
    if server_of(url_of_server) != server_of(url):
        return None
    given = urlsplit(url_of_server)
    pair = f"{unquote(given.username or '')}:{unquote(given.password or '')}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"
