"""The upload form: what is taken, what is refused and with which words, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import hashlib
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from services.upload.form import ContentMissing, FormLimits, ReceivedForm, receive_form
from services.upload.spool import BATCH_BYTES
from shared.errors import ErrorKind, ServiceError
from tests.support.archives import payload
from tests.support.forms import BOUNDARY, CONTENT_TYPE, Part, chunked, file_part, form_body, text_part

NAME = "widget-1.0-py3-none-any.whl"
FILE = file_part(NAME, b"bytes of the file")

Receive = Callable[..., Awaitable[ReceivedForm]]


@pytest.fixture
def receive(tmp_path: Path) -> Receive:
    """Return a function that sends a body in chunks; after a refusal it checks that no file is left."""

    async def receiver(
        body: bytes,
        *,
        content_type: str | None = CONTENT_TYPE,
        chunk: int = 65_536,
        max_file_bytes: int = 1 << 30,
        limits: FormLimits | None = None,
    ) -> ReceivedForm:
        try:
            return await receive_form(
                chunked(body, chunk), content_type, tmp_path, max_file_bytes, limits or FormLimits()
            )
        except ServiceError as error:
            _check_refusal(error, tmp_path)
            raise

    return receiver


def _check_refusal(error: ServiceError, folder: Path) -> None:
    assert list(folder.iterdir()) == []
    assert error.detail.isascii()
    assert "\n" not in error.detail


async def _refused(received: Awaitable[ReceivedForm]) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        await received
    return caught.value


async def test_fields_and_file_are_received(receive: Receive, tmp_path: Path) -> None:
    """Text fields keep their order and repetition; the file has its length and three digests."""
    data = payload(100_000)
    body = form_body(
        [
            text_part(":action", "file_upload"),
            text_part("classifiers", "A"),
            text_part("classifiers", "B"),
            file_part(NAME, data),
            text_part("summary", "Caf\u00e9"),
        ]
    )
    form = await receive(body)
    assert form.fields == {":action": ["file_upload"], "classifiers": ["A", "B"], "summary": ["Caf\u00e9"]}
    assert (form.file_name, form.length) == (NAME, len(data))
    assert form.path.read_bytes() == data
    assert form.sha256 == hashlib.sha256(data).hexdigest()
    assert form.blake2b_256 == hashlib.blake2b(data, digest_size=32).hexdigest()
    assert form.md5 == hashlib.md5(data).hexdigest()
    assert form.path.parent == tmp_path
    assert NAME not in form.path.name
    assert stat.S_IMODE(form.path.stat().st_mode) == 0o600


@pytest.mark.parametrize("size", [1, BATCH_BYTES - 1, BATCH_BYTES, BATCH_BYTES + 1, 3 * BATCH_BYTES + 12_345])
async def test_files_of_any_size_arrive_whole(receive: Receive, size: int) -> None:
    """Batches are put together again at every edge."""
    data = payload(size)
    form = await receive(form_body([file_part(NAME, data)]), chunk=300_000)
    assert form.length == size
    assert form.path.read_bytes() == data
    assert form.sha256 == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("chunk", [1, 2, 7, 64, 100_000])
async def test_chunks_may_end_anywhere(receive: Receive, chunk: int) -> None:
    """Boundaries, headers and data are found however the network cuts the body, look-alikes of boundaries included."""
    data = f"\r\n--{BOUNDARY[:-1]}\r\n--\r--{BOUNDARY}x\r\n".encode()
    form = await receive(form_body([text_part("name", "widget"), file_part(NAME, data)]), chunk=chunk)
    assert form.path.read_bytes() == data
    assert form.fields == {"name": ["widget"]}


async def test_the_order_of_parts_does_not_matter(receive: Receive) -> None:
    """Clients send the file first, last, or before the attestations."""
    form = await receive(form_body([FILE, text_part("attestations", "[]")]))
    assert form.fields == {"attestations": ["[]"]}


async def test_values_are_cleaned(receive: Receive) -> None:
    """`UNKNOWN` means absent, NUL characters go, an empty value stays."""
    parts = [text_part("license", "UNKNOWN"), text_part("summary", "a\0b"), text_part("requires_python", ""), FILE]
    assert (await receive(form_body(parts))).fields == {"summary": ["ab"], "requires_python": [""]}


async def test_a_signature_file_is_dropped(receive: Receive) -> None:
    """The part `gpg_signature` of old clients is read and forgotten."""
    form = await receive(form_body([file_part("x.asc", b"sig", name="gpg_signature"), FILE]))
    assert form.fields == {}
    assert form.path.read_bytes() == FILE.data


async def test_preamble_and_epilogue_are_skipped(receive: Receive) -> None:
    """A line end before the first boundary and bytes after the last are legal."""
    form = await receive(b"\r\n" + form_body([FILE]) + b"\r\nepilogue")
    assert form.path.read_bytes() == FILE.data


@pytest.mark.parametrize(
    "content_type",
    [
        f'multipart/form-data; boundary="{BOUNDARY}"',
        f"Multipart/Form-Data;BOUNDARY={BOUNDARY}; charset=utf-8",
        f"multipart/form-data ; boundary={BOUNDARY} ",
    ],
)
async def test_content_types_are_read_as_http_allows(receive: Receive, content_type: str) -> None:
    """Quotes, case, blanks and other parameters make no difference."""
    assert (await receive(form_body([FILE]), content_type=content_type)).length == len(FILE.data)


@pytest.mark.parametrize(
    ("content_type", "words"),
    [
        (None, "multipart/form-data"),
        ("", "multipart/form-data"),
        ("application/json", "multipart/form-data"),
        ("multipart/mixed; boundary=x", "multipart/form-data"),
        ("multipart/form-data", "boundary"),
        ("multipart/form-data; boundary=", "boundary"),
        (f"multipart/form-data; boundary={'b' * 71}", "boundary"),
        ('multipart/form-data; boundary="a "', "boundary"),
        ("multipart/form-data; boundary=b\u00f6", "boundary"),
        ("multipart/form-data; boundary=a; boundary=b", "malformed"),
        ("multipart/form-data; boundary*=a", "malformed"),
        ('multipart/form-data; boundary="a', "malformed"),
        ("multipart/form-data, boundary=a", "malformed"),
    ],
)
async def test_other_content_types_are_refused(receive: Receive, content_type: str | None, words: str) -> None:
    """A request that is no form, or names no usable boundary, is refused before its body is read."""
    error = await _refused(receive(form_body([FILE]), content_type=content_type))
    assert error.kind is ErrorKind.INVALID
    assert words in error.detail


def _part(*headers: str) -> Part:
    return Part([header.encode() for header in headers], b"x")


_DISPOSITION = 'Content-Disposition: form-data; name="content"'


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([FILE, FILE], "more than one file"),
        ([text_part("content", "x")], "must be a file"),
        ([file_part("a.txt", b"x", name="summary"), FILE], "'summary' must be text"),
        ([file_part("a.txt", b"x", name="attestations"), FILE], "'attestations' must be text"),
        ([file_part(NAME, b"")], "is empty"),
        ([file_part("../../etc/passwd", b"x")], "must not contain a path"),
        ([file_part("..", b"x")], "cannot be used"),
        ([file_part("C:\\x\\widget.whl", b"x")], "must not contain a path"),
        ([file_part("\\\\host\\widget.whl", b"x")], "must not contain a path"),
        ([file_part("widget\t.whl", b"x")], "cannot be used"),
        ([file_part("widget\0.whl", b"x")], "control character"),
        ([file_part("widg\u00ebt.whl", b"x")], "cannot be used"),
        ([file_part("", b"x")], "cannot be used"),
        ([file_part("w" * 181, b"x")], "longer than 180"),
        ([_part(f'{_DISPOSITION}; filename="a"; filename="b"')], "malformed"),
        ([_part(f"{_DISPOSITION}; filename=\"a\"; filename*=utf-8''b")], "malformed"),
        ([_part(f'{_DISPOSITION}; filename="a\\"; filename="b"')], "malformed"),
        ([_part(f'{_DISPOSITION}; filename="a')], "malformed"),
        ([_part("Content-Disposition: attachment; name=x")], "no valid name"),
        ([_part("Content-Disposition: form-data")], "no valid name"),
        ([_part('Content-Disposition: form-data; name=""')], "no valid name"),
        ([_part('Content-Disposition: form-data; name="' + "n" * 129 + '"')], "no valid name"),
        ([_part('Content-Disposition: form-data; name="a\\b"')], "no valid name"),
        ([_part("Content-Type: text/plain")], "no valid name"),
        ([Part([], b"x")], "no valid name"),
        ([_part(_DISPOSITION, _DISPOSITION)], "twice"),
        ([_part('Content-Disposition: form-data; name="a\nb"')], "control character"),
        ([Part([b'Content-Disposition: form-data; name="\xff"'], b"")], "not UTF-8"),
        ([_part(f'{_DISPOSITION}; filename="a"', "Content-Transfer-Encoding: base64")], "Content-Transfer-Encoding"),
        ([Part([b'Content-Disposition: form-data; name="a"'], b"\xff")], "'a' is not UTF-8"),
        ([_part("Content Disposition: x")], "not valid multipart"),
        ([_part(*[f"X-{n}: x" for n in range(9)])], "not valid multipart"),
        ([_part("X: " + "x" * 5000)], "not valid multipart"),
        ([_part("X" * 5000 + ": x")], "not valid multipart"),
    ],
)
async def test_malformed_forms_are_refused(receive: Receive, parts: Sequence[Part], words: str) -> None:
    """Each fault has its sentence, and a path in a file name never reaches the file system."""
    for chunk in (65_536, 11):
        error = await _refused(receive(form_body(parts), chunk=chunk))
        assert error.kind is ErrorKind.INVALID
        assert words in error.detail


@pytest.mark.parametrize(
    "body",
    [
        b"",
        form_body([FILE])[:-4],
        form_body([FILE])[:60],
        form_body([file_part(NAME, payload(3_000_000))])[:2_000_000],
        b"--" + BOUNDARY.encode() + b"\r\n",
        b"\r\n" * 1000,
    ],
)
async def test_bodies_that_end_early_are_refused(receive: Receive, body: bytes) -> None:
    """Without the last boundary nothing is taken, wherever the body was cut."""
    error = await _refused(receive(body))
    assert error.kind is ErrorKind.INVALID
    assert "ended before" in error.detail


@pytest.mark.parametrize("body", [b"hello", b"--other\r\n", form_body([FILE], boundary="other")])
async def test_bodies_of_another_boundary_are_refused(receive: Receive, body: bytes) -> None:
    """A body that does not begin with the boundary of the header is no form."""
    error = await _refused(receive(body))
    assert error.kind is ErrorKind.INVALID
    assert "not valid multipart" in error.detail


async def test_a_form_without_a_file_tells_its_fields(receive: Receive) -> None:
    """The caller learns which action was meant, to say that it is gone."""
    with pytest.raises(ContentMissing) as caught:
        await receive(form_body([text_part(":action", "submit")]))
    assert caught.value.fields == {":action": ["submit"]}
    assert caught.value.kind is ErrorKind.INVALID
    with pytest.raises(ContentMissing):
        await receive(form_body([]))


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([file_part(NAME, bytes(1001))], "file is longer than 1000 bytes"),
        ([text_part("summary", "x" * 101), FILE], "'summary' is longer than 100 bytes"),
        ([*[text_part("a", "x" * 90)] * 4, FILE], "text of the form is longer than 300 bytes"),
        ([file_part("x.asc", bytes(301), name="gpg_signature"), FILE], "text of the form is longer than 300 bytes"),
        ([*[text_part("a", "")] * 6, FILE], "more than 6 fields"),
    ],
)
async def test_limits_are_kept(receive: Receive, parts: Sequence[Part], words: str) -> None:
    """Each limit has its sentence and its kind."""
    limits = FormLimits(max_field_bytes=100, max_text_bytes=300, max_fields=6)
    error = await _refused(receive(form_body(parts), max_file_bytes=1000, limits=limits))
    assert error.kind is ErrorKind.TOO_LARGE
    assert words in error.detail


async def test_what_just_fits_is_taken(receive: Receive) -> None:
    """Limits name the largest that is taken."""
    limits = FormLimits(max_field_bytes=100, max_text_bytes=200, max_fields=3)
    parts = [text_part("a", "x" * 100), text_part("b", "x" * 100), file_part(NAME, bytes(1000))]
    assert (await receive(form_body(parts), max_file_bytes=1000, limits=limits)).length == 1000


async def test_a_file_above_the_limit_is_refused_at_once(tmp_path: Path) -> None:
    """The rest of the body is not read, and the part on disk is removed."""
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        yield form_body([FILE]).partition(FILE.data)[0]
        while True:
            read += 65_536
            yield bytes(65_536)

    error = await _refused(receive_form(endless(), CONTENT_TYPE, tmp_path, 5 << 20))
    assert error.kind is ErrorKind.TOO_LARGE
    assert read <= (5 << 20) + 65_536
    assert list(tmp_path.iterdir()) == []


async def test_an_endless_epilogue_is_refused(tmp_path: Path) -> None:
    """Bytes after the last boundary, or line ends before the first, count as well."""

    async def endless(start: bytes) -> AsyncIterator[bytes]:
        yield start
        while True:
            yield b"\r\n" * 32_768

    for start in (form_body([FILE]), b""):
        limits = FormLimits(max_text_bytes=1000, max_fields=10)
        error = await _refused(receive_form(endless(start), CONTENT_TYPE, tmp_path, 1000, limits))
        assert error.kind is ErrorKind.TOO_LARGE
        assert list(tmp_path.iterdir()) == []


async def test_a_broken_connection_leaves_nothing(tmp_path: Path) -> None:
    """An error of the request stream passes through, and the file is removed."""

    async def broken() -> AsyncIterator[bytes]:
        yield form_body([file_part(NAME, bytes(3_000_000))])[:2_500_000]
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await receive_form(broken(), CONTENT_TYPE, tmp_path, 1 << 30)
    assert list(tmp_path.iterdir()) == []


async def test_a_cancelled_upload_leaves_nothing(tmp_path: Path) -> None:
    """A request that is given up removes its file, also while a batch is being written."""
    arrived = asyncio.Event()

    async def stalled() -> AsyncIterator[bytes]:
        yield form_body([file_part(NAME, bytes(3_000_000))])[:2_500_000]
        arrived.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(receive_form(stalled(), CONTENT_TYPE, tmp_path, 1 << 30))
    await arrived.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert list(tmp_path.iterdir()) == []


async def test_a_folder_that_cannot_be_written_is_the_servers_fault(tmp_path: Path) -> None:
    """The client is told to come back, and not which path is wrong."""
    error = await _refused(receive_form(chunked(form_body([FILE])), CONTENT_TYPE, tmp_path / "missing", 1 << 30))
    assert error.kind is ErrorKind.UNAVAILABLE
    assert "missing" not in error.detail


async def test_other_requests_go_on_meanwhile(tmp_path: Path) -> None:
    """While a file is hashed and written, the event loop keeps turning, also for one huge chunk."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    counter = asyncio.create_task(count())
    body = form_body([file_part(NAME, bytes(8 << 20))])
    await receive_form(chunked(body, len(body)), CONTENT_TYPE, tmp_path, 1 << 30)
    counter.cancel()
    assert turns >= 8 << 20 >> 18
