"""Which form, coding and document a request means."""

from __future__ import annotations

from urllib.parse import unquote, urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from countermark.core.ceremony.tree import is_trust_target
from countermark.core.digest import Sha256
from countermark.core.names import NormalizedName, TargetPath
from services.index.rules import (
    CODING_TOKENS,
    Coding,
    Elsewhere,
    JsonWanted,
    ListWanted,
    Media,
    MetadataWanted,
    PageWanted,
    TargetWanted,
    Wanted,
    choose_coding,
    choose_media,
    chooses_page,
    page_of,
    parse_hashed_target,
    unslashed_page,
    wanted_at,
)
from shared.faces import parse_face

V1_JSON = "application/vnd.pypi.simple.v1+json"
V1_HTML = "application/vnd.pypi.simple.v1+html"
DIGEST = "0123456789abcdef" * 4


class TestMedia:
    """Contract python-index section 1.1."""

    @pytest.mark.parametrize(
        ("accept", "expected"),
        [
            (f"{V1_JSON}, {V1_HTML}; q=0.1, text/html; q=0.01", Media.JSON),
            (f"{V1_JSON}, {V1_HTML};q=0.2, text/html;q=0.01", Media.JSON),
            (f"{V1_JSON}, */*;q=0.1", Media.JSON),
            ("*/*", Media.HTML),
            (None, Media.HTML),
            ("", Media.HTML),
        ],
        ids=["pip and pdm", "uv", "poetry", "hatch and curl", "none", "empty"],
    )
    def test_real_clients(self, accept: str | None, expected: Media) -> None:
        """Each client as measured on the wire gets the form it wants most."""
        assert choose_media(accept) is expected

    @pytest.mark.parametrize(
        ("accept", "expected"),
        [
            ("application/vnd.pypi.simple.latest+json", Media.JSON),
            ("application/vnd.pypi.simple.latest+html", Media.V1_HTML),
            ("TEXT/HTML;charset=utf-8", Media.HTML),
            ("application/*", Media.JSON),
            ("text/*", Media.HTML),
            (f"text/html, {V1_JSON}", Media.JSON),
            (f"{V1_JSON};q=0, */*", Media.HTML),
            (f"*/*, text/html;q=0, {V1_HTML};q=0.5", Media.JSON),
            ("text/html;q=0.5, */*;q=0.4", Media.HTML),
            (f"{V1_JSON};q=0, application/vnd.pypi.simple.latest+json;q=0.3", Media.JSON),
            ("image/png", None),
            ("*/*;q=0", None),
            (f"{V1_JSON};q=nan, {V1_HTML};q=2, text/html;q=-1", None),
            ("application/json", None),
            (";;;,,,=", None),
        ],
    )
    def test_weights(self, accept: str, expected: Media | None) -> None:
        """The most specific range weighs a form; weight 0 refuses it; what cannot be read is left out."""
        assert choose_media(accept) is expected

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            (f"format={V1_JSON}".encode(), Media.JSON),
            (b"format=application/vnd.pypi.simple.v1%2Bjson", Media.JSON),
            (b"x=1&format=text%2Fhtml", Media.HTML),
            (b"format=image/png", None),
            (b"format=", None),
            (b"format=text/html&format=text/html", None),
            (b"other=1", Media.V1_HTML),
            (b"%ff%00&&&=", Media.V1_HTML),
        ],
    )
    def test_format_parameter(self, query: bytes, expected: Media | None) -> None:
        """`?format=` names one form and beats the header; other parameters are ignored."""
        assert choose_media(V1_HTML, query) is expected

    def test_what_is_too_long_to_be_remembered_means_the_same(self) -> None:
        """A header of many ranges is read like a short one."""
        assert choose_media(f"{', '.join(['image/png'] * 40)}, {' ' * 1024}{V1_JSON}") is Media.JSON

    @given(st.text(max_size=200), st.binary(max_size=200))
    def test_any_text_is_answered(self, accept: str, query: bytes) -> None:
        """No header and no query makes the choice fail."""
        assert choose_media(accept, query) in (None, *Media)


class TestCoding:
    """RFC 9110 section 12.5.3."""

    @pytest.mark.parametrize(
        ("accept", "expected"),
        [
            (None, Coding.IDENTITY),
            ("", Coding.IDENTITY),
            ("identity", Coding.IDENTITY),
            ("gzip, deflate", Coding.GZIP),
            ("gzip, deflate, zstd", Coding.ZSTD),
            ("gzip, deflate, br", Coding.BROTLI),
            ("gzip;q=1.0, br;q=0.5", Coding.GZIP),
            ("gzip;q=0", Coding.IDENTITY),
            ("identity;q=1, gzip;q=0.5", Coding.IDENTITY),
            ("zstd;q=0, *", Coding.BROTLI),
            ("deflate", Coding.IDENTITY),
            ("*;q=0", Coding.IDENTITY),
        ],
    )
    def test_weights(self, accept: str | None, expected: Coding) -> None:
        """The best weight wins; among equals what is read fastest; identity is always there."""
        assert choose_coding(accept) is expected

    def test_what_is_too_long_to_be_remembered_means_the_same(self) -> None:
        """A header of many codings is read like a short one."""
        assert choose_coding(f"{', '.join(['deflate'] * 40)}, {' ' * 1024}gzip") is Coding.GZIP

    @given(st.text(max_size=200))
    def test_only_what_was_named(self, accept: str) -> None:
        """No text makes the choice fail, and no client gets a coding that it did not name."""
        coding = choose_coding(accept)
        assert coding is Coding.IDENTITY or CODING_TOKENS[coding] in accept.lower() or "*" in accept


class TestPaths:
    """Contract python-index section 1.2; architecture section 3."""

    @pytest.mark.parametrize(
        ("path", "expected"),
        [
            ("/root/stable/+simple/", ListWanted()),
            ("/simple/", ListWanted()),
            ("/simple", Elsewhere("simple/")),
            ("/root/stable/+simple", Elsewhere("+simple/")),
            ("/root/stable/+simple/a-b/", PageWanted(NormalizedName("a-b"))),
            ("/simple/a-b", Elsewhere("a-b/")),
            ("/simple/A__b", Elsewhere("a-b/")),
            ("/simple/A__b/", Elsewhere("../a-b/")),
            ("/simple/a/b/", None),
            ("/simple//", None),
            ("/simple/-a/", None),
            ("/simple/a\n/", None),
            ("/simple/\u00e9/", None),
            (f"/simple/{'a' * 200}/", None),
            ("/a/b/+tuf/metadata/timestamp.json", MetadataWanted("timestamp", None)),
            ("/a/b/+tuf/timestamp.json", MetadataWanted("timestamp", None)),
            ("/a/b/+tuf/metadata/12.root.json", MetadataWanted("root", 12)),
            ("/a/b/+tuf/metadata/3.b10-3ff.json", MetadataWanted("b10-3ff", 3)),
            ("/a/b/+tuf/12.root.json", MetadataWanted("root", 12)),
            ("/a/b/+tuf/metadata/012.root.json", None),
            ("/a/b/+tuf/metadata/1.timestamp.json", None),
            ("/a/b/+tuf/metadata/root.json", None),
            ("/a/b/+tuf/metadata/1.root.json\n", None),
            ("/a/b/+tuf/metadata/99999999999.root.json", None),
            ("/a/b/+tuf/metadata/../1.root.json", None),
            ("/a/b/+tuf/other/1.root.json", None),
            (
                f"/a/b/+tuf/targets/pointers/thing/{DIGEST}._simple.json",
                TargetWanted(TargetPath("pointers/thing/_simple.json"), Sha256(DIGEST)),
            ),
            (f"/a/b/+tuf/targets/pointers/thing/{DIGEST}.x/y.json", None),
            (f"/a/b/+tuf/targets/pointers/../{DIGEST}._simple.json", None),
            ("/a/b/+tuf/targets/pointers/thing/_simple.json", None),
            ("/a/b/+f/abc/def", None),
            ("/a/b/pypi/thing/json", JsonWanted(NormalizedName("thing"), None)),
            ("/pypi/thing/json/", JsonWanted(NormalizedName("thing"), None)),
            ("/pypi/json/json", JsonWanted(NormalizedName("json"), None)),
            ("/pypi/thing/1!2.0rc1+l.1/json", JsonWanted(NormalizedName("thing"), "1!2.0rc1+l.1")),
            ("/pypi/Thing/json", Elsewhere("../thing/json")),
            ("/pypi/thing/1.0-1/json/", Elsewhere("../../../thing/1.0.post1/json")),
            ("/pypi/thing/1.0+L/json", Elsewhere("../../thing/1.0%2Bl/json")),
            ("/pypi/json", None),
            ("/pypi/thing/", None),
            ("/pypi/thing//json", None),
            ("/pypi/thing/json//", None),
            ("/pypi/thing/JSON", None),
            ("/pypi/thing/one/json", None),
            (f"/pypi/thing/{'1' * 257}/json", None),
            ("/pypi/thing/1.0/2.0/json", None),
        ],
    )
    def test_meaning(self, path: str, expected: Wanted | None) -> None:
        """A path means one document, or where it is, or nothing."""
        face = parse_face(path)
        assert face is not None
        assert wanted_at(path, face) == expected

    @given(st.text(max_size=40))
    def test_any_name_ends_at_a_canonical_page(self, name: str) -> None:
        """Following at most one redirect from any name ends at a page's own address, or at nothing."""
        face = parse_face(f"/simple/{name}")
        assert face is not None
        wanted = wanted_at(f"/simple/{name}", face)
        if isinstance(wanted, Elsewhere):
            there = f"/simple/{wanted.location.removeprefix('../').removeprefix('simple/')}"
            again = parse_face(there)
            assert again is not None
            assert isinstance(wanted_at(there, again), PageWanted | ListWanted)

    @given(st.text(max_size=20), st.text(alphabet="0123456789.abrcpostdev!+-_v", max_size=20), st.booleans())
    def test_any_version_ends_at_a_canonical_document(self, name: str, version: str, slash: bool) -> None:
        """Following at most one redirect from any name and version ends at a document, or at nothing."""
        path = f"/pypi/{name}/{version}/json{'/' if slash else ''}"
        face = parse_face(path)
        assert face is not None
        wanted = wanted_at(path, face)
        if isinstance(wanted, Elsewhere):
            there = unquote(
                urlsplit(urljoin(f"http://index.test/pypi/n/v/json{'/' if slash else ''}", wanted.location)).path
            )
            again = parse_face(there)
            assert again is not None
            assert isinstance(wanted_at(there, again), JsonWanted)


class TestDevpiAddresses:
    """Contract devpi sections 7 and 8."""

    @pytest.mark.parametrize(
        ("path", "location"),
        [
            ("/a/b/Thing_x", "+simple/thing-x/"),
            ("/a/b/thing/", "../+simple/thing/"),
            ("/a/b/-", None),
        ],
    )
    def test_page_of_a_project(self, path: str, location: str | None) -> None:
        """From the address of a project's document its page is one relative step away."""
        face = parse_face(path)
        assert face is not None
        assert page_of(face) == (None if location is None else Elsewhere(location, 302))

    @pytest.mark.parametrize(
        ("path", "chosen"), [("/a/b/thing", True), ("/a/b/thing/1.0", False), ("/a/b/+simple/thing/", False)]
    )
    def test_where_a_page_may_be_meant(self, path: str, chosen: bool) -> None:
        """An installer is sent to a page from a project's address alone."""
        face = parse_face(path)
        assert face is not None
        assert chooses_page(face, "pip/26.3", None) is chosen
        assert not chooses_page(face, "pip/26.3", "application/json")

    @pytest.mark.parametrize(
        ("path", "media", "agent", "direct"),
        [
            ("/a/b/+simple/thing", Media.HTML, "pip/26.3", True),
            ("/a/b/+simple/thing", Media.JSON, None, True),
            ("/a/b/+simple/thing", Media.HTML, "curl/8", False),
            ("/a/b/+simple/thing", None, "curl/8", False),
            ("/a/b/+simple/Thing", Media.JSON, "pip/26.3", False),
            ("/a/b/+simple/Thing/", Media.JSON, "pip/26.3", False),
            ("/a/b/+simple", Media.JSON, "pip/26.3", False),
            ("/a/b/pypi/thing/json/", Media.JSON, "pip/26.3", False),
        ],
    )
    def test_pages_without_a_slash(self, path: str, media: Media | None, agent: str | None, direct: bool) -> None:
        """Installers and readers of JSON get a page without the slash, others and other spellings do not."""
        face = parse_face(path)
        assert face is not None
        assert unslashed_page(face, media, agent) == (PageWanted(NormalizedName("thing"), "../") if direct else None)


@pytest.mark.parametrize(
    ("path", "target"),
    [
        (f"trust/{'a' * 64}.policy.yaml", "trust/policy.yaml"),
        (f"{'a' * 64}.trusted_root.json", "trusted_root.json"),
        (f"{'a' * 64}.policy.yaml", None),
        (f"trust/sub/{'a' * 64}.policy.yaml", None),
        (f"trust/{'a' * 64}.-x", None),
    ],
)
def test_targets_of_trust_are_asked_for_by_digest(path: str, target: str | None) -> None:
    """What the trust role may sign, and nothing beside it."""
    found = parse_hashed_target(path)
    assert (found and found.target) == target
    assert is_trust_target(target or "trust/sub/policy.yaml") is (target is not None)
