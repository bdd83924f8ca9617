"""What devpi says of a file to those who ask for JSON."""

from __future__ import annotations

import httpx2
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.integration.reading.constants import METADATA, WHEEL
from tests.support.devpi_reading import signed_in, url_of
from tests.support.factories import make_token, now
from tests.support.published import Published
from tests.support.reading import Reading


class TestFiles:
    """Contract devpi section 10: `releasefilemeta`."""

    async def test_described(self, devpi: httpx2.AsyncClient, reading: Reading, stable: Published) -> None:
        """Who asks for JSON gets what is known of a file, also when the file itself lies ready."""
        file = stable.visible[WHEEL]
        bytes_of = await devpi.get(url_of(file), headers={"accept": "*/*"})
        assert bytes_of.content == file.content
        answer = await devpi.get(url_of(file))
        assert answer.headers["content-type"] == "application/json"
        assert answer.json() == {
            "type": "releasefilemeta",
            "result": {
                "hash_spec": f"sha256={file.sha256}",
                "hashes": {"sha256": file.sha256},
                "last_modified": bytes_of.headers["last-modified"],
                "project": "thing",
                "version": "1.0",
            },
        }
        head = await devpi.head(url_of(file))
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == str(len(answer.content))
        assert (await devpi.get(url_of(file) + ".metadata")).content == METADATA

    async def test_refused_as_the_file(self, devpi: httpx2.AsyncClient, stable: Published) -> None:
        """What is not served as a file is refused with the same status and sentence, in devpi's form."""
        held, gone = await stable.upload("held-1.0.tar.gz"), await stable.upload("gone-1.0.tar.gz")
        await stable.mark(held, held_at=now(), held_reason="looks odd")
        await stable.publish(gone)
        await stable.mark(gone, removed_at=now())
        await stable.publish(hidden=[gone])
        missing = url_of(held).replace("held", "none")
        for url, status in ((url_of(held), 403), (url_of(gone), 410), (missing, 404)):
            answer = await devpi.get(url)
            usual = await devpi.get(url, headers={"accept": "*/*"})
            assert (answer.status_code, usual.status_code) == (status, status)
            assert answer.json() == {"message": usual.json()["detail"]}

    async def test_rights(
        self, devpi: httpx2.AsyncClient, reading: Reading, secret: Published, engine: AsyncEngine
    ) -> None:
        """A file of a private index is described to those alone who may read it."""
        token = await make_token(engine, "root")
        await reading.news()
        url = url_of(secret.visible[WHEEL], "root/secret")
        assert (await devpi.get(url)).status_code == 401
        assert (await devpi.get(url, headers=signed_in("root", token))).json()["type"] == "releasefilemeta"
