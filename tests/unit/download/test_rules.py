"""Which file, which of its bytes, and who is refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from countermark.core.digest import Length, Sha256
from countermark.core.names import FileName, NormalizedName
from services.download.rules import (
    PROVENANCE_TYPES,
    Extent,
    FileWanted,
    Span,
    extent,
    named_at,
    provenance_type,
    refusal,
    wanted_at,
)
from shared.errors import ErrorKind
from shared.faces import Face, FaceKind, parse_face
from shared.ids import FileId, new_uuid
from shared.reading.facts import FileFacts
from shared.reading.headers import Asked, http_date

DIGEST = Sha256("0123456789abcdef" * 4)
NAME = FileName("thing-1.0-py3-none-any.whl")
MOMENT = datetime(2026, 11, 20, 10, 41, 7, tzinfo=UTC)
ETAG, MODIFIED = b'"tag"', http_date(MOMENT)
FACTS = FileFacts(
    id=FileId(new_uuid()),
    project=NormalizedName("thing"),
    file_name=NAME,
    sha256=DIGEST,
    length=Length(10),
    uploaded_at=MOMENT,
    core_metadata_sha256=DIGEST,
    core_metadata_length=Length(5),
    visible=True,
    was_visible=True,
    removed=False,
    held_reason=None,
)


class TestPaths:
    """Architecture section 3."""

    @pytest.mark.parametrize(
        ("path", "expected"),
        [
            (f"/a/b/+f/012/3456789abcdef/{NAME}", FileWanted(DIGEST[:16], NAME, metadata=False)),
            (f"/+f/012/3456789abcdef/{NAME}.metadata", FileWanted(DIGEST[:16], NAME, metadata=True)),
            (f"/+f/012/3456789abcdef/{NAME}.provenance", FileWanted(DIGEST[:16], NAME, False, None, True)),
            ("/+f/012/3456789abcdef/a-1+b.whl", FileWanted(DIGEST[:16], FileName("a-1+b.whl"), metadata=False)),
            (f"/a/b/+tuf/files/01/{DIGEST[2:]}/{NAME}", FileWanted(DIGEST[:16], NAME, metadata=False, sha256=DIGEST)),
            (f"/a/b/+f/012/3456789ABCDEF/{NAME}", None),
            (f"/a/b/+f/0123/456789abcdef/{NAME}", None),
            ("/a/b/+f/012/3456789abcdef/", None),
            ("/a/b/+f/012/3456789abcdef/.metadata", None),
            ("/a/b/+f/012/3456789abcdef/.provenance", None),
            ("/a/b/+f/012/3456789abcdef/..", None),
            ("/a/b/+f/012/3456789abcdef/a\\b", None),
            ("/a/b/+f/012/3456789abcdef/a\n", None),
            (f"/a/b/+f/012/3456789abcdef/{NAME}/", None),
            (f"/a/b/+f/012/3456789abcdef/{'a' * 181}", None),
            (f"/a/b/+tuf/files/01/{DIGEST}/{NAME}", None),
            (f"/a/b/+tuf/metadata/01/{DIGEST[2:]}/{NAME}", None),
            (f"/a/b/+simple/012/3456789abcdef/{NAME}", None),
        ],
    )
    def test_meaning(self, path: str, expected: FileWanted | None) -> None:
        """A path means one file or its metadata, or nothing; `.metadata` alone is no name."""
        face = parse_face(path)
        assert face is not None
        assert wanted_at(face) == expected


class TestRefusal:
    """Architecture sections 5.1 and 11.5: visible is an open publication, everything else has its own answer."""

    WANTED = FileWanted(DIGEST[:16], NAME, metadata=False)

    @pytest.mark.parametrize(
        ("change", "kind"),
        [
            ({}, None),
            ({"removed": True, "held_reason": "x"}, None),
            ({"visible": False, "was_visible": False}, ErrorKind.NOT_FOUND),
            ({"visible": False}, ErrorKind.GONE),
            ({"visible": False, "removed": True}, ErrorKind.GONE),
            ({"visible": False, "removed": True, "held_reason": "x"}, ErrorKind.GONE),
            ({"visible": False, "held_reason": ""}, ErrorKind.FORBIDDEN),
            ({"visible": False, "was_visible": False, "held_reason": "malware"}, ErrorKind.FORBIDDEN),
        ],
    )
    def test_states(self, change: dict[str, object], kind: ErrorKind | None) -> None:
        """Marks count only once no publication shows the file."""
        error = refusal(self.WANTED, replace(FACTS, **change))  # type: ignore[arg-type]
        assert (None if error is None else error.kind) is kind

    def test_unknown(self) -> None:
        """No row, or a row of other bytes with the same beginning of the digest, is not found."""
        other = self.WANTED._replace(sha256=Sha256(DIGEST[:16] + "f" * 48))
        for wanted, facts in ((self.WANTED, None), (other, FACTS)):
            error = refusal(wanted, facts)
            assert error is not None
            assert error.kind is ErrorKind.NOT_FOUND

    def test_metadata(self) -> None:
        """`.metadata` of a file that has none is not found, though the file is served."""
        wanted = self.WANTED._replace(metadata=True)
        assert refusal(wanted, FACTS) is None
        error = refusal(wanted, replace(FACTS, core_metadata_sha256=None))
        assert error is not None
        assert error.kind is ErrorKind.NOT_FOUND

    def test_reason_is_told(self) -> None:
        """Who may read the index learns why a file is held."""
        error = refusal(self.WANTED, replace(FACTS, visible=False, held_reason="reported as malware"))
        assert error is not None
        assert "reported as malware" in error.detail


class TestExtent:
    """RFC 9110 section 14.2."""

    @pytest.mark.parametrize(
        ("asked", "expected"),
        [
            (b"bytes=0-0", Span(0, 1)),
            (b"bytes=0-9", Span(0, 10)),
            (b"bytes=3-", Span(3, 10)),
            (b"bytes=9-100", Span(9, 10)),
            (b"bytes=-3", Span(7, 10)),
            (b"bytes=-30", Span(0, 10)),
            (b"BYTES = 0-1", Span(0, 2)),
            (b"bytes=10-", Extent.NOTHING),
            (b"bytes=10-20", Extent.NOTHING),
            (b"bytes=-0", Extent.NOTHING),
            (b"bytes=999999999999999999-", Extent.NOTHING),
            (b"bytes=5-4", Extent.WHOLE),
            (b"bytes=-", Extent.WHOLE),
            (b"bytes=0-1,3-4", Extent.WHOLE),
            (b"bytes", Extent.WHOLE),
            (b"", Extent.WHOLE),
            (b"lines=0-1", Extent.WHOLE),
            (b"bytes=0-1\n", Span(0, 2)),
            (b"bytes=9999999999999999999999-", Extent.WHOLE),
            (b"bytes=\xb2-", Extent.WHOLE),
            (b"bytes=+1-2", Extent.WHOLE),
        ],
    )
    def test_ranges(self, asked: bytes, expected: Span | Extent) -> None:
        """One range that can be read gives its bytes, one beyond the end nothing, all else the whole."""
        assert extent(Asked(range=asked), ETAG, MODIFIED, 10) == expected

    @pytest.mark.parametrize(
        ("if_range", "same"),
        [
            (b'"tag"', True),
            (MODIFIED, True),
            (b'W/"tag"', False),
            (b'"other"', False),
            (b"Fri, 20 Nov 2026 10:41:08 GMT", False),
            (b"", False),
        ],
    )
    def test_if_range(self, if_range: bytes, same: bool) -> None:
        """The range counts only for exactly the bytes that the client has a part of."""
        found = extent(Asked(range=b"bytes=1-2", if_range=if_range), ETAG, MODIFIED, 10)
        assert found == (Span(1, 3) if same else Extent.WHOLE)

    def test_no_range(self) -> None:
        """Without a range, If-Range means nothing."""
        assert extent(Asked(if_range=ETAG), ETAG, MODIFIED, 10) is Extent.WHOLE
        assert extent(Asked(range=b"bytes=0-"), ETAG, MODIFIED, 0) is Extent.NOTHING

    @given(st.integers(0, 50), st.integers(0, 60), st.none() | st.integers(0, 60))
    def test_spans_are_slices(self, length: int, first: int, last: int | None) -> None:
        """A span is what slicing the bytes gives, and is never empty."""
        content = bytes(range(length))
        found = extent(Asked(range=f"bytes={first}-{'' if last is None else last}".encode()), ETAG, MODIFIED, length)
        if isinstance(found, Span):
            assert content[found.start : found.stop] == content[first : None if last is None else last + 1]
            assert 0 <= found.start < found.stop <= length
        elif found is Extent.NOTHING:
            assert first >= length
        else:
            assert last is not None
            assert last < first

    @given(st.binary(max_size=60), st.binary(max_size=60))
    def test_any_bytes_are_answered(self, asked: bytes, if_range: bytes) -> None:
        """No header makes the choice fail or leave the file."""
        for value in (asked, b"bytes=" + asked):
            found = extent(Asked(range=value, if_range=if_range or None), ETAG, MODIFIED, 10)
            assert not isinstance(found, Span) or 0 <= found.start < found.stop <= 10


class TestBundlesAndNames:
    """Addresses of bundles, and files by name. Trust contract section 3.2; contract python-index section 1.8."""

    DIGEST = "ab" * 32

    def test_bundle(self) -> None:
        """The `uri` of an attestation means a bundle about the file whose name it begins with; `+f/` knows none."""
        rest = f"files/{self.DIGEST[:2]}/{self.DIGEST[2:]}/demo-1.0.tar.gz.sigstore.json"
        wanted = wanted_at(Face(None, FaceKind.TUF, rest, "/"))
        assert wanted is not None
        assert (wanted.file_name, wanted.bundle, wanted.sha256, wanted.beside) == (
            "demo-1.0.tar.gz",
            True,
            self.DIGEST,
            True,
        )
        rest = f"{self.DIGEST[:3]}/{self.DIGEST[3:16]}/demo-1.0.tar.gz.sigstore.json"
        wanted = wanted_at(Face(None, FaceKind.FILE, rest, "/"))
        assert wanted is None or not wanted.bundle

    @pytest.mark.parametrize(
        "rest",
        ["", "demo/1.0/x.whl", "demo/1.0/x.whl/other", "demo/1.0/../provenance", "a b/1.0/x.whl/provenance",
         f"demo/{'1' * 201}/x.whl/provenance", "demo/1.0/x/y.whl/provenance"],
    )  # fmt: skip
    def test_no_name(self, rest: str) -> None:
        """What is not project, version, file name and `provenance` means nothing."""
        assert named_at(Face(None, FaceKind.INTEGRITY, rest, "/")) is None

    @pytest.mark.parametrize(
        ("accept", "kind"),
        [
            (None, 0),
            (b"", 0),
            (b"*/*", 0),
            (b"application/*;q=0.1", 0),
            (b"application/json", 1),
            (b"Application/JSON ; charset=utf-8", 1),
            (b"application/json, application/vnd.pypi.integrity.v1+json;q=0.9", 1),
            (b"text/html, */*;q=0.1", 0),
            (b"text/html", None),
            (b"application/json;q=0", None),
            (b"application/json;q=0.000, text/*", None),
        ],
    )
    def test_types(self, accept: bytes | None, kind: int | None) -> None:
        """The better of two types, the first on equal terms, none for who takes neither."""
        assert provenance_type(accept) == (None if kind is None else PROVENANCE_TYPES[kind])
