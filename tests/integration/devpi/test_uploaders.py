"""Who may be named in `acl_upload`. Source: contract devpi section 23; architecture section 11.11."""

from __future__ import annotations

from shared.settings import Settings, Uploads
from tests.integration.devpi.test_indexes import NO_ACCOUNT
from tests.support.devpi_api import DevpiUser, told
from tests.support.gateway import Servers, TestGateway, open_gateway


async def test_nobody_uploads_without_an_account(gateway: TestGateway, servers: Servers) -> None:
    """`:ANONYMOUS:` in `acl_upload` is refused in words, however it is set; what an import brought may stay."""
    alice = DevpiUser(gateway, "alice")
    await alice("PUT", "/alice/dev", {})
    for change in ({"acl_upload": [":anonymous:"]}, ["acl_upload+=:ANONYMOUS:"], ["acl_upload=alice,:Anonymous:"]):
        assert told(await alice("PATCH", "/alice/dev", change)) == (400, NO_ACCOUNT)
    assert (await alice.result("/alice/dev"))["acl_upload"] == ["alice"]
    results = await alice("PATCH", "/alice/dev", {"acl_toxresult_upload": ":ANONYMOUS:"})
    assert results.json()["result"]["acl_toxresult_upload"] == [":ANONYMOUS:"]
    open_settings = Settings(data=servers.folder, compat="devpi-open", uploads=Uploads(publish_wait=0))
    async with open_gateway(servers, open_settings) as opened:
        there = await DevpiUser(opened, "alice")("PATCH", "/alice/dev", {"acl_upload": ":ANONYMOUS:,alice"})
        assert there.json()["result"]["acl_upload"] == [":ANONYMOUS:", "alice"]
        made = await DevpiUser(opened, "alice")("PUT", "/alice/open", {"acl_upload": ":ANONYMOUS:"})
        assert made.json()["result"]["acl_upload"] == [":ANONYMOUS:"]
    titled = await alice("PATCH", "/alice/dev", {**there.json()["result"], "title": "T"})
    assert titled.json()["result"]["acl_upload"] == [":ANONYMOUS:", "alice"]
    assert (await alice("PATCH", "/alice/dev", ["acl_upload-=:ANONYMOUS:"])).status_code == 200
    assert told(await alice("PATCH", "/alice/dev", there.json()["result"])) == (400, NO_ACCOUNT)
