"""The intake of leaked tokens: only signed lists count."""

from __future__ import annotations

import base64
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, SECP384R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.accounts import NewToken
from gateway.leaks import leak_keys
from shared.settings import Leaks
from tests.integration.gateway_api.callers import EVERYTHING, Client, pem_of
from tests.support.gateway import Servers, TestGateway, open_gateway


def _told(key: Any, leaks: Any, **changed: str) -> dict[str, Any]:
    body = leaks if isinstance(leaks, bytes) else orjson.dumps(leaks)
    signature = base64.b64encode(key.sign(body, ECDSA(SHA256()))).decode()
    headers = {"github-public-key-identifier": "k1", "github-public-key-signature": signature, **changed}
    return {"content": body, "headers": headers}


async def test_a_leaked_token_is_revoked(gateway: TestGateway, key: Any) -> None:
    """A signed list makes our tokens useless, once; texts that are none of ours are passed over."""
    minted = await gateway.accounts.create_token(NewToken("alice", (EVERYTHING,), timedelta(days=1), "leaky"))
    await gateway.resources.directory.refresh()
    leaks = [
        {"token": f"pypi-{minted.secret}", "type": "countermark", "url": "https://forge.test/blob/1"},
        {"token": "cmk_1nonsense", "type": "countermark", "url": "https://forge.test/blob/2"},
        {"token": "something else", "type": "x"},
    ]
    stranger = Client(gateway)
    for _ in range(2):
        answer = await stranger("POST", "/_/secrets/disclose-token", **_told(key, leaks))
        assert (answer.status_code, answer.content) == (204, b"")
    assert (await Client(gateway, "x", minted.secret)("GET", "account")).status_code == 401
    entries = (await Client(gateway, "root")("GET", "audit")).json()["items"]
    (entry,) = [entry for entry in entries if entry["action"] == "token.revoke-leaked"]
    assert (entry["actor"], entry["subject"]) == ("leak-intake:k1", str(minted.id))
    assert entry["detail"] == {"account": "alice", "url": "https://forge.test/blob/1"}


async def test_a_list_that_is_not_signed_so_changes_nothing(gateway: TestGateway, key: Any) -> None:
    """Another key, key id, body or signature is 403; a signed body that is no list is 422; too much is 413."""
    stranger = Client(gateway)
    minted = await gateway.accounts.create_token(NewToken("alice", (EVERYTHING,), timedelta(days=1), "kept"))
    await gateway.resources.directory.refresh()
    leaks = [{"token": minted.secret, "type": "countermark", "url": "u"}]
    another = generate_private_key(SECP256R1())
    altered = {**_told(key, leaks), "content": orjson.dumps([*leaks, *leaks])}
    for told, status in [
        (_told(another, leaks), 403),
        (_told(key, leaks, **{"github-public-key-identifier": "k2"}), 403),
        (_told(key, leaks, **{"github-public-key-signature": "bm8="}), 403),
        (_told(key, leaks, **{"github-public-key-signature": "not base64"}), 403),
        ({"content": orjson.dumps(leaks)}, 403),
        (altered, 403),
        (_told(key, b"{"), 422),
        (_told(key, {"token": minted.secret}), 422),
        (_told(key, [minted.secret]), 422),
        (_told(key, [{"token": 7}]), 422),
        (_told(key, leaks * 1001), 422),
        (_told(key, b" " * 1_100_000), 413),
    ]:
        assert (await stranger("POST", "/_/secrets/disclose-token", **told)).status_code == status
    assert (await Client(gateway, "x", minted.secret)("GET", "account")).status_code == 200


async def test_without_keys_there_is_no_intake(
    engine: AsyncEngine, valkey_url: str, database: str, tmp_path: Path, key: Any
) -> None:
    """Nobody may tell of leaks unless the operator names their key; a wrong key stops the start with its name."""
    async with open_gateway(Servers(engine, valkey_url, database, tmp_path)) as gateway:
        answer = await Client(gateway)("POST", "/_/secrets/disclose-token", **_told(key, []))
        assert answer.status_code == 404
    for pem in ("no key", pem_of(generate_private_key(SECP384R1()))):
        with pytest.raises(ValueError, match=r"leaks\.keys: 'k9'"):
            leak_keys(Leaks(keys={"k9": pem}))
