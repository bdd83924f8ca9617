"""What a push's document means, and how another server is told of a release."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from packaging.utils import NormalizedName

from countermark.core.digest import Length, Sha256
from countermark.core.names import FileName
from services.upload import outgoing
from services.upload import push_rules as rules
from services.upload.push_rules import InvalidPush
from shared.catalogue.promotion_rows import Carried, CarriedAttachment, SourceRelease
from shared.ids import FileId, ReleaseId, new_uuid

AT = datetime(2026, 11, 25, 13, 12, 0, tzinfo=UTC)


def carried(name: str, package_type: str = "bdist_wheel") -> Carried:
    """Return a file to push."""
    return Carried(
        id=FileId(new_uuid()),
        held=False,
        file_name=FileName(name),
        package_type=package_type,
        sha256=Sha256("0123456789abcdef" * 4),
        blake2b_256="b" * 64,
        md5="c" * 32,
        length=Length(5),
        requires_python=None,
        core_metadata_sha256=None,
        core_metadata_length=None,
        uploaded_at=AT,
        uploader="ann",
        token_id=None,
        yanked_at=None,
        yanked_by=None,
        yanked_reason=None,
        warnings=(),
        history=(),
    )


def attached(file_id: FileId | None, name: str) -> CarriedAttachment:
    """Return documentation, or a test result of a file."""
    kind = "doc" if file_id is None else "test-result"
    return CarriedAttachment(kind, file_id, name, "0123456789abcdef", Sha256("d" * 64), Length(1), AT, "ann", ())


def document(**keys: Any) -> bytes:
    """Return a document as the client sends it."""
    return orjson.dumps({"name": "widget", "version": "1.0", **keys})


def test_flags_say_what_goes_along() -> None:
    """Nothing said is everything."""
    flags = [{}, {"no_docs": True}, {"only_docs": True}, {"no_docs": False, "only_docs": False}]
    pushes = [rules.parse_push(document(**one)) for one in flags]
    assert [(push.files, push.docs) for push in pushes] == [(True, True), (True, False), (False, True), (True, True)]


def test_credentials_are_not_printed() -> None:
    """A log line or a traceback that holds the request's target does not hold its password."""
    push = rules.parse_push(document(posturl="https://a.example/", username="ann", password="s3cret"))
    assert "s3cret" not in repr(rules.forwarding_of(push))


@pytest.mark.parametrize(
    "body",
    [
        b'{"name":' + b"[" * 1000 + b"]" * 1000 + b"}",
        b'{"name": 1e999}',
        b'{"name": "\\ud800"}',
        b'{"name": "a", "name": "b"}',
        b'{"name": "a\\u0000"}',
    ],
)
def test_a_document_that_is_hostile(body: bytes) -> None:
    """It is refused in devpi's words before anything in it is looked at."""
    with pytest.raises(InvalidPush, match=r"^Bad request: could not decode json"):
        rules.parse_push(body)


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"posturl": "https://a.example/"},
        {"posturl": "https://a.example/", "username": "a"},
        {"posturl": "https://a.example/", "username": "a:b", "password": "c"},
        {"posturl": "https://a.example/", "username": "a", "password": "c\n"},
        {"posturl": ["https://a.example/"], "username": "a", "password": "c"},
        {"posturl": "https://a.example/", "username": "a", "password": "c", "register_project": 1},
    ],
)
def test_a_push_elsewhere_that_is_not_complete(keys: dict[str, Any]) -> None:
    """Whatever is missing or of another type is an error in words."""
    with pytest.raises(InvalidPush):
        rules.forwarding_of(rules.parse_push(document(**keys)))


def test_histories_keep_where_a_file_came_from_and_drop_what_it_replaced() -> None:
    """What was overwritten elsewhere says nothing of the target; a replacement there comes first."""
    before: list[dict[str, Any]] = [{"what": "overwrite", "count": 3}, {"what": "push", "src": "a/b", "dst": "c/d"}]
    step = rules.push_step("ann", "c/d", "e/f", AT)
    after = rules.overwrite_step(1, AT) + rules.history_after(before, step)
    assert after == [
        {"what": "overwrite", "who": None, "when": [2026, 11, 25, 13, 12, 0], "count": 2},
        {"what": "push", "src": "a/b", "dst": "c/d"},
        {"what": "push", "who": "ann", "when": [2026, 11, 25, 13, 12, 0], "src": "c/d", "dst": "e/f"},
    ]
    assert rules.overwrite_step(None, AT) == []


def test_the_log_has_the_clients_order() -> None:
    """Register, each file with its results behind it, documentation once; paths are of the target."""
    files = [carried("widget-1.0-py3-none-any.whl"), carried("widget-1.0.tar.gz", "sdist")]
    results = [attached(files[0].id, f"r{number}") for number in range(2)]
    docs = [attached(None, "widget-1.0.doc.zip"), attached(None, "widget-1.0.doc2.zip")]
    push = rules.parse_push(document())
    assert rules.action_log(push, "e/f", files, [*results, *docs]) == [
        (200, "register", "widget", "1.0", "->", "e/f"),
        (200, "store_releasefile", "e/f/+f/012/3456789abcdef/widget-1.0-py3-none-any.whl"),
        (200, "store_toxresult", "e/f/+f/012/3456789abcdef/r0"),
        (200, "store_toxresult", "e/f/+f/012/3456789abcdef/r1"),
        (200, "store_releasefile", "e/f/+f/012/3456789abcdef/widget-1.0.tar.gz"),
        (200, "store_doczip", "widget", "1.0", "->", "e/f"),
    ]


def release(**metadata: Any) -> SourceRelease:
    """Return a release with metadata."""
    return SourceRelease(ReleaseId(new_uuid()), NormalizedName("widget"), "Widget", "active", "1.0", "1", metadata)


def test_metadata_become_the_fields_that_upload_tools_send() -> None:
    """Lists are repeated, URLs are label and address, keywords one field, what is empty is left out."""
    fields = outgoing.metadata_fields(
        release(
            name="Widget",
            metadata_version="2.4",
            summary="Widgets.",
            description="",
            keywords=["a", "b"],
            classifiers=["X", "Y"],
            platforms=["any"],
            license_files=["LICENSE"],
            provides_extra=["e"],
            project_urls={"Home": "https://w.example/"},
            comment="from a form",
        )
    )
    assert fields == [
        ("name", "Widget"),
        ("version", "1.0"),
        ("metadata_version", "2.4"),
        ("summary", "Widgets."),
        ("classifiers", "X"),
        ("classifiers", "Y"),
        ("platform", "any"),
        ("license_file", "LICENSE"),
        ("provides_extra", "e"),
        ("provides_extras", "e"),
        ("comment", "from a form"),
        ("keywords", "a,b"),
        ("project_urls", "Home, https://w.example/"),
    ]
    assert outgoing.metadata_fields(release())[:3] == [
        ("name", "Widget"),
        ("version", "1.0"),
        ("metadata_version", "2.1"),
    ]


@pytest.mark.parametrize(
    ("name", "python"),
    [
        ("widget-1.0-py2.py3-none-any.whl", "py2.py3"),
        ("widget-1.0-1-cp312-cp312-linux_x86_64.whl", "cp312"),
        ("widget-1.0.tar.gz", "source"),
        ("widget-1.0.zip", "source"),
        ("widget-1.0-py3.11.egg", "3.11"),
        ("widget-1.0.win32-py2.7.exe", "2.7"),
        ("widget-1.0.noarch.rpm", "any"),
    ],
)
def test_the_python_of_a_file(name: str, python: str) -> None:
    """As its name says."""
    assert outgoing.python_version(carried(name)) == python


def test_no_value_can_leave_its_part() -> None:
    """Names are quoted, and the boundary of a body is random."""
    head = outgoing.form_head([('a"\r\nb', "x\r\n--b--\r\n")], "boundary", 'f"\r\n.whl')
    assert head.count(b"\r\n--boundary") == 1
    assert b'name="a%22%0D%0Ab"' in head
    assert b'filename="f%22%0D%0A.whl"' in head
