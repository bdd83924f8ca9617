"""A CI service that gives its jobs identity tokens: a real issuer on loopback, over TLS, with RSA keys of its own."""

from __future__ import annotations

import http.server
import json
import secrets
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

from deploy.stack.certificates import Certificates, make_certificates
from shared.clock import SystemClock

AUDIENCE = "countermark"
"""Whom a deployment without an outside address has tokens made for."""


def server_tls(folder: Path) -> tuple[ssl.SSLContext, Certificates]:
    """Return the TLS of a server on loopback, and files of the authority that its clients have to trust."""
    made = make_certificates(folder, SystemClock())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.certificate, made.key)
    return context, made


def new_key() -> RSAKey:
    """Return a key that an issuer may sign with."""
    return RSAKey.generate_key(2048, {"kid": secrets.token_hex(8), "use": "sig", "alg": "RS256"})


@cache
def _first_key() -> RSAKey:
    # Making one takes a good part of a second.
    return new_key()


@dataclass(slots=True)
class CiIssuer:
    """The issuer.

    Attributes:
        url: as its tokens name it.
        keys: what it publishes; the last one signs.
        answers: path -> status, headers and body, in place of its own answers.
        asked: the paths it was asked for.
        job: claims of the job that asks for a token at `/job-token`.
    """

    url: str
    keys: list[RSAKey] = field(default_factory=lambda: [_first_key()])
    answers: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    job: Mapping[str, Any] = field(default_factory=dict)
    now: Callable[[], int] = lambda: int(SystemClock().now().timestamp())

    def token(self, claims: Mapping[str, Any], *, key: RSAKey | None = None, **header: Any) -> str:
        """Return a token of a job; claims that are None are left out."""
        signing = key or self.keys[-1]
        return jwt.encode({"alg": "RS256", "kid": signing.kid} | header, self.claims(claims), signing)

    def claims(self, claims: Mapping[str, Any]) -> dict[str, Any]:
        """Return all that a token says."""
        at = self.now()
        standing = {"iss": self.url, "aud": AUDIENCE, "iat": at, "nbf": at, "exp": at + 300}
        all_claims = standing | {"jti": secrets.token_hex(16)} | dict(claims)
        return {name: value for name, value in all_claims.items() if value is not None}

    def answer(self, path: str, query: Mapping[str, list[str]]) -> tuple[int, dict[str, str], bytes]:
        """Return what is answered."""
        self.asked.append(path)
        if path in self.answers:
            return self.answers[path]
        if path == "/.well-known/openid-configuration":
            return _json({"issuer": self.url, "jwks_uri": f"{self.url}/keys"})
        if path == "/keys":
            return _json({"keys": [key.as_dict(private=False) for key in self.keys]})
        if path == "/job-token":
            return _json({"value": self.token(dict(self.job) | {"aud": query["audience"][0]})})
        return 404, {}, b""


@contextmanager
def ci_issuer(tls: ssl.SSLContext) -> Iterator[CiIssuer]:
    """Run an issuer."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            status, headers, body = issuer.answer(parts.path, parse_qs(parts.query))
            self.send_response(status)
            for name, value in {"content-length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    issuer = CiIssuer(f"https://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield issuer
    finally:
        server.shutdown()
        server.server_close()


def _json(document: object) -> tuple[int, dict[str, str], bytes]:
    return 200, {"content-type": "application/json"}, json.dumps(document).encode()
