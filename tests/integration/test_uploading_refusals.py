"""Uploads that are refused whoever sends them: every refusal with its status and words, nothing left behind."""

from collections.abc import AsyncIterator

import pytest

from tests.support.archives import make_sdist, make_wheel
from tests.support.uploader import Uploader
from tests.support.uploading import basic, form_fields

WHEEL = "widget-1.0-py3-none-any.whl"


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
