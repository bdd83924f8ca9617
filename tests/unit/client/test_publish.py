"""Uploads against a server on this machine, and builds. Source: contract python-index sections 2.1 and 2.2."""

from __future__ import annotations

import email
import email.policy
import hashlib
import json
import sysconfig
import time
import zipfile
from datetime import timedelta
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from countermark.attesting.environment import installed_in
from countermark.attesting.surroundings import LOCAL_BUILDER, describe_build
from countermark.building import build_project
from countermark.core.digest import sha256_of
from countermark.core.errors import BuildFailed, UploadRefused, UsageFault
from countermark.core.names import parse_index_name
from countermark.core.pointer import parse_pointer
from countermark.credentials import Secrets, find_credentials
from countermark.metadatafile import read_metadata
from countermark.publish import Patience, Uploader, upload_url
from countermark.retrying import pause_before
from tests.unit.client.archives import METADATA, sdist, wheel
from tests.unit.client.loopback import Loopback, reply

FAST = Patience(connect=timedelta(seconds=1), answer=timedelta(seconds=0.3), attempts=1)


class Taking:
    """Answers uploads and keeps the form fields: name -> values."""

    def __init__(self, server: Loopback) -> None:
        self.status = 200
        self.body = b"published\n"
        self.headers: dict[str, str] = {}
        self.fields: dict[str, list[bytes]] = {}
        server.paths["/root/stable/"] = self.take

    def take(self, handler: BaseHTTPRequestHandler) -> None:
        """Read the whole form and answer."""
        body = handler.rfile.read(int(handler.headers["content-length"]))
        head = f"Content-Type: {handler.headers['content-type']}\r\n\r\n".encode()
        form = email.message_from_bytes(head + body, policy=email.policy.HTTP)
        assert isinstance(form, EmailMessage)
        self.fields = {}
        for part in form.iter_parts():
            value = part.get_payload(decode=True)
            assert isinstance(value, bytes)
            self.fields.setdefault(str(part.get_param("name", header="content-disposition")), []).append(value)
        reply(handler, self.status, self.body, **self.headers)


@pytest.fixture
def taking(server: Loopback) -> Taking:
    """An index that takes uploads."""
    return Taking(server)


def _uploader(server: Loopback, patience: Patience = FAST) -> Uploader:
    url = f"{server.url}/root/stable"
    return Uploader(url, find_credentials(url, Secrets(token="cmk_1abc"), print), patience)


def test_a_wheel_is_sent_with_its_own_metadata(taking: Taking, server: Loopback, tmp_path: Path) -> None:
    """The form holds what the wheel says of itself, its digests, its bytes, and the token travels in the header."""
    path = wheel(tmp_path)
    answer = _uploader(server).upload(path)
    assert (answer.status, answer.lines, answer.status_url) == (200, ("published",), None)
    data = path.read_bytes()
    expected = {
        ":action": [b"file_upload"],
        "protocol_version": [b"1"],
        "filetype": [b"bdist_wheel"],
        "pyversion": [b"py2.py3"],
        "sha256_digest": [hashlib.sha256(data).hexdigest().encode()],
        "blake2_256_digest": [hashlib.blake2b(data, digest_size=32).hexdigest().encode()],
        "metadata_version": [b"2.4"],
        "name": [b"widget"],
        "version": [b"1.10"],
        "summary": [b"A widget"],
        "keywords": [b"one,two"],
        "classifiers": [b"Topic :: Utilities", b"Typing :: Typed"],
        "project_urls": [b"Source, https://example.com/widget"],
        "requires_dist": [b"packaging>=20"],
        "license_file": [b"LICENSE"],
        "requires_python": [b">=3.11"],
        "description": [b"# Widget\n"],
        "content": [data],
    }
    assert taking.fields == expected
    assert server.seen[0][1]["authorization"] == "Bearer cmk_1abc"


def test_an_sdist_is_read_by_its_outer_metadata(taking: Taking, server: Loopback, tmp_path: Path) -> None:
    """An sdist is sent as such, with the PKG-INFO of its top folder."""
    _uploader(server).upload(sdist(tmp_path))
    assert taking.fields["filetype"] == [b"sdist"]
    assert taking.fields["pyversion"] == [b"source"]
    assert taking.fields["summary"] == [b"A widget"]


def test_a_pending_publication_is_told(taking: Taking, server: Loopback, tmp_path: Path) -> None:
    """The status link of a file that waits for its publication is passed on."""
    taking.body = b"stored; waiting for its signature\n"
    taking.headers = {"Link": '</api/v1/uploads/7>; rel="status"'}
    answer = _uploader(server).upload(wheel(tmp_path))
    assert answer.status_url == "/api/v1/uploads/7"


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (401, b"no token", "COUNTERMARK_TOKEN"),
        (403, b"not yours", "not yours"),
        (409, b"widget already exists with other bytes", "raise the version"),
        (400, b"", "no reason given"),
        (202, b"accepted", "answered 202"),
        (302, b"", "redirected to /elsewhere"),
        (400, b"evil \x1b[2J words", "evil [2J words"),
    ],
)
def test_anything_but_200_is_a_refusal(
    status: int, body: bytes, words: str, taking: Taking, server: Loopback, tmp_path: Path
) -> None:
    """Each other answer is an error with the server's first line, made harmless, and what to do."""
    taking.status, taking.body, taking.headers = status, body, {"Location": "/elsewhere"}
    with pytest.raises(UploadRefused) as caught:
        _uploader(server).upload(wheel(tmp_path))
    assert words in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_a_silent_server_is_left_in_time(server: Loopback, tmp_path: Path) -> None:
    """A server that takes the form and never answers is given up."""

    def silent(handler: BaseHTTPRequestHandler) -> None:
        time.sleep(1)
        reply(handler, 200)

    server.paths["/root/stable/"] = silent
    begun = time.monotonic()
    with pytest.raises(UploadRefused, match="cannot reach"):
        _uploader(server).upload(wheel(tmp_path))
    assert time.monotonic() - begun < 0.9


def test_an_interrupted_upload_ends_at_its_next_piece(server: Loopback, tmp_path: Path) -> None:
    """What was stopped sends nothing more of its file, begins no other one, and says so."""
    uploader = _uploader(server)

    def stop_and_read(handler: BaseHTTPRequestHandler) -> None:
        uploader.stop()
        handler.rfile.read(int(handler.headers["content-length"]))

    server.paths["/root/stable/"] = stop_and_read
    # Long enough not to fit into what the sockets buffer before the server stops it.
    large = wheel(tmp_path)
    with zipfile.ZipFile(large, "a") as archive:
        archive.writestr("widget/data", bytes(32 << 20))
    for _ in range(2):
        with pytest.raises(UploadRefused, match="interrupted"):
            uploader.upload(large)
    assert len(server.seen) == 1


def test_the_pause_follows_the_servers_wish() -> None:
    """Pauses grow threefold; `Retry-After` lengthens them, up to a minute; what is no number of seconds is ignored."""
    assert [pause_before(attempt) for attempt in (1, 2, 3)] == [0.5, 1.5, 4.5]
    assert pause_before(1, {"retry-after": "7"}) == 7
    assert pause_before(3, {"retry-after": "1"}) == 4.5
    assert pause_before(1, {"retry-after": "100000"}) == 60
    for nonsense in ("-1", "soon", "1e9", "١", "9" * 400):
        assert pause_before(1, {"retry-after": nonsense}) == 0.5


def test_bad_files_are_refused_before_anything_is_sent(taking: Taking, server: Loopback, tmp_path: Path) -> None:
    """A damaged, nameless, missing or foreign file is a usage fault, and no request is made."""
    damaged = tmp_path / "widget-2-py3-none-any.whl"
    damaged.write_bytes(b"PK\x03\x04 not a zip")
    broken_tar = tmp_path / "widget-2.tar.gz"
    broken_tar.write_bytes(sdist(tmp_path).read_bytes()[:60])
    bare = wheel(tmp_path, metadata=None)
    text = tmp_path / "notes.txt"
    text.write_text("notes")
    for path in (damaged, broken_tar, bare, text, tmp_path / "widget-3-py3-none-any.whl"):
        with pytest.raises(UsageFault):
            _uploader(server).upload(path)
    nameless = wheel(tmp_path, METADATA.replace("Name: widget\n", ""))
    with pytest.raises(UsageFault, match="lacks a name"):
        read_metadata(nameless)
    assert server.seen == []


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("https://host/root/stable", "https://host/root/stable/"),
        ("https://host/root/stable/+simple/", "https://host/root/stable/"),
        ("https://user:pass@host/legacy/", "https://host/legacy/"),
    ],
)
def test_upload_urls(given: str, url: str) -> None:
    """The form goes to the index URL with one slash behind it, without credentials in it."""
    assert upload_url(given) == url


def test_a_folder_takes_no_uploads(tmp_path: Path) -> None:
    """A static tree is not uploaded to."""
    with pytest.raises(UsageFault):
        upload_url(str(tmp_path))


def write_project(folder: Path) -> Path:
    """Write a project that hatchling builds; return its folder."""
    folder.mkdir(exist_ok=True)
    (folder / "widget.py").write_text("")
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        '[project]\nname = "widget"\nversion = "1.10"\n[tool.hatch.build.targets.wheel]\ninclude = ["widget.py"]\n'
    )
    return folder


def test_build_writes_files_and_their_pointers(tmp_path: Path) -> None:
    """Wheel and sdist are built, each with a pointer that states its digest, length and index."""
    project = write_project(tmp_path / "project")
    built = build_project(project, tmp_path / "dist", parse_index_name("team/dev"), isolated=False)
    assert [each.file.name for each in built] == ["widget-1.10.tar.gz", "widget-1.10-py2.py3-none-any.whl"]
    for each in built:
        data = each.file.read_bytes()
        pointer = parse_pointer(each.pointer.read_bytes())
        assert each.pointer.name == f"{each.file.name}.pointer"
        assert (pointer.name, pointer.version, str(pointer.index)) == ("widget", "1.10", "team/dev")
        assert (pointer.file.digest, pointer.file.length) == (sha256_of(data), len(data))
        assert pointer.file.uri == f"/files/{pointer.file.digest[:2]}/{pointer.file.digest[2:]}/{each.file.name}"


def test_a_described_build_leaves_a_statement_beside_each_file(tmp_path: Path) -> None:
    """With what is known of the build, each file gets the provenance that speaks of its very bytes, unsigned."""
    write_project(tmp_path)
    described = describe_build({}, None, print)
    built = build_project(tmp_path, tmp_path / "dist", parse_index_name("a/b"), isolated=False, described=described)
    assert [each.statement and each.statement.name for each in built] == [
        f"{each.file.name}.statement.json" for each in built
    ]
    for each in built:
        assert each.statement is not None
        document = json.loads(each.statement.read_bytes())
        (subject,) = document["subject"]
        assert subject == {"name": each.file.name, "digest": {"sha256": sha256_of(each.file.read_bytes())}}
        assert document["predicate"]["runDetails"]["builder"]["id"] == LOCAL_BUILDER


def test_build_tools_are_read_where_they_are_installed(tmp_path: Path) -> None:
    """Of a virtual environment the distributions are told by their normalised names and versions."""
    (place,) = {sysconfig.get_path("purelib", scheme="venv", vars={"base": str(tmp_path)})}
    information = Path(place) / "Some_Tool-1.5.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: Some_Tool\nVersion: 1.5\n")
    assert installed_in(tmp_path) == {"some-tool": "1.5"}
    assert installed_in(tmp_path / "elsewhere") == {}


def test_a_failing_build_is_one_error(tmp_path: Path) -> None:
    """A folder that is no project, or none at all, is a build failure."""
    (tmp_path / "pyproject.toml").write_text("[build-system]\nrequires = []\nbuild-backend = 'missing'\n")
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(BuildFailed):
            build_project(folder, tmp_path / "dist", parse_index_name("root/stable"), isolated=False)
