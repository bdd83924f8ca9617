"""Signing in by another device, against a provider that answers as it likes. Source: RFC 8628 section 3.5."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs

import pytest

from countermark.attesting.device import Shown, device_token
from countermark.attesting.faults import AttestFailed
from tests.unit.client.loopback import Loopback, reply, serving

BEGUN = {"device_code": "d", "user_code": "AB-CD", "verification_uri": "https://p.test/device", "expires_in": 60}


class Provider:
    """An identity provider; each answer of `tokens` is given once, the last one again and again."""

    def __init__(self, server: Loopback) -> None:
        self.url = f"{server.url}/oidc"
        self.found: Any = {
            "device_authorization_endpoint": f"{self.url}/device",
            "token_endpoint": f"{self.url}/token",
        }
        self.begun: Any = BEGUN
        self.tokens: list[tuple[int, Any]] = []
        self.asked: list[dict[str, list[str]]] = []
        server.paths["/oidc/.well-known/openid-configuration"] = lambda handler: self.say(handler, 200, self.found)
        server.paths["/oidc/device"] = self.begin
        server.paths["/oidc/token"] = self.token

    def say(self, handler: BaseHTTPRequestHandler, status: int, document: Any) -> None:
        """Answer."""
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        reply(handler, status, body)

    def form(self, handler: BaseHTTPRequestHandler) -> None:
        """Keep what was asked."""
        self.asked.append(parse_qs(handler.rfile.read(int(handler.headers["content-length"])).decode()))

    def begin(self, handler: BaseHTTPRequestHandler) -> None:
        """Begin a sign-in."""
        self.form(handler)
        self.say(handler, 200, self.begun)

    def token(self, handler: BaseHTTPRequestHandler) -> None:
        """Say whether it is done."""
        self.form(handler)
        self.say(handler, *(self.tokens.pop(0) if len(self.tokens) > 1 else self.tokens[0]))


@pytest.fixture
def provider() -> Iterator[Provider]:
    """A provider on this machine."""
    with serving() as server:
        yield Provider(server)


def signed_in(provider: Provider) -> tuple[str, list[Shown], list[float]]:
    """Sign in; returns the token, what was shown, and the pauses."""
    shown: list[Shown] = []
    pauses: list[float] = []
    return device_token(provider.url, shown.append, pauses.append), shown, pauses


def test_it_waits_as_it_is_told(provider: Provider) -> None:
    """While nobody confirmed it asks again, slower when told so, and proves that it is who began."""
    provider.begun = BEGUN | {"interval": 2, "verification_uri_complete": "https://p.test/device?c=AB-CD"}
    provider.tokens = [
        (400, {"error": "authorization_pending"}),
        (400, {"error": "slow_down"}),
        (200, {"id_token": "id", "access_token": "access"}),
    ]
    token, shown, pauses = signed_in(provider)
    assert (token, pauses) == ("id", [2, 2, 7])
    assert shown == [Shown("https://p.test/device", "AB-CD", "https://p.test/device?c=AB-CD")]
    begun, asked = provider.asked[0], provider.asked[1]
    assert (begun["client_id"], begun["scope"]) == (["sigstore"], ["openid email"])
    assert begun["code_challenge_method"] == ["S256"]
    assert asked["device_code"] == ["d"]
    assert len(asked["code_verifier"][0]) >= 43


@pytest.mark.parametrize(
    ("part", "value", "words"),
    [
        ("found", {}, "no sign-in by another device"),
        ("found", [], "no JSON object"),
        ("found", {"device_authorization_endpoint": "http://elsewhere.test/"}, "not https"),
        ("found", b"<html>", "did not sign you in"),
        ("found", b" " * 100_000, "more than"),
        ("begun", {"user_code": "x"}, "did not sign you in"),
        ("tokens", [(400, {"error": "access_denied", "error_description": "no \x1b[2J"})], "no [2J"),
        ("tokens", [(400, {"error": "authorization_pending"})], "not confirmed in time"),
        ("tokens", [(200, {})], "did not sign you in"),
    ],
)
def test_a_provider_that_fails_is_one_error(provider: Provider, part: str, value: Any, words: str) -> None:
    """Whatever it answers, there is a token or one error with words that harm no terminal."""
    setattr(provider, part, value)
    with pytest.raises(AttestFailed) as caught:
        signed_in(provider)
    assert words in str(caught.value)
    assert "\x1b" not in str(caught.value)
