"""Pushing a release to the upload URL of another server: only where the operator lets, bounded, and never blocking."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send
from structlog.testing import capture_logs

from countermark.core.digest import Length, Sha256, sha256_of
from countermark.core.names import FileName
from services.upload.app import create_service
from shared.catalogue.attestations import BUNDLE, NewAttestation, insert
from shared.ids import FileId
from shared.objects.interface import Put
from shared.objects.keys import file_key
from tests.support.archives import Project, make_sdist, make_wheel
from tests.support.factories import make_token, now
from tests.support.pushing import Site, open_site
from tests.support.serving import served

WHEEL = FileName("widget-1.0-py3-none-any.whl")
SDIST = FileName("widget-1.0.tar.gz")
ABOUT = Project("widget", "1.0", summary="Widgets & co.", requires_python=">=3.9")


@dataclass
class Elsewhere:
    """Another server that keeps what it is sent, and answers as a test wants."""

    answer: Callable[[str], Response] = field(default=lambda _: PlainTextResponse(""))
    forms: list[dict[str, list[bytes]]] = field(default_factory=list)
    heads: list[dict[str, str]] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take a form apart."""
        request = Request(scope, receive)
        boundary = request.headers["content-type"].partition("boundary=")[2].encode()
        body = await request.body()
        assert len(body) == int(request.headers["content-length"])
        form: dict[str, list[bytes]] = {}
        for part in body.split(b"--" + boundary)[1:-1]:
            head, _, value = part.partition(b"\r\n\r\n")
            name = re.search(rb'name="([^"]*)"', head)
            assert name is not None
            form.setdefault(name[1].decode(), []).append(value.removesuffix(b"\r\n"))
        self.forms.append(form)
        self.heads.append(dict(request.headers))
        answer = self.answer(form[":action"][0].decode())
        await answer(scope, receive, send)


@asynccontextmanager
async def opened(engine: AsyncEngine, folder: Path, push_to: str) -> AsyncIterator[Site]:
    """A deployment whose `root/dev` holds widget 1.0 with documentation."""
    async with open_site(engine, folder, push_to=push_to) as site:
        await site.index("root/dev", volatile=True)
        await site.upload("root/dev", SDIST, make_sdist("widget", "1.0", project=ABOUT))
        await site.upload("root/dev", WHEEL, make_wheel("widget", "1.0", project=ABOUT))
        await site.attach("root/dev", "doc", "widget-1.0.doc.zip", b"a zip")
        yield site


def to(url: str, password: str = "s3cret") -> dict[str, Any]:
    """Return what the client says of another server."""
    return {"posturl": url, "username": "ann", "password": password}


def path_of(site: Site, name: str) -> str:
    """Return the path of a file as the log has it."""
    sha256 = site.listed("root/dev")[name]
    return f"root/dev/+f/{sha256[:3]}/{sha256[3:16]}/{name}"


async def test_attestations_are_not_sent_and_the_client_is_told(engine: AsyncEngine, tmp_path: Path) -> None:
    """The action log ends with how many of which file stay here; no form has the field."""
    elsewhere = Elsewhere()
    async with served(elsewhere) as url, opened(engine, tmp_path, url) as site:
        [file] = await site.rows("root/dev", file_name=WHEEL)
        new = NewAttestation(
            index_id=site.indexes["root/dev"].id,
            file_id=FileId(file.id),
            file_name=WHEEL,
            sha256=Sha256("a" * 64),
            length=Length(1),
            predicate_type="https://slsa.dev/provenance/v1",
            origin=BUNDLE,
            publisher=None,
            facts={},
            named=False,
            added_at=now(),
            added_by="root",
            token_id=None,
        )
        async with engine.begin() as connection:
            await insert(connection, "public", new)
        answer = await site.push("root/dev", "widget==1.0", None, **to(f"{url}/legacy/"))
    last = answer.json()["result"][-1]
    assert last == [200, "attestations", f"1 of {WHEEL}", "not sent: add them to the file there"]
    assert not any("attestations" in form for form in elsewhere.forms)


async def test_every_step_is_a_form_with_the_metadata(engine: AsyncEngine, tmp_path: Path) -> None:
    """Submit, both files with their digests, documentation, each with Basic credentials that no log line holds."""
    elsewhere = Elsewhere()
    async with served(elsewhere) as url, opened(engine, tmp_path, url) as site:
        with capture_logs() as logged:
            answer = await site.push("root/dev", "widget==1.0", None, register_project=True, **to(f"{url}/legacy/"))
        assert (answer.status_code, answer.json()) == (
            200,
            {
                "type": "actionlog",
                "result": [
                    [200, "register", "widget", "1.0"],
                    [200, "upload", path_of(site, WHEEL), ""],
                    [200, "upload", path_of(site, SDIST), ""],
                    [200, "docfile", "widget"],
                ],
            },
        )
        content = site.stored(site.listed("root/dev")[WHEEL], WHEEL, public=True).read_bytes()  # type: ignore[arg-type]
    submit, wheel, sdist, doc = elsewhere.forms
    assert [form[":action"] for form in elsewhere.forms] == [
        [b"submit"],
        [b"file_upload"],
        [b"file_upload"],
        [b"doc_upload"],
    ]
    assert all(form["summary"] == [b"Widgets & co."] and form["name"] == [b"widget"] for form in elsewhere.forms)
    assert wheel["content"] == [content]
    assert wheel["sha256_digest"] == [sha256_of(content).encode()]
    assert (wheel["filetype"], wheel["pyversion"]) == ([b"bdist_wheel"], [b"py3"])
    assert (sdist["filetype"], sdist["pyversion"]) == ([b"sdist"], [b"source"])
    assert doc["content"] == [b"a zip"]
    assert "content" not in submit
    assert {head["authorization"] for head in elsewhere.heads} == {"Basic YW5uOnMzY3JldA=="}
    assert {head["host"] for head in elsewhere.heads} == {url.removeprefix("http://")}
    assert logged
    assert "s3cret" not in repr(logged)


async def test_a_push_to_this_very_server(engine: AsyncEngine, tmp_path: Path) -> None:
    """It is an upload like any other, decided by the credentials in the document, and does not wait for itself."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        own = f"http://127.0.0.1:{listening.getsockname()[1]}"
        async with opened(engine, tmp_path, f"{own}/root") as site:
            await site.index("root/prod")
            token = await make_token(engine)
            async with served(create_service(site.resources).app, listening), asyncio.timeout(30):
                there = to(f"{own}/root/prod/", token)
                answer = await site.push("root/dev", "widget==1.0", None, no_docs=True, **there)
                assert (answer.status_code, [line[0] for line in answer.json()["result"]]) == (200, [200, 200])
                assert site.listed("root/prod") == site.listed("root/dev")
                wrong = to(f"{own}/root/prod/", "wrong")
                answer = await site.push("root/dev", "widget==1.0", None, no_docs=True, **wrong)
                assert answer.status_code == 502
                first = answer.json()["result"][0]
                assert (first[0], "wrong token" in first[3]) == (401, True)
                many = [site.push("root/dev", "widget==1.0", None, no_docs=True, **there) for _ in range(20)]
                assert {answer.status_code for answer in await asyncio.gather(*many)} == {200}


async def test_only_what_the_operator_lists(engine: AsyncEngine, tmp_path: Path) -> None:
    """Nothing is listed by default; what is asked for is refused before anything is looked up or sent."""
    elsewhere = Elsewhere()
    async with served(elsewhere) as url, opened(engine, tmp_path, "") as site:
        for where, status in (
            (f"{url}/legacy/", 403),
            ("http://169.254.169.254/latest/", 403),
            ("file:///etc/passwd", 400),
            (f"{url}/legacy/?x=y", 400),
        ):
            answer = await site.push("root/dev", "widget==1.0", None, **to(where))
            assert answer.status_code == status, answer.text
            assert "message" in answer.json()
        nobody = await site.push("root/dev", "widget==1.0", None, as_whom={}, **to(f"{url}/legacy/"))
        assert nobody.status_code == 401
    assert elsewhere.forms == []


async def test_a_listed_name_that_leads_to_this_machine(
    engine: AsyncEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever answers for the name could reach what only this machine can: refused, unless the network is listed."""
    elsewhere = Elsewhere()

    async def resolve(*_: object, **__: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]

    async with served(elsewhere) as url:
        port = url.rpartition(":")[2]
        named = f"http://upload.example.org:{port}/legacy/"
        async with opened(engine, tmp_path, named) as site:
            monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
            answer = await site.push("root/dev", "widget==1.0", None, **to(named))
            assert answer.status_code == 502
            ((code, step, text),) = answer.json()["result"]
            assert (code, step) == (-1, "exception on release upload:")
            assert "127.0.0.1, which is not public and not listed" in text
            assert elsewhere.forms == []
            allowed = site.resources.settings.uploads.model_copy(update={"push_to": f"{named},127.0.0.0/8"})
            site.resources.settings.__dict__["uploads"] = allowed
            assert (await site.push("root/dev", "widget==1.0", None, **to(named))).status_code == 200
    assert {head["host"] for head in elsewhere.heads} == {f"upload.example.org:{port}"}


async def test_what_the_other_server_says_is_told_and_bounded(engine: AsyncEngine, tmp_path: Path) -> None:
    """Refusals with their beginning, redirects as what they are, and a server that registers nobody ends the push."""
    elsewhere = Elsewhere()
    async with served(elsewhere) as url, opened(engine, tmp_path, url) as site:

        async def told(answer: Callable[[str], Response], **more: Any) -> tuple[int, list[list[object]]]:
            elsewhere.answer = answer
            got = await site.push("root/dev", "widget==1.0", None, **more, **to(f"{url}/legacy/"))
            return got.status_code, got.json()["result"]

        status, lines = await told(lambda _: PlainTextResponse("no\nway" + "x" * 200_000, 409))
        assert status == 502
        assert [line[0] for line in lines] == [409, 409, 409]
        assert str(lines[0][3]).startswith("no way")
        assert len(str(lines[0][3])) == 1000
        seen = len(elsewhere.forms)
        status, lines = await told(lambda _: RedirectResponse(f"{url}/elsewhere/", 307))
        assert (status, [line[0] for line in lines], len(elsewhere.forms)) == (502, [307, 307, 307], seen + 3)
        status, lines = await told(lambda _: Response("", 403), register_project=True)
        assert (status, lines) == (502, [[403, "register", "widget", "1.0"]])
        gone = {"submit": 410, "file_upload": 201, "doc_upload": 200}
        status, lines = await told(lambda action: Response("", gone[action]), register_project=True)
        assert (status, [line[0] for line in lines]) == (200, [410, 201, 201, 200])


async def test_a_server_that_cannot_be_reached_or_does_not_end(engine: AsyncEngine, tmp_path: Path) -> None:
    """One line that says so, after a bounded time, and no step after it; the server goes on meanwhile."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{closed.getsockname()[1]}"
        elsewhere = Elsewhere()

        async def for_ever() -> AsyncIterator[bytes]:
            while True:
                yield b"x"
                await asyncio.sleep(0.05)

        elsewhere.answer = lambda _: StreamingResponse(for_ever())
        async with served(elsewhere) as url, opened(engine, tmp_path, f"{nowhere},{url}") as site:
            answer = await site.push("root/dev", "widget==1.0", None, **to(nowhere))
            assert answer.status_code == 502
            ((code, step, text),) = answer.json()["result"]
            assert (code, step, text.startswith("ConnectError")) == (-1, "exception on release upload:", True)
            answer = await site.push("root/dev", "widget==1.0", None, register_project=True, **to(nowhere))
            assert [line[:2] for line in answer.json()["result"]] == [[-1, "exception on register:"]]
            short = site.resources.settings.uploads.model_copy(update={"push_seconds": 1.0})
            site.resources.settings.__dict__["uploads"] = short
            answer = await site.push("root/dev", "widget==1.0", None, only_docs=True, **to(url))
            assert [line[:2] for line in answer.json()["result"]] == [[-1, "exception on documentation upload:"]]
            assert (await site.push("root/dev", "widget==9", "root/dev")).status_code == 400


async def test_bytes_that_changed_in_the_store_are_never_sent_whole(engine: AsyncEngine, tmp_path: Path) -> None:
    """The other server sees a broken connection and no end of the form."""
    elsewhere = Elsewhere()
    async with served(elsewhere) as url, opened(engine, tmp_path, url) as site:
        sha256 = sha256_of(b"a zip")
        name = FileName("widget-1.0.doc.zip")
        await site.resources.objects.public.put(file_key(sha256, name), b"A ZIP", Put.REPLACE)
        answer = await site.push("root/dev", "widget==1.0", None, only_docs=True, **to(url))
        assert (answer.status_code, answer.json()["result"][0][0]) == (502, -1)
        assert "other bytes" in answer.json()["result"][0][2]
    assert elsewhere.forms == []
