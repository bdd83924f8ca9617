"""Who may upload: every refusal with its status and words, before anything is read."""

import asyncio
from datetime import timedelta

import pytest
from packaging.utils import NormalizedName
from sqlalchemy import text

from services.upload.app import create_service
from shared.auth.passwords import hash_password
from shared.auth.principal import Scope, Verb
from tests.support.archives import make_wheel
from tests.support.factories import make_account, make_index, make_token
from tests.support.serving import served
from tests.support.uploader import Uploader
from tests.support.uploading import basic, form_body

WHEEL = "widget-1.0-py3-none-any.whl"


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
