"""Uploads as devpi's clients send them, on a real Postgres with a real signer: every row of the contract's section 9,
with its words for the devpi client and for upload tools."""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest
from packaging.utils import NormalizedName
from sqlalchemy import select, text, update
from sqlalchemy.ext.asyncio import AsyncEngine

from services.index.app import create_service as create_index
from services.signing.ceremonies.trust_root import ensure_trust
from services.signing.publication.usecases import Publisher
from services.upload.app import create_service
from shared.auth.principal import Scope, Verb
from shared.catalogue.tables import File, IndexRow, Project, Release
from shared.resources import Resources
from tests.support.archives import make_wheel
from tests.support.factories import EVERYTHING, MadeIndex, make_index, make_token
from tests.support.resources import service_resources
from tests.support.tuf_reader import TreeReader
from tests.support.uploading import basic, form_body, form_fields

WHEEL = "widget-1.0-py3-none-any.whl"
SDIST = "widget-1.0.tar.gz"
FILE = {":action": "file_upload", "name": "widget", "version": "1.0"}
SUBMIT = FILE | {":action": "submit"}


@dataclass
class Devpi:
    """The upload and index services with a signer at work, and their clients."""

    resources: Resources
    index: MadeIndex
    http: httpx2.AsyncClient
    pages: httpx2.AsyncClient
    token: str
    tree: TreeReader
    path: str = "/root/dev/"

    def headers(self, *, devpi: bool = True, token: str | None = None) -> dict[str, str]:
        """Return credentials as the devpi client sends them, or as upload tools do."""
        if not devpi:
            return basic(token or self.token)
        return {"x-devpi-auth": base64.b64encode(f"root:{token or self.token}".encode()).decode()}

    async def form(
        self, fields: Mapping[str, str], file_name: str = "", content: bytes = b"", *, devpi: bool = True, **more: Any
    ) -> httpx2.Response:
        """Send a form with these fields, and a file if one is named."""
        body, form = form_body(file_name or "none", content, fields)
        if not file_name:
            # A form without a file: cut its last part off.
            head, _, _ = body.rpartition(b'Content-Disposition: form-data; name="content"')
            body = head.rstrip(b"\r\n") + b"--\r\n"
        headers = {**self.headers(devpi=devpi, token=more.get("token")), **form}
        return await self.http.post(more.get("path", self.path), content=body, headers=headers)

    async def upload(self, file_name: str, content: bytes, *, devpi: bool = True, **fields: str) -> httpx2.Response:
        """Upload a file: the devpi client sends no digests."""
        sent = FILE | fields
        if not devpi:
            sent["sha256_digest"] = hashlib.sha256(content).hexdigest()
        return await self.form(sent, file_name, content, devpi=devpi)

    async def page(self, project: str = "widget") -> tuple[int, list[dict[str, Any]]]:
        """Return status and files of a simple page as installers see it."""
        answer = await self.pages.get(
            f"{self.path}+simple/{project}/", headers={"accept": "application/vnd.pypi.simple.v1+json"}
        )
        return answer.status_code, answer.json()["files"] if answer.status_code == 200 else []

    async def metadata(self, version: str = "1.0") -> dict[str, Any]:
        """Return what is kept of a release."""
        async with self.resources.engine.connect() as connection:
            found = await connection.scalar(select(Release.core_metadata).where(Release.version == version))
        return dict(found or {})


async def shape(engine: AsyncEngine, resources: Resources, **settings: object) -> None:
    """Change the settings of every index."""
    async with engine.begin() as connection:
        await connection.execute(update(IndexRow).values(**settings))
    await resources.directory.refresh()


@pytest.fixture
async def devpi(engine: AsyncEngine, tmp_path: Path) -> AsyncIterator[Devpi]:
    """A volatile index with admission `devpi`, as devpi's API makes them with its open defaults."""
    async with service_resources(engine, tmp_path, publish_wait=10) as resources:
        await ensure_trust(resources)
        index = await make_index(engine, "root/dev")
        token = await make_token(engine)
        await shape(engine, resources, volatile=True, admission="devpi")
        publisher = Publisher(resources)
        await publisher.publish(index.id)

        async def sign() -> None:
            while True:
                await publisher.publish(index.id)
                await resources.heads.wake(str(index.id))
                await asyncio.sleep(0.02)

        signer = asyncio.create_task(sign())
        tree = TreeReader(tmp_path / "public/indexes/root/dev", tmp_path / "cache")
        uploads = httpx2.ASGITransport(create_service(resources).app)
        reading = httpx2.ASGITransport(create_index(resources).app)
        async with (
            httpx2.AsyncClient(transport=uploads, base_url="http://registry") as http,
            httpx2.AsyncClient(transport=reading, base_url="http://registry") as pages,
        ):
            yield Devpi(resources, index, http, pages, token, tree)
        signer.cancel()
        with suppress(asyncio.CancelledError):
            await signer


def told(answer: httpx2.Response, *, devpi: bool) -> str:
    """Return what a client prints of a refusal, having checked that it has the form which that client understands."""
    if not devpi:
        assert answer.headers["content-type"].startswith("text/plain")
        return answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-devpi-api-version"] == "2"
    document = answer.json()
    assert document["type"] == "actionlog"
    (line,) = document["result"]
    assert document["message"] == line
    assert line.startswith(f"{answer.status_code} ")
    return str(line)


@pytest.mark.parametrize("path", ["/root/dev/", "/root/dev"])
async def test_a_form_of_the_devpi_client_is_taken(devpi: Devpi, path: str) -> None:
    """No digests, both spellings of the address, exactly 200 and an empty body; what was sent is listed and signed."""
    answer = await devpi.form(
        {
            ":action": "file_upload",
            "name": "widget",
            "version": "1.0",
            "requires_python": ">=3.9",
            "summary": "A thing",
        },
        SDIST,
        b"no archive at all",
        path=path,
    )
    assert (answer.status_code, answer.text) == (200, "")
    status, files = await devpi.page()
    assert status == 200
    (file,) = files
    assert (file["filename"], file["requires-python"]) == (SDIST, ">=3.9")
    assert file["hashes"]["sha256"] == hashlib.sha256(b"no archive at all").hexdigest()
    assert (await devpi.metadata())["summary"] == "A thing"
    assert devpi.tree.target(f"pointers/widget/{SDIST}.pointer") is not None


@pytest.mark.parametrize("devpi_client", [True, False], ids=["devpi", "tool"])
@pytest.mark.parametrize(
    ("fields", "file_name", "words"),
    [
        ({":action": ""}, SDIST, ":action field not found"),
        ({":action": "dance"}, SDIST, "action 'dance' not supported"),
        ({}, "", "content file field not found"),
        ({"version": "2.0"}, SDIST, "filename 'widget-1.0.tar.gz' does not contain version '2.0'"),
        ({}, "widget-1.0.tar.xz", "'widget-1.0.tar.xz' is not a valid archive name"),
        ({}, "gadget-1.0.tar.gz", "filename 'gadget-1.0.tar.gz' does not match project name 'widget'"),
        ({"name": "wid get"}, "wid-get-1.0.tar.gz", "invalid metadata: the project name 'wid get' cannot be used"),
        ({"name": ""}, SDIST, "invalid metadata: name missing in the form."),
        ({"version": "final"}, "widget-final.tar.gz", "invalid metadata: 'final' is no version (PEP 440)"),
        ({"requires_python": ">=" + "9" * 5000}, SDIST, "invalid metadata: no installer can compare"),
        ({"attestations": "[]"}, SDIST, "Invalid attestations supplied during upload: the field attestations must be"),
    ],
)
async def test_refusals_of_a_form(
    devpi: Devpi, fields: dict[str, str], file_name: str, words: str, devpi_client: bool
) -> None:
    """400 with the same sentence in the form that each client shows; nothing is kept."""
    sent = FILE | fields
    if not devpi_client:
        sent["sha256_digest"] = hashlib.sha256(b"bytes").hexdigest()
    answer = await devpi.form(sent, file_name, b"bytes", devpi=devpi_client)
    assert answer.status_code == 400
    assert words in told(answer, devpi=devpi_client)
    assert list(devpi.resources.settings.data.glob("staging/*")) == []
    assert (await devpi.page())[0] == 404


@pytest.mark.parametrize("devpi_client", [True, False], ids=["devpi", "tool"])
async def test_a_mirror_is_told_first(devpi: Devpi, engine: AsyncEngine, devpi_client: bool) -> None:
    """404 before anybody is asked who they are; of a private one only its readers learn so much."""
    await shape(engine, devpi.resources, type="mirror")
    for token in (None, "cms_1" + "0" * 49):
        answer = await devpi.form({}, SDIST, b"x", devpi=devpi_client, token=token)
        assert answer.status_code == 404
        assert "cannot submit to mirror index" in told(answer, devpi=devpi_client)
    async with engine.begin() as connection:
        await connection.execute(text("delete from \"grant\" where verb = 'read'"))
    await devpi.resources.directory.refresh()
    for token, status in ((None, 404), ("cms_1" + "0" * 49, 401)):
        answer = await devpi.form({}, SDIST, b"x", devpi=devpi_client, token=token)
        assert answer.status_code == status


async def test_who_may_not_upload_is_told_so(devpi: Devpi) -> None:
    """401 with a challenge for nobody, 403 in devpi's words for the devpi client and with the reason for tools."""
    body, form = form_body(SDIST, b"x", {})
    nobody = await devpi.http.post(devpi.path, content=body, headers=form)
    assert (nobody.status_code, nobody.headers["www-authenticate"][:12]) == (401, "Basic realm=")
    stranger = await make_token(devpi.resources.engine, "mallory")
    scoped = [Scope(devpi.index.name, NormalizedName("gadget"), frozenset({Verb.UPLOAD}))]
    elsewhere = await make_token(devpi.resources.engine, "root", scoped)
    await devpi.resources.directory.refresh()
    for token in (stranger, elsewhere):
        answer = await devpi.form(FILE, SDIST, b"x", token=token)
        assert answer.status_code == 403
        assert told(answer, devpi=True) == "403 no permission to submit"
        tool = await devpi.form(
            FILE | {"sha256_digest": hashlib.sha256(b"x").hexdigest()}, SDIST, b"x", devpi=False, token=token
        )
        assert tool.status_code == 403
        assert "may not upload on root/dev" in told(tool, devpi=False)


async def test_digests_are_needed_from_all_but_the_devpi_client(devpi: Devpi) -> None:
    """And whoever sends one sends the right one."""
    answer = await devpi.form(FILE, SDIST, b"x", devpi=False)
    assert answer.status_code == 400
    assert "One digest at least is needed" in told(answer, devpi=False)
    wrong = await devpi.form(FILE | {"sha256_digest": "0" * 64}, SDIST, b"x")
    assert "is not that of the bytes received" in told(wrong, devpi=True)


async def test_a_volatile_index_takes_other_bytes(devpi: Devpi) -> None:
    """A, A, B, A: listed is what came last, once; the same bytes again are fine; nothing of it is a conflict."""
    for content in (b"A", b"A", b"B", b"A"):
        answer = await devpi.upload(SDIST, content)
        assert (answer.status_code, answer.text) == (200, "")
        _, files = await devpi.page()
        assert [file["hashes"]["sha256"] for file in files] == [hashlib.sha256(content).hexdigest()]
    async with devpi.resources.engine.connect() as connection:
        rows = await connection.execute(select(File.removed_at, File.history).order_by(File.removed_at.nulls_first()))
        (living, dead) = rows.all()
    assert (living.removed_at, [entry["count"] for entry in living.history]) == (None, [2])
    assert (dead.removed_at is not None, [entry["count"] for entry in dead.history]) == (True, [1])


async def test_a_tool_is_told_what_became_of_its_file(devpi: Devpi) -> None:
    """One line of text for twine and uv, also where they replace a file."""
    assert (await devpi.upload(SDIST, b"A", devpi=False)).text == f"{SDIST} is published in root/dev, serial 1.\n"
    assert (await devpi.upload(SDIST, b"A", devpi=False)).text == f"{SDIST} was already there in root/dev, serial 1.\n"
    assert (await devpi.upload(SDIST, b"B", devpi=False)).text == f"{SDIST} is published in root/dev, serial 2.\n"


@pytest.mark.parametrize("admission", ["devpi", "strict"])
async def test_a_non_volatile_index_keeps_what_it_has(devpi: Devpi, engine: AsyncEngine, admission: str) -> None:
    """The same bytes are 200 in devpi's words, others 409; and no metadata change on a refusal."""
    await shape(engine, devpi.resources, volatile=False, admission=admission)
    one, two = make_wheel("widget", "1.0"), make_wheel("widget", "1.0", requires_python=">=3.11")
    fields = {name: value for name, value in form_fields(WHEEL, one).items() if not name.endswith("_digest")}
    assert (await devpi.form(fields, WHEEL, one)).text == ""
    before = await devpi.metadata()
    again = await devpi.form(fields | {"summary": "changed"}, WHEEL, one)
    assert (again.status_code, again.text) == (200, "200 Upload of identical file to non volatile index.\n")
    other = await devpi.form(fields | {"summary": "changed"}, WHEEL, two)
    assert (other.status_code, told(other, devpi=True)) == (409, f"409 {WHEEL} already exists in non-volatile index")
    tool = await devpi.form(form_fields(WHEEL, two), WHEEL, two, devpi=False)
    assert tool.status_code == 409
    assert told(tool, devpi=False).startswith(f"File already exists: {WHEEL} is in root/dev with other bytes.")
    assert await devpi.metadata() == before
    late = await devpi.upload(
        "widget-1.0-1-py3-none-any.whl", make_wheel("widget", "1.0"), filetype="bdist_wheel", metadata_version="2.1"
    )
    assert late.status_code == 200, "a new file of an old version is allowed"


async def test_strict_admission_takes_the_devpi_client_and_looks_into_its_files(
    devpi: Devpi, engine: AsyncEngine
) -> None:
    """The form needs no digest, but the file is the truth: what it says is kept, and what is no archive refused."""
    await shape(engine, devpi.resources, admission="strict")
    fields = FILE | {"filetype": "bdist_wheel", "metadata_version": "2.1", "summary": "of the form"}
    assert (await devpi.form(fields, WHEEL, make_wheel("widget", "1.0"))).status_code == 200
    assert (await devpi.metadata()).get("summary") != "of the form"
    bad = await devpi.form(fields, "widget-1.0-1-py3-none-any.whl", b"no archive")
    assert bad.status_code == 400
    assert "zip" in told(bad, devpi=True).lower()


async def test_forms_of_files_add_to_the_metadata_and_registrations_replace_them(devpi: Devpi) -> None:
    """Fields that a form of a file leaves out keep their value; `submit` keeps what it says alone."""
    await devpi.upload(SDIST, b"A", summary="first", author="Ann")
    await devpi.upload("widget-1.0.zip", b"B", summary="second")
    kept = await devpi.metadata()
    assert (kept["summary"], kept["author"]) == ("second", "Ann")
    answer = await devpi.form({":action": "submit", "name": "Widget", "version": "1.0", "license": "MIT"})
    assert (answer.status_code, answer.text) == (200, "")
    assert await devpi.metadata() == {"name": "Widget", "version": "1.0", "license": "MIT"}
    assert [file["filename"] for file in (await devpi.page())[1]] == [SDIST, "widget-1.0.zip"]


@pytest.mark.parametrize("devpi_client", [True, False], ids=["devpi", "tool"])
async def test_a_registered_project_has_an_empty_signed_page(devpi: Devpi, devpi_client: bool) -> None:
    """Rows without files: 200 and nothing listed; a file comes later as to any project."""
    answer = await devpi.form(
        {":action": "submit", "name": "Hello.Pkg", "version": "1.0", "summary": "soon"}, devpi=devpi_client
    )
    assert (answer.status_code, answer.text) == (200, "")
    assert await devpi.page("hello-pkg") == (200, [])
    assert orjson.loads(devpi.tree.target("pointers/hello-pkg/_simple.json") or b"{}")["files"] == []
    assert (await devpi.upload("hello_pkg-1.0.zip", b"x", name="hello-pkg")).status_code == 200
    assert [file["filename"] for file in (await devpi.page("hello-pkg"))[1]] == ["hello_pkg-1.0.zip"]
    async with devpi.resources.engine.connect() as connection:
        assert await connection.scalar(select(Project.display_name)) == "Hello.Pkg"


@pytest.mark.parametrize("volatile", [True, False])
async def test_registering_changes_nothing_of_what_files_say(devpi: Devpi, engine: AsyncEngine, volatile: bool) -> None:
    """On a strict index, or a non-volatile one, a release with files keeps its metadata; without, the first file's
    own replace what was registered. The answer is 200 each time: clients register before every upload."""
    await shape(engine, devpi.resources, volatile=volatile, admission="strict" if volatile else "devpi")
    submit = SUBMIT | {"summary": "registered"}
    assert (await devpi.form(submit)).status_code == 200
    assert (await devpi.metadata())["summary"] == "registered"
    content = make_wheel("widget", "1.0")
    await devpi.upload(WHEEL, content, filetype="bdist_wheel", metadata_version="2.1", summary="with the file")
    before = await devpi.metadata()
    assert before.get("summary") != "registered"
    assert (await devpi.form(submit)).status_code == 200
    assert await devpi.metadata() == before


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": "wid get"}, "400 invalid metadata: the project name 'wid get' cannot be used"),
        ({"version": ""}, "400 invalid metadata: version missing in the form."),
        ({"version": "final"}, "400 invalid metadata: 'final' is no version (PEP 440)"),
    ],
)
async def test_a_registration_that_cannot_be(devpi: Devpi, fields: dict[str, str], words: str) -> None:
    """400 in words, and no project."""
    answer = await devpi.form(SUBMIT | fields)
    assert answer.status_code == 400
    assert told(answer, devpi=True).startswith(words)
    async with devpi.resources.engine.connect() as connection:
        assert await connection.scalar(select(Project.id)) is None


async def test_registrations_are_gone_from_the_hosts_upload_url(devpi: Devpi) -> None:
    """`/legacy/` is the public index's form, which has files only."""
    answer = await devpi.form(SUBMIT, path="/legacy/")
    assert answer.status_code == 404, "there is no default index here"


async def test_files_that_come_at_once_replace_each_other_in_some_order(devpi: Devpi) -> None:
    """Eight uploads of other bytes under one name at the same moment: all are answered 200, one file is listed."""
    contents = [f"bytes {number}".encode() for number in range(8)]
    answers = await asyncio.gather(*(devpi.upload(SDIST, content) for content in contents))
    assert [answer.status_code for answer in answers] == [200] * 8
    _, (file,) = await devpi.page()
    assert file["hashes"]["sha256"] in {hashlib.sha256(content).hexdigest() for content in contents}


async def test_all_of_devpis_archives_are_listed(devpi: Devpi) -> None:
    """Eggs, installers and packages of systems stand beside wheels, and what a plain download takes is the wheel."""
    names = [f"widget-1.0{end}" for end in (".win32.exe", ".zip", ".tgz", "-py3.11.egg", ".msi", "-1.noarch.rpm")]
    for number, name in enumerate([*names, WHEEL]):
        assert (await devpi.upload(name, f"{number}".encode())).status_code == 200
    assert {file["filename"] for file in (await devpi.page())[1]} == {*names, WHEEL}
    assert f'file: "{WHEEL}"'.encode() in (devpi.tree.target("pointers/widget/_latest.pointer") or b"")
    document = (await devpi.pages.get("/root/dev/pypi/widget/json")).json()
    assert {file["packagetype"] for file in document["urls"]} == {
        *("bdist_wininst", "sdist", "bdist_egg", "bdist_msi", "bdist_rpm", "bdist_wheel")
    }
    listed = await devpi.http.get(
        "/api/v1/indexes/root/dev/projects/widget/releases/1.0", headers=devpi.headers(devpi=False)
    )
    assert listed.status_code == 200
    assert len(listed.json()["files"]) == 7


async def test_a_token_of_a_login_uploads(devpi: Devpi, engine: AsyncEngine) -> None:
    """What `+login` gives is a token; the account's password stays refused."""
    token = await make_token(engine, "root", EVERYTHING)
    await devpi.resources.directory.refresh()
    answer = await devpi.form(FILE, SDIST, b"x", token=token)
    assert answer.status_code == 200
