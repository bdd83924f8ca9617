"""A disk that is full: uploads are refused in words, nothing is lost or left behind, and room mends everything."""

from __future__ import annotations

from pathlib import Path

import httpx2
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.catalogue.tables import File
from tests.support.alone import AloneProcess, alone, alone_settings
from tests.support.archives import make_sdist, make_wheel
from tests.support.factories import make_default, make_index, make_token
from tests.support.mounts import tmpfs
from tests.support.uploading import basic, form_body


def fill(disk: Path) -> Path:
    """Take all the room there is, and return what takes it."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            return filler


async def upload(process: AloneProcess, token: str, name: str, content: bytes) -> httpx2.Response:
    """Post a file."""
    body, form = form_body(name, content)
    async with httpx2.AsyncClient(timeout=30) as client:
        return await client.post(f"{process.url}/root/stable/", content=body, headers=basic(token) | form)


async def files(engine: AsyncEngine) -> int:
    """Return how many files the catalogue has."""
    async with engine.connect() as connection:
        return await connection.scalar(select(func.count()).select_from(File)) or 0


async def test_a_full_disk(database: str, engine: AsyncEngine, valkey_url: str, tmp_path: Path) -> None:
    """While it is full uploads get 503 in plain text and the process is not ready; with room again both are well."""
    await make_default(engine, await make_index(engine))
    token = await make_token(engine)
    disk = tmp_path / "disk"
    with tmpfs(disk, "8m"):
        async with alone("upload", alone_settings(database, valkey_url, disk)) as process:
            assert (await upload(process, token, "first-1.0-py3-none-any.whl", make_wheel("first", "1.0"))).is_success
            kept = sorted(path for path in disk.rglob("*") if path.is_file())
            filler = fill(disk)
            for name, content in (
                ("second-1.0-py3-none-any.whl", make_wheel("second", "1.0")),
                ("third-1.0.tar.gz", make_sdist("third", "1.0")),
            ):
                refused = await upload(process, token, name, content)
                assert (refused.status_code, refused.headers["content-type"]) == (503, "text/plain; charset=utf-8")
                assert "cannot store the file at the moment" in refused.text
            status, document = await process.ready()
            assert status == 503
            assert "the disk is full; make room" in str(document["failed"])
            assert sorted(path for path in disk.rglob("*") if path.is_file()) == sorted([*kept, filler])
            assert await files(engine) == 1
            filler.unlink()
            assert await process.ready() == (200, {"status": "ready"})
            again = await upload(process, token, "second-1.0-py3-none-any.whl", make_wheel("second", "1.0"))
            assert again.status_code == 200
            assert await files(engine) == 2
