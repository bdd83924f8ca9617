"""The transport against a server on this machine that misbehaves.

Source: trust contract sections 1.3 and 6 (rows 6 and 7).
"""

from __future__ import annotations

import contextlib
import gzip
import os
import socket
import time
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from tuf.api.exceptions import DownloadError, DownloadHTTPError, DownloadLengthMismatchError, SlowRetrievalError

from countermark.credentials import Credentials, Secrets, find_credentials
from countermark.location import origin_of
from countermark.transport import CHUNK, Limits, Transport
from tests.unit.client.loopback import Loopback, reply, serving

QUICK = Limits(
    connect=timedelta(seconds=2),
    read=timedelta(seconds=2),
    metadata_total=timedelta(seconds=0.5),
    grace=timedelta(seconds=0.3),
)


@pytest.fixture
def server() -> Iterator[Loopback]:
    """A running server."""
    with serving() as running:
        yield running


@pytest.fixture
def transport() -> Iterator[Transport]:
    """A transport with short limits."""
    with Transport(QUICK) as made:
        yield made


def _drip_body(handler: BaseHTTPRequestHandler) -> None:
    with contextlib.suppress(OSError):
        handler.send_response(200)
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
        while True:
            handler.wfile.write(b"x")
            time.sleep(0.02)


def _drip_without_length(handler: BaseHTTPRequestHandler) -> None:
    with contextlib.suppress(OSError):
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        while True:
            handler.wfile.write(b"x")
            time.sleep(0.02)


def _drip_headers(handler: BaseHTTPRequestHandler) -> None:
    with contextlib.suppress(OSError):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while True:
            handler.wfile.write(b"x")
            time.sleep(0.02)


def _endless(handler: BaseHTTPRequestHandler) -> None:
    with contextlib.suppress(OSError):
        handler.send_response(200)
        handler.end_headers()
        while True:
            handler.wfile.write(b"x" * 65536)


@pytest.mark.parametrize("drip", [_drip_body, _drip_without_length, _drip_headers])
def test_row_7_metadata_has_an_overall_deadline(drip: object, server: Loopback, transport: Transport) -> None:
    """One byte now and then, of body or headers, is given up at the deadline though no gap is long."""
    server.paths["/slow"] = drip  # type: ignore[assignment]
    begun = time.monotonic()
    with pytest.raises(SlowRetrievalError):
        transport.download_bytes(f"{server.url}/slow", 2_000_000)
    assert time.monotonic() - begun < 2


def test_row_7_the_deadline_spans_all_metadata(server: Loopback, transport: Transport) -> None:
    """Many small slow answers are one deadline together."""

    def late(handler: BaseHTTPRequestHandler) -> None:
        time.sleep(0.15)
        reply(handler, 200, b"ok")

    server.paths["/late"] = late
    with pytest.raises(SlowRetrievalError):
        [transport.download_bytes(f"{server.url}/late", 10) for _ in range(10)]
    assert len(server.seen) < 6


def test_row_7_artifacts_have_a_minimum_rate(server: Loopback, transport: Transport) -> None:
    """An artifact that drips is given up after the grace time, however long its deadline."""
    server.paths["/slow"] = _drip_body
    begun = time.monotonic()
    with pytest.raises(SlowRetrievalError, match="bytes per second"):
        for _ in transport.stream(f"{server.url}/slow", 1_000_000_000):
            pass
    assert time.monotonic() - begun < 2


def test_row_6_endless_body_is_stopped_at_the_cap(server: Loopback, transport: Transport) -> None:
    """A body without end or length is stopped one piece after its cap."""
    server.paths["/endless"] = _endless
    with pytest.raises(DownloadLengthMismatchError):
        transport.download_bytes(f"{server.url}/endless", 200_000)


def test_row_6_gzip_bomb_is_stopped_at_the_cap_of_decoded_bytes(server: Loopback, transport: Transport) -> None:
    """A small body that decodes to 100 MB is stopped at the cap, in pieces."""
    bomb = gzip.compress(bytes(100_000_000), compresslevel=9)
    assert len(bomb) < 100_000
    server.paths["/bomb"] = lambda handler: reply(handler, 200, bomb, Content_Encoding="gzip")
    with pytest.raises(DownloadLengthMismatchError) as caught:
        transport.download_bytes(f"{server.url}/bomb", 200_000)
    received = int(str(caught.value).split()[1])
    assert received <= 200_000 + CHUNK


def test_gzip_is_asked_for_and_decoded(server: Loopback, transport: Transport) -> None:
    """Metadata travels compressed; artifacts are asked for as they are stored."""
    text = b'{"signed": 1}' * 1000
    packed = gzip.compress(text)  # once: its header holds the second it was made in
    server.paths["/m"] = lambda handler: reply(handler, 200, packed, Content_Encoding="gzip")
    server.paths["/a"] = packed
    assert transport.download_bytes(f"{server.url}/m", 20_000) == text
    assert b"".join(transport.stream(f"{server.url}/a", 1000)) == packed
    assert [headers["accept-encoding"] for _, headers in server.seen] == ["gzip", "identity"]


@pytest.mark.parametrize(
    "body",
    [
        gzip.compress(b"x" * 100_000)[:-20],
        gzip.compress(b"x") + b"behind",
        b"not gzip at all",
    ],
)
def test_broken_gzip_is_refused(body: bytes, server: Loopback, transport: Transport) -> None:
    """A cut, extended or invented gzip body is a download error."""
    server.paths["/m"] = lambda handler: reply(handler, 200, body, Content_Encoding="gzip")
    with pytest.raises(DownloadError):
        transport.download_bytes(f"{server.url}/m", 200_000)


def test_unasked_encodings_are_refused(server: Loopback, transport: Transport) -> None:
    """An encoding that was not asked for is a download error."""
    server.paths["/m"] = lambda handler: reply(handler, 200, b"x", Content_Encoding="br")
    with pytest.raises(DownloadError, match="not asked for"):
        transport.download_bytes(f"{server.url}/m", 10)


def test_a_cut_connection_is_a_download_error(server: Loopback, transport: Transport) -> None:
    """A connection closed in the middle of the body does not pass as a short body."""

    def cut(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b"x" * 10)
        handler.close_connection = True

    server.paths["/cut"] = cut
    with pytest.raises(DownloadError):
        transport.download_bytes(f"{server.url}/cut", 1000)


def test_nobody_listens() -> None:
    """A closed port is a download error."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with Transport(Limits(attempts=1)) as transport, pytest.raises(DownloadError):
        transport.download_bytes(f"http://127.0.0.1:{port}/", 10)


def test_busy_servers_are_asked_again(server: Loopback, transport: Transport) -> None:
    """503 is tried again; 500 and 404 are not, and keep their status."""
    answers = iter([503, 200])
    server.paths["/busy"] = lambda handler: reply(handler, next(answers), b"ok")
    assert transport.download_bytes(f"{server.url}/busy", 10) == b"ok"
    server.paths["/broken"] = lambda handler: reply(handler, 500)
    for path, status in (("broken", 500), ("nothing", 404)):
        with pytest.raises(DownloadHTTPError) as caught:
            transport.download_bytes(f"{server.url}/{path}", 10)
        assert caught.value.status_code == status
    assert [path for path, _ in server.seen] == ["/busy", "/busy", "/broken", "/nothing"]


def test_redirects_are_followed_for_artifacts_only(server: Loopback, transport: Transport) -> None:
    """Artifacts may lie behind redirects; metadata may not."""
    server.paths["/here"] = lambda handler: reply(handler, 302, Location="/there")
    server.paths["/there"] = b"bytes"
    assert b"".join(transport.stream(f"{server.url}/here", 5)) == b"bytes"
    with pytest.raises(DownloadError, match="not followed"):
        transport.download_bytes(f"{server.url}/here", 5)


@pytest.mark.parametrize("target", ["file:///etc/hostname", "ftp://host/x", "http://user:pass@127.0.0.1/x", "/loop"])
def test_bad_redirects_are_refused(target: str, server: Loopback, transport: Transport) -> None:
    """Other schemes, addresses with credentials, and circles end in a download error."""
    server.paths["/loop"] = lambda handler: reply(handler, 302, Location=target)
    with pytest.raises(DownloadError):
        b"".join(transport.stream(f"{server.url}/loop", 5))


def test_credentials_stay_with_their_origin(server: Loopback) -> None:
    """A token goes to its own origin, not along a redirect to another."""
    credentials = find_credentials(server.url, Secrets(token="cmk_1abc"), lambda _: None)
    with serving() as other, Transport(QUICK, credentials) as transport:
        other.paths["/there"] = b"bytes"
        server.paths["/here"] = lambda handler: reply(handler, 302, Location=f"{other.url}/there")
        assert b"".join(transport.stream(f"{server.url}/here", 5)) == b"bytes"
        assert server.seen[0][1]["authorization"] == "Bearer cmk_1abc"
        assert "authorization" not in other.seen[0][1]


def test_credentials_are_not_shown() -> None:
    """Neither credentials nor secrets print what they hold."""
    credentials = Credentials(origin_of("https://host"), "Bearer cmk_1abc")
    assert "cmk_1abc" not in repr(credentials) + repr(Secrets(token="cmk_1abc", username="u", password="cmk_1abc"))


def test_files(tmp_path: Path, transport: Transport) -> None:
    """A file URL is read; what is missing is a 404, and only regular files are read."""
    (tmp_path / "a b+c.txt").write_bytes(b"bytes")
    assert transport.download_bytes(f"{tmp_path.as_uri()}/a%20b%2Bc.txt", 5) == b"bytes"
    with pytest.raises(DownloadHTTPError) as caught:
        transport.download_bytes(f"{tmp_path.as_uri()}/missing", 5)
    assert caught.value.status_code == 404
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", ""):
        with pytest.raises(DownloadError):
            transport.download_bytes(f"{tmp_path.as_uri()}/{name}", 5)
