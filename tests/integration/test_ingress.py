"""What nginx, as the ingress of the real profile, writes down of the requests it sees."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from starlette.responses import PlainTextResponse

from deploy.stack.nginx import Ingress, NginxServer
from deploy.stack.ports import choose_ports
from tests.support.listening import listening

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")

pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")

SECRET = "s3cr3t-of-a-sign-in-link"


@pytest.fixture
async def ingress() -> AsyncIterator[tuple[NginxServer, str, str, Path]]:
    """Run nginx before one application that answers everything; yields it, both origins and its folder."""
    with tempfile.TemporaryDirectory(prefix="cm-", ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        ports = choose_ports(["api", "ui", "gone"], folder / "ports.json")
        async with listening(PlainTextResponse("here")) as port:
            upstreams = {"gateway": [port], "gateway-ui": [ports["gone"]], "index": [port], "download": [port]}
            made = Ingress(ports["api"], ports["ui"], {}, upstreams)
            server = NginxServer(folder / "nginx", Path(str(NGINX)), made)
            await server.start()
            try:
                origins = (f"http://127.0.0.1:{ports['api']}", f"http://127.0.0.1:{ports['ui']}")
                yield server, *origins, folder / "nginx"
            finally:
                await server.stop()


async def test_no_log_has_the_code_of_a_sign_in_link(ingress: tuple[NginxServer, str, str, Path]) -> None:
    """Queries are cut off on both hosts, also where nobody answers: a link's code works for whoever reads the log."""
    server, api, ui, folder = ingress
    asked = [f"{ui}/welcome", f"{ui}/login/callback", f"{ui}/%77elcome", f"{api}/root/stable/%2Bsimple/"]
    async with httpx2.AsyncClient(trust_env=False) as client:
        statuses = [(await client.get(url, params={"code": SECRET})).status_code for url in asked]
    assert statuses == [502, 502, 502, 200]
    async with asyncio.timeout(20):
        while not all(f" {httpx2.URL(url).raw_path.decode()} " in server.access_log.read_text() for url in asked):
            await asyncio.sleep(0.1)
    written = [path for path in folder.rglob("*.log") if SECRET in path.read_text()]
    assert written == []
