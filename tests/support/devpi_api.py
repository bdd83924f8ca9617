"""Somebody who speaks devpi's API as its client does, to a gateway in this process."""

from __future__ import annotations

import base64
from typing import Any

import httpx2

from tests.support.gateway import TestGateway

PASSWORD = "correct horse battery"

HOST = "http://127.0.0.1:3141"


class DevpiUser:
    """An account's client, or nobody's; `secret` is a password or a login's token."""

    def __init__(
        self, gateway: TestGateway, user: str | None = None, secret: str = PASSWORD, *, address: str = "192.0.2.1"
    ) -> None:
        headers = {"accept": "application/json", "content-type": "application/json"}
        if user is not None:
            headers["x-devpi-auth"] = base64.b64encode(f"{user}:{secret}".encode()).decode()
        transport = httpx2.ASGITransport(app=gateway.apps.api, client=(address, 1))
        self.http = httpx2.AsyncClient(transport=transport, base_url=HOST, headers=headers)

    async def __call__(self, method: str, path: str, body: Any = None, **how: Any) -> httpx2.Response:
        """Ask; what every answer of devpi's API must have is checked."""
        answer = await self.http.request(method, path, json=body, **how)
        assert answer.headers["content-type"] == "application/json", answer.text
        assert answer.headers["x-devpi-api-version"] == "2"
        assert int(answer.headers["x-devpi-serial"]) >= 0
        return answer

    async def result(self, path: str) -> Any:
        """Return the result of a document that is there."""
        answer = await self("GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json()["result"]


async def logged_in(gateway: TestGateway, user: str, password: str = PASSWORD, **how: Any) -> DevpiUser:
    """Return the client of somebody who logged in."""
    answer = await DevpiUser(gateway, **how)("POST", "/+login", {"user": user, "password": password})
    assert answer.status_code == 200, answer.text
    return DevpiUser(gateway, user, answer.json()["result"]["password"], **how)


def told(answer: httpx2.Response) -> tuple[int, str]:
    """Return status and message."""
    return answer.status_code, answer.json()["message"]
