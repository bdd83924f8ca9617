"""Hostile JSON at every route of devpi's that reads some: one sentence with 400, and nothing is changed."""

from __future__ import annotations

import pytest

from tests.support.devpi_api import DevpiUser, logged_in
from tests.support.gateway import TestGateway

ROUTES = [
    ("POST", "/+login"),
    ("PUT", "/dora"),
    ("PATCH", "/alice"),
    ("PUT", "/alice/new"),
    ("PATCH", "/alice/dev"),
]

BODIES = {
    "deep list": b'{"bases":' + b"[" * 1000 + b"]" * 1000 + b"}",
    "deep object": b'{"a":' * 1000 + b"1" + b"}" * 1000,
    "deeper": b"[" * 100_000 + b"]" * 100_000,
    "infinite": b'{"mirror_cache_expiry": 1e999}',
    "huge": b'{"custom_data": 1' + b"0" * 5000 + b"}",
    "large": b'{"custom_data": 18446744073709551616}',
    "surrogate": b'{"title": "\\ud800"}',
    "twice": b'{"title": "a", "title": "b"}',
    "null character": b'{"title": "a\\u0000b"}',
    "null character in a key": b'{"a\\u0000b": 1}',
    "not a number": b'{"custom_data": NaN}',
}


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_hostile_bodies(gateway: TestGateway, method: str, path: str) -> None:
    """Whoever sends them, with the right or without, is told what is wrong; nothing fails, nothing changes."""
    root, alice = await logged_in(gateway, "root"), await logged_in(gateway, "alice")
    assert (await alice("PUT", "/alice/dev", {})).status_code == 200
    before = (await root("GET", "/")).json()["result"]
    who = DevpiUser(gateway) if path == "/+login" else root if path == "/dora" else alice
    for name, body in BODIES.items():
        answer = await who(method, path, content=body)
        assert answer.status_code == 400, (name, answer.text)
        assert answer.json()["message"].startswith("Bad request: could not decode json"), name
    assert (await root("GET", "/")).json()["result"] == before
