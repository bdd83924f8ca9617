"""The upload service on a real Postgres and a real folder: every refusal with its status and words, nothing left
behind."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import httpx2
import pytest
from packaging.utils import NormalizedName
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.digest import sha256_of
from services.signing.ceremonies.trust_root import ensure_trust
from services.signing.publication.usecases import Publisher
from services.upload.app import create_service
from shared.auth.passwords import hash_password
from shared.auth.principal import Scope, Verb
from shared.catalogue.tables import Audit, Outbox
from tests.support.archives import make_sdist, make_wheel
from tests.support.factories import make_account, make_index, make_token
from tests.support.resources import service_resources
from tests.support.serving import served
from tests.support.uploader import Uploader, open_uploader
from tests.support.uploading import basic, form_body, form_fields

WHEEL = "widget-1.0-py3-none-any.whl"


@pytest.fixture
async def uploader(engine: AsyncEngine, tmp_path: Path) -> AsyncIterator[Uploader]:
    """The service, its default index, and the owner's token for it."""
    async with open_uploader(engine, tmp_path) as opened:
        yield opened


async def test_a_wheel_is_durable_and_its_publication_waits(uploader: Uploader) -> None:
    """Without a signer the answer is still 200, with words and a link to the status."""
    answer = await uploader.post(WHEEL, make_wheel("widget", "1.0"))
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    assert "pending" in answer.text
    link = answer.headers["link"]
    assert link.endswith('; rel="status"')
    state = (await uploader.http.get(link[1 : link.index(">")])).json()
    assert (state["state"], state["filename"], state["index"]) == ("received", WHEEL, "root/stable")
    async with uploader.resources.engine.connect() as connection:
        assert await connection.scalar(select(func.count()).select_from(Outbox)) == 1
    assert len(uploader.left_behind()) == 2, "the wheel and its metadata, nothing in staging"


async def test_who_brought_which_bytes_is_on_record(uploader: Uploader) -> None:
    """An upload leaves one row, with account, token and digest; the same bytes again leave none."""
    content = make_wheel("widget", "1.0")
    for _ in range(2):
        assert (await uploader.post(WHEEL, content)).status_code == 200
    async with uploader.resources.engine.connect() as connection:
        (row,) = await connection.execute(select(Audit).where(Audit.action == "file.upload"))
    assert (row.actor, row.subject) == ("root", f"root/stable/widget/1.0/{WHEEL}")
    assert row.detail.keys() == {"sha256", "length", "token"}
    assert (row.detail["sha256"], row.detail["length"]) == (sha256_of(content), len(content))


async def test_an_upload_waits_for_its_publication(engine: AsyncEngine, tmp_path: Path) -> None:
    """With a signer at work, the answer comes when the file is listed, and says the serial."""
    async with service_resources(engine, tmp_path, publish_wait=10) as resources:
        await ensure_trust(resources)
        index = await make_index(engine)
        token = await make_token(engine)
        await resources.directory.refresh()
        publisher = Publisher(resources)

        async def sign() -> None:
            while True:
                await publisher.publish(index.id)
                await resources.heads.wake(str(index.id))
                await asyncio.sleep(0.02)

        signer = asyncio.create_task(sign())
        body, form = form_body(WHEEL, make_wheel("widget", "1.0"))
        transport = httpx2.ASGITransport(create_service(resources).app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://registry") as http:
            answer = await http.post("/root/stable/", content=body, headers=basic(token) | form)
        signer.cancel()
    assert (answer.status_code, answer.text) == (200, f"{WHEEL} is published in root/stable, serial 1.\n")


@pytest.mark.parametrize("path", ["/root/stable/", "/root/stable", "/legacy/", "/legacy"])
async def test_every_spelling_of_an_upload_url_works(uploader: Uploader, path: str) -> None:
    """No redirects: twine stops at them."""
    assert (await uploader.post(WHEEL, make_wheel("widget", "1.0"), path=path)).status_code == 200


async def test_the_same_bytes_again_are_fine_and_other_bytes_are_not(uploader: Uploader) -> None:
    """Reruns are harmless; a conflict says so in the words that clients look for."""
    content = make_wheel("widget", "1.0")
    for _ in range(2):
        assert (await uploader.post(WHEEL, content)).status_code == 200
    answer = await uploader.post(WHEEL, make_wheel("widget", "1.0", requires_python=">=3.11"))
    assert answer.status_code == 409
    assert "already exists" in answer.text
    assert await uploader.files() == 1


async def test_twenty_identical_uploads_at_once_make_one_file(uploader: Uploader) -> None:
    """One wins, all are answered 200."""
    content = make_wheel("widget", "1.0")
    answers = await asyncio.gather(*(uploader.post(WHEEL, content) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert await uploader.files() == 1


async def test_of_two_different_uploads_at_once_one_is_told_of_the_conflict(uploader: Uploader) -> None:
    """Whoever commits second gets 409, not a fault of ours."""
    one, two = make_wheel("widget", "1.0"), make_wheel("widget", "1.0", requires_python=">=3.11")
    answers = await asyncio.gather(uploader.post(WHEEL, one), uploader.post(WHEEL, two))
    assert sorted(answer.status_code for answer in answers) == [200, 409]


async def test_a_release_has_one_source_archive(uploader: Uploader) -> None:
    """Another spelling of the version brings no second one, also at the same moment; the same bytes again are fine."""
    names = ["widget-1.0.tar.gz", "widget-1.0.0.tar.gz", "widget-1.tar.gz"]
    contents = [make_sdist("widget", name.removeprefix("widget-").removesuffix(".tar.gz")) for name in names]
    answers = await asyncio.gather(*map(uploader.post, names, contents))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409]
    taken = next(place for place, answer in enumerate(answers) if answer.status_code == 200)
    assert all(f"has a source archive already: {names[taken]}." in a.text for a in answers if a.status_code == 409)
    assert (await uploader.post(names[taken], contents[taken])).status_code == 200
    assert (await uploader.post(WHEEL, make_wheel("widget", "1.0"))).status_code == 200
    assert await uploader.files() == 2


async def test_a_removed_name_stays_burnt(uploader: Uploader) -> None:
    """Not even the same bytes bring a removed file back."""
    content = make_wheel("widget", "1.0")
    await uploader.post(WHEEL, content)
    async with uploader.resources.engine.begin() as connection:
        await connection.execute(text("update file set removed_at = now(), removed_by = 'root'"))
    answer = await uploader.post(WHEEL, content)
    assert answer.status_code == 409
    assert "cannot be used again" in answer.text


@pytest.mark.parametrize("field", ["sha256_digest", "blake2_256_digest", "md5_digest"])
async def test_a_wrong_digest_is_refused(uploader: Uploader, field: str) -> None:
    """Each digest that is sent must match, and the answer says which did not."""
    content = make_wheel("widget", "1.0")
    answer = await uploader.post(WHEEL, content, fields=form_fields(WHEEL, content) | {field: "0" * 64})
    assert answer.status_code == 400
    assert "digest" in answer.text
    assert "is not that of the bytes received" in answer.text
    assert uploader.left_behind() == []


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({}, "Credentials are needed"),
        (basic("cmk_1" + "0" * 49), "mistyped"),
        (basic("not a token"), "wrong token"),
        ({"authorization": "Bearer nonsense"}, "unknown"),
        ({"authorization": "Digest x"}, "not understood"),
        ({"authorization": "Basic !!!"}, "not understood"),
    ],
)
async def test_without_a_good_token_nothing_is_read(uploader: Uploader, headers: dict[str, str], words: str) -> None:
    """401 with a challenge, before the body."""
    answer = await uploader.post(WHEEL, make_wheel("widget", "1.0"), headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Basic realm=")
    assert words in answer.text
    assert uploader.left_behind() == []


async def test_credentials_that_are_no_text_are_wrong_ones(uploader: Uploader) -> None:
    """Bytes beyond ASCII in the header are 401 like any other nonsense."""
    answer = await uploader.http.post("/root/stable/", headers=[(b"authorization", b"Basic \xe9\xff")])
    assert (answer.status_code, "not understood" in answer.text) == (401, True)


async def test_who_waits_before_sending_is_told_without_a_good_token(uploader: Uploader) -> None:
    """`Expect: 100-continue` is answered with 401 or 413 at once, and with 100 only where the body will be read."""
    body, form = form_body(WHEEL, make_wheel("widget", "1.0"))
    async with served(create_service(uploader.resources).app) as url:
        good = basic(uploader.token)["authorization"]
        for authorization, length, status in (
            (None, len(body), b"401"),
            (basic("wrong")["authorization"], len(body), b"401"),
            (good, 1 << 40, b"413"),
            (good, len(body), b"100"),
        ):
            head = [
                "POST /root/stable/ HTTP/1.1",
                "host: registry",
                "expect: 100-continue",
                f"content-type: {form['content-type']}",
                f"content-length: {length}",
                *([] if authorization is None else [f"authorization: {authorization}"]),
            ]
            reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
            writer.write("\r\n".join([*head, "", ""]).encode())
            assert (await asyncio.wait_for(reader.readline(), 10)).split()[1] == status
            if status == b"100":
                await reader.readline()
                writer.write(body)
                assert (await asyncio.wait_for(reader.readline(), 10)).split()[1] == b"200"
            writer.close()


async def test_an_expired_token_is_named_as_expired(uploader: Uploader) -> None:
    """The person at the other end learns what to do."""
    token = await make_token(uploader.resources.engine, lifetime=timedelta(days=-1))
    await uploader.resources.directory.refresh()
    answer = await uploader.post(WHEEL, make_wheel("widget", "1.0"), headers=basic(token))
    assert answer.status_code == 401
    assert "expired" in answer.text


@pytest.mark.parametrize(
    "scope",
    [
        {"project": NormalizedName("gadget"), "verbs": frozenset({Verb.UPLOAD})},
        {"project": None, "verbs": frozenset({Verb.READ})},
    ],
)
async def test_a_token_of_another_project_or_verb_is_forbidden(uploader: Uploader, scope: dict[str, object]) -> None:
    """403 in words, and nothing is kept."""
    limited = Scope(uploader.index.name, **scope)  # type: ignore[arg-type]
    token = await make_token(uploader.resources.engine, "root", [limited])
    await uploader.resources.directory.refresh()
    answer = await uploader.post(WHEEL, make_wheel("widget", "1.0"), headers=basic(token))
    assert answer.status_code == 403
    assert "the token is not for this index, project or action" in answer.text
    assert uploader.left_behind() == []


async def test_an_account_without_the_right_is_forbidden(uploader: Uploader) -> None:
    """Knowing who asks does not help when no grant names them."""
    token = await make_token(uploader.resources.engine, "mallory")
    await uploader.resources.directory.refresh()
    answer = await uploader.post(WHEEL, make_wheel("widget", "1.0"), headers=basic(token))
    assert answer.status_code == 403
    assert "mallory may not upload on root/stable" in answer.text


async def test_a_password_is_no_key_for_uploads(uploader: Uploader) -> None:
    """A wrong one is 401; the right one is 403 and told to make a token, though the account has the right."""
    await make_account(uploader.resources.engine, "ci", password_hash=hash_password("correct horse"))
    async with uploader.resources.engine.begin() as connection:
        await connection.execute(text("insert into \"grant\" select id, 'ci', 'upload' from index"))
    await uploader.resources.directory.refresh()
    content = make_wheel("widget", "1.0")
    wrong = await uploader.post(WHEEL, content, headers=basic("wrong", user="ci"))
    right = await uploader.post(WHEEL, content, headers=basic("correct horse", user="ci"))
    assert (wrong.status_code, right.status_code) == (401, 403)
    assert "make a token" in right.text
    assert (await uploader.files(), uploader.left_behind()) == (0, [])


async def test_an_unknown_index_is_not_found(uploader: Uploader) -> None:
    """404 names the index that was meant."""
    answer = await uploader.post(WHEEL, make_wheel("widget", "1.0"), path="/root/nothing/")
    assert (answer.status_code, answer.text) == (404, "There is no index root/nothing.\n")


async def test_an_announced_body_above_the_limit_is_refused_before_it_is_read(uploader: Uploader) -> None:
    """The length in the header is enough: 413 at once."""
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while True:
            taken += 65536
            yield b"x" * 65536

    headers = basic(uploader.token) | {
        "content-type": "multipart/form-data; boundary=b",
        "content-length": str(1 << 40),
    }
    answer = await uploader.http.post("/root/stable/", content=endless(), headers=headers)
    assert answer.status_code == 413
    assert "larger than 20000000 bytes" in answer.text
    assert taken <= 65536


async def test_an_unannounced_body_is_cut_at_the_limit(uploader: Uploader) -> None:
    """A chunked body that goes on is refused as soon as it passes the limit, and its bytes are removed."""
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        yield b'--b\r\nContent-Disposition: form-data; name="content"; filename="' + WHEEL.encode() + b'"\r\n\r\n'
        while True:
            taken += 65536
            yield b"x" * 65536

    headers = basic(uploader.token) | {"content-type": "multipart/form-data; boundary=b"}
    answer = await uploader.http.post("/root/stable/", content=endless(), headers=headers)
    assert answer.status_code == 413
    assert taken < 23_000_000
    assert uploader.left_behind() == []


@pytest.mark.parametrize(
    "name", ["../../etc/passwd.whl", "..\\widget-1.0-py3-none-any.whl", "/widget-1.0.tar.gz", "a/b.whl"]
)
async def test_a_path_in_the_file_name_is_refused(uploader: Uploader, name: str) -> None:
    """The name is judged before it is used for anything."""
    content = make_wheel("widget", "1.0")
    answer = await uploader.post(name, content, fields=form_fields(WHEEL, content))
    assert answer.status_code == 400
    assert "must not contain a path" in answer.text
    assert uploader.left_behind() == []


@pytest.mark.parametrize("cut", [10, 200, 500])
async def test_a_truncated_wheel_is_refused(uploader: Uploader, cut: int) -> None:
    """What is no complete zip is not kept, whatever its digests say."""
    answer = await uploader.post(WHEEL, make_wheel("widget", "1.0")[:cut])
    assert answer.status_code == 400
    assert WHEEL in answer.text
    assert uploader.left_behind() == []


@pytest.mark.parametrize(
    ("file_name", "content", "words"),
    [
        ("widget-1.0.tar.gz", make_sdist("gadget", "1.0"), "gadget"),
        (WHEEL, make_wheel("widget", "2.0"), "2.0"),
        ("widget-1.0.tar.gz", b"just text", "gzip"),
        (WHEEL, b"just text", "zip"),
        ("widget.zip", b"x", "widget.zip"),
    ],
)
async def test_a_file_that_is_not_what_its_name_says_is_refused(
    uploader: Uploader, file_name: str, content: bytes, words: str
) -> None:
    """The archive is read: metadata of another project or version, or no archive at all, is 400."""
    named = file_name if file_name.endswith((".whl", ".tar.gz")) else WHEEL
    answer = await uploader.post(file_name, content, fields=form_fields(named, content))
    assert answer.status_code == 400
    assert words in answer.text
    assert uploader.left_behind() == []


async def test_a_form_that_contradicts_the_file_is_refused(uploader: Uploader) -> None:
    """The file is the truth; a form that says otherwise was made for another file."""
    content = make_wheel("widget", "1.0", requires_python=">=3.11")
    answer = await uploader.post(WHEEL, content, fields=form_fields(WHEEL, content) | {"requires_python": ">=2.7"})
    assert answer.status_code == 400
    assert "requires_python" in answer.text


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("text/plain", b"hello"),
        ("multipart/form-data", b"--b--\r\n"),
        ("multipart/form-data; boundary=b", b""),
        ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="content"; filename="x'),
        ("multipart/form-data; boundary=b", b"--b\r\n" + b"X-Header: " + b"y" * 100_000 + b"\r\n\r\n--b--\r\n"),
        ("multipart/form-data; boundary=" + "b" * 5000, b"x"),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="name"\r\n\r\nwidget\r\n--b--\r\n',
        ),
    ],
)
async def test_a_hostile_or_broken_form_is_refused_in_words(uploader: Uploader, content_type: str, body: bytes) -> None:
    """Whatever arrives, the answer is one plain sentence and no fault of ours."""
    headers = basic(uploader.token) | {"content-type": content_type}
    answer = await uploader.http.post("/root/stable/", content=body, headers=headers)
    assert answer.status_code == 400
    assert answer.text.strip().endswith(".")
    assert uploader.left_behind() == []


@pytest.mark.parametrize(
    "path", ["/root/stable/", "/root/stable", "/legacy/", "/legacy", "/root/stable/odd/", "/odd", "/"]
)
async def test_no_upload_url_answers_405_or_a_problem_document(uploader: Uploader, path: str) -> None:
    """uv looks whether a failed upload is there all the same, but not after 405 or a problem document."""
    for headers in ({}, basic(uploader.token)):
        for accept in ("*/*", "application/json;q=0.9, text/plain;q=0.8, text/html;q=0.7"):
            answer = await uploader.http.post(path, content=b"x", headers={**headers, "accept": accept})
            assert answer.status_code in {400, 401, 404}
            assert answer.headers["content-type"] == "text/plain; charset=utf-8"


async def test_an_old_action_is_gone(uploader: Uploader) -> None:
    """`submit` to the host's upload URL answers 410 with what to do, though its form has no file."""
    headers = basic(uploader.token) | {"content-type": "multipart/form-data; boundary=b"}
    body = b'--b\r\nContent-Disposition: form-data; name=":action"\r\n\r\nsubmit\r\n--b--\r\n'
    answer = await uploader.http.post("/legacy/", content=body, headers=headers)
    assert answer.status_code == 410
    assert "file_upload" in answer.text


async def test_the_state_of_a_private_file_is_for_its_readers(uploader: Uploader) -> None:
    """Strangers learn nothing from the status link but that they must say who they are."""
    engine = uploader.resources.engine
    await make_index(engine, "root/secret", public=False)
    owner = await make_token(engine, "root")
    await uploader.resources.directory.refresh()
    content = make_wheel("widget", "1.0")
    answer = await uploader.post(WHEEL, content, headers=basic(owner), path="/root/secret/")
    assert answer.status_code == 200
    assert uploader.left_behind() == [], "nothing of a private index lies on the public side"
    link = answer.headers["link"]
    status = link[1 : link.index(">")]
    assert (await uploader.http.get(status)).status_code == 401
    mallory = await make_token(engine, "mallory")
    await uploader.resources.directory.refresh()
    assert (await uploader.http.get(status, headers=basic(mallory))).status_code == 403
    assert (await uploader.http.get(status, headers=basic(owner))).json()["state"] == "received"
